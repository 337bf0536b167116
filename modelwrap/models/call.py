"""One call on its way through a model: what was asked, how long it may take, what became of it."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, Protocol

from pydantic import BaseModel

from modelwrap.config.fields import NOT_PARAMETERS
from modelwrap.errors import CallError, ConfigError, CredentialError, chain
from modelwrap.runtime.base import Deadline
from modelwrap.secrets import Secret, is_sensitive, reveal
from modelwrap.types import JSON, Attempt, Change, ChatChunk, ChatReply, Reply
from modelwrap.wire.http import Timeouts
from modelwrap.wire.media_parts import Media
from modelwrap.wire.usage import token_usage

# One call may ask for another model, and for a stream.
_NO_PARAMETERS = NOT_PARAMETERS.keys() - {"model", "stream"}


class Chunks(Protocol):
    """Be the pieces of a reply; an async generator is one."""

    def __anext__(self) -> Awaitable[ChatChunk]: ...

    def __aiter__(self) -> AsyncIterator[ChatChunk]: ...

    async def aclose(self) -> None: ...


class Assembles(Protocol):
    """Put the pieces of a streamed reply together."""

    def add(self, chunk: ChatChunk) -> None: ...

    def reply(self) -> Reply:
        """Put together what has come so far."""

    def __bool__(self) -> bool:
        """Tell whether anything has come."""


@dataclass(slots=True)
class Call:
    input: Any
    parameters: dict[str, Any]
    timeouts: Timeouts
    deadline: Deadline
    max_retries: int
    stream: bool = False
    extra_headers: Mapping[str, str | Secret] = field(default_factory=dict)
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    extra_query: Mapping[str, str] = field(default_factory=dict)
    fetched: dict[str, Media] = field(default_factory=dict)
    """Media of the messages that were fetched for the call, by their URLs."""
    answered: dict[tuple[Any, int], Reply] = field(default_factory=dict)
    """What came of those of a call's requests that need not be sent again, by who sent them and their number."""
    response_model: type[BaseModel] | None = None
    """The class that a reply's `.parsed` is an object of."""
    history: list[Attempt] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    """What the last attempt's request and reply were changed in."""
    lasting: list[Change] = field(default_factory=list)
    """Those of them that hold for every attempt: how the input was made, what the endpoint taught."""
    endpoint: str = ""
    """Where the last attempt went."""
    waited: float = 0.0
    """How long the wait before the coming attempt was."""
    assembly: Assembles | None = None
    """What puts the pieces of a stream together; None for those of a chat."""
    ended: bool = False
    """Whether the end of the stream was seen."""
    end_marked: bool = True
    """Whether that end carried the wire's end mark."""
    request_id: str | None = field(default=None, repr=False)
    """As the server wrote it, which may be anything."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Show the request that a call would send; credentials are hidden."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: JSON
    changes: tuple[Change, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.method} {self.url}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines += ["", json.dumps(self.body, indent=2, ensure_ascii=False)]
        lines += [f"# {change}" for change in self.changes]
        return "\n".join(lines)


def fill_meta(reply: Reply, call: Call, model_name: str, seconds: float) -> None:
    """Tell a reply what only the call knows."""
    meta = reply.meta
    meta.config_name = model_name
    meta.endpoint = call.endpoint
    meta.request_id = meta.request_id or call.request_id
    meta.history = tuple(call.history)
    meta.changes = tuple(call.changes)
    meta.started_at = time.time() - seconds
    meta.seconds = seconds
    meta.done = call.end_marked and (call.ended or not call.stream)
    if isinstance(reply, ChatReply):
        reply._response_model = call.response_model
        if meta.usage is None and "usage" in reply.model_fields_set:
            meta.usage = token_usage(reply.usage)
        if meta.finish_reason is None and reply.choices:
            meta.finish_reason = reply.choices[0].finish_reason


def fill_error(error: CallError, call: Call, model_name: str) -> CallError:
    """Tell an error what only the call knows, and take off the frames below the front door.

    What failed is at the other end; the way there would only lengthen a traceback and show what it carried.
    """
    error.model = error.model or model_name
    error.endpoint = error.endpoint or call.endpoint or None
    error.history = tuple(call.history)
    error.changes = tuple(call.changes)
    error.seconds = call.deadline.total - call.deadline.remaining()
    if not isinstance(error, CredentialError):
        # What led to it carries the same; only a credential's failure is in code of the caller's own.
        for cause in chain(error.__cause__):
            cause.__traceback__ = None
    return error.with_traceback(None)


def check_parameters(given: Mapping[str, Any]) -> None:
    """Refuse what would go out as a parameter, a key in clear text among them, or take the place of the input."""
    for name in _NO_PARAMETERS & given.keys():
        if name == "messages":
            raise ConfigError("messages: they stand first in a call, without a name")
        raise ConfigError(f"{name}: belongs {NOT_PARAMETERS[name]} of the config, not among the parameters of a call")
    if not isinstance(model := given.get("model"), (str, NoneType)):
        raise ConfigError(f"model: must be the name of a model, not {type(model).__name__}")


def merged_timeouts(timeouts: Timeouts, given: Any) -> Timeouts:
    """Read what callers write as a timeout: seconds in all, or some of the four limits by name."""
    if given is None:
        return timeouts
    if isinstance(given, Timeouts):
        return given
    limits = {name: getattr(timeouts, name) for name in Timeouts.__dataclass_fields__}
    for name, seconds in given.items() if isinstance(given, Mapping) else [("total", given)]:
        if name not in limits:
            raise ConfigError(f"timeout: unknown limit {name!r}; known are {', '.join(limits)}")
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
            raise ConfigError(f"timeout: {name} must be a number of seconds above 0, not {seconds!r}")
        limits[name] = float(seconds)
    return Timeouts(**limits)


def retry_count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"max_retries must be a whole number from 0 on, not {value!r}")
    return value


def named_values(name: str, given: Any) -> Mapping[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"{name} must be an object of names and values, not {type(given).__name__}")
    for key in given:
        if not isinstance(key, str):
            raise ConfigError(f"{name}: {key!r} is no name, but of type {type(key).__name__}")
    return given


def header_texts(given: Any) -> Mapping[str, str | Secret]:
    headers = named_values("extra_headers", given)
    for name, text in headers.items():
        if not isinstance(text, (str, Secret)):
            raise ConfigError(f"extra_headers: {name} must be a string, not {type(text).__name__}")
    # A key that one call brings is hidden as a config's is.
    return {name: Secret(reveal(text)) if is_sensitive(name) else text for name, text in headers.items()}


def query_texts(given: Any) -> Mapping[str, str]:
    query = named_values("extra_query", given)
    for name, value in query.items():
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise ConfigError(f"extra_query: {name} must be a text or a number, not {type(value).__name__}")
        if is_sensitive(name):
            raise ConfigError(f"extra_query: {name} is a credential by its name, and URLs end up in logs; use a header")
    return {name: str(value) for name, value in query.items()}
