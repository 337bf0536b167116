"""The front door of every model, and the two methods behind it that a model or a policy writes."""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, overload

from modelwrap import runtime as runtimes
from modelwrap.errors import CallError, ConfigError
from modelwrap.models.streams import AsyncStream, Stream
from modelwrap.runtime.base import Deadline, Runtime, run_sync
from modelwrap.types import JSON, Attempt, Change, ChatChunk, ChatReply, Reply
from modelwrap.wire.http import Timeouts

logger = logging.getLogger("modelwrap")


@dataclass(slots=True)
class Call:
    """Be one call on its way down: what was asked, how long it may take, and what became of it so far."""

    input: Any
    parameters: dict[str, Any]
    timeouts: Timeouts
    deadline: Deadline
    max_retries: int
    stream: bool = False
    extra_headers: Mapping[str, str] = field(default_factory=dict)
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    history: list[Attempt] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    waited: float = 0.0
    """How long the last wait before an attempt was."""
    ended: bool = False
    """Whether the end of the stream was seen."""


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


class Model(ABC):
    """Be what stands behind a name.

    Subclasses write `complete`, `open` and `explain`; policies wrap another Model and write the same.
    """

    name: str = ""
    timeouts: Timeouts = Timeouts()
    max_retries: int = 2
    generate_args: Mapping[str, Any] = {}
    streams_by_default: bool = False

    # What a model or a policy writes.

    @abstractmethod
    async def complete(self, call: Call, runtime: Runtime) -> Reply:
        """Answer in one piece."""

    @abstractmethod
    async def open(self, call: Call, runtime: Runtime) -> AsyncGenerator[ChatChunk, None]:
        """Return the answer's pieces once the first has come; set `call.ended` when the last has."""

    @abstractmethod
    def describe(self, call: Call) -> Explanation:
        """Show the request that `call` would send."""

    def close(self) -> None:
        """Free what the model holds; it can be called again afterwards."""

    async def aclose(self) -> None:
        self.close()

    # The front door.

    @overload
    def __call__(self, messages: Any, /, *, stream: Literal[False] = False, **parameters: Any) -> ChatReply: ...
    @overload
    def __call__(self, messages: Any, /, *, stream: Literal[True], **parameters: Any) -> Stream: ...

    def __call__(self, messages: Any, /, *, stream: bool | None = None, **parameters: Any) -> ChatReply | Stream:
        """Call the model; `stream=True` gives what `stream()` gives.

        >>> reply = model("Name three rivers.")          # doctest: +SKIP
        >>> reply.text                                   # doctest: +SKIP
        """
        if self.streams_by_default if stream is None else stream:
            return self.stream(messages, **parameters)
        runtime = runtimes.blocking()
        return run_sync(self._answer(self._call(messages, parameters, runtime), runtime))

    async def acall(self, messages: Any, /, **parameters: Any) -> ChatReply:
        runtime = runtimes.concurrent()
        return await self._answer(self._call(messages, parameters, runtime), runtime)

    def stream(self, messages: Any, /, **parameters: Any) -> Stream:
        """Give the reply's pieces as they come. Nothing is sent before the first is asked for."""
        runtime = runtimes.blocking()
        return Stream(self, self._call(messages, parameters, runtime, stream=True), runtime)

    def astream(self, messages: Any, /, **parameters: Any) -> AsyncStream:
        runtime = runtimes.concurrent()
        return AsyncStream(self, self._call(messages, parameters, runtime, stream=True), runtime)

    def explain(self, messages: Any, /, *, stream: bool = False, **parameters: Any) -> Explanation:
        """Show the exact request that this call would send, without sending it."""
        return self.describe(self._call(messages, parameters, runtimes.blocking(), stream=stream))

    # Shared by the doors.

    def _call(self, messages: Any, given: dict[str, Any], runtime: Runtime, *, stream: bool = False) -> Call:
        parameters = {**self.generate_args, **given}
        timeouts = merged_timeouts(self.timeouts, parameters.pop("timeout", None))
        return Call(
            input=messages,
            stream=stream,
            timeouts=timeouts,
            deadline=Deadline(timeouts.total, runtime.now),
            max_retries=_count(parameters.pop("max_retries", self.max_retries)),
            extra_headers=parameters.pop("extra_headers", None) or {},
            extra_body=parameters.pop("extra_body", None) or {},
            parameters=parameters,
        )

    async def _answer(self, call: Call, runtime: Runtime) -> ChatReply:
        started = runtime.now()
        try:
            reply = await self.complete(call, runtime)
        except CallError as error:
            raise told(error, self, call) from error.__cause__
        fill_meta(reply, self, call, runtime.now() - started)
        # Most models chat. The others' replies share its properties (`image_urls`, `embeddings`), not its choices.
        return cast("ChatReply", reply)


def fill_meta(reply: Reply, model: Model, call: Call, seconds: float) -> None:
    meta = reply.meta
    meta.config_name = model.name
    meta.history = tuple(call.history)
    meta.changes = tuple(call.changes)
    meta.seconds = seconds


def told(error: CallError, model: Model, call: Call) -> CallError:
    """Add to an error what only the call knows."""
    error.model = error.model or model.name
    error.history = tuple(call.history)
    error.changes = tuple(call.changes)
    return error


def merged_timeouts(timeouts: Timeouts, given: Any) -> Timeouts:
    """Read what callers write as a timeout: seconds in all, or some of the four limits by name."""
    if given is None:
        return timeouts
    if isinstance(given, Timeouts):
        return given
    limits = {name: getattr(timeouts, name) for name in Timeouts.__dataclass_fields__}
    new = dict(given) if isinstance(given, Mapping) else {"total": given}
    for name, seconds in new.items():
        if name not in limits:
            raise ConfigError(f"timeout: unknown limit {name!r}; known are {', '.join(limits)}")
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
            raise ConfigError(f"timeout: {name} must be a number of seconds above 0, not {seconds!r}")
        limits[name] = float(seconds)
    return Timeouts(**limits)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"max_retries must be a whole number from 0 on, not {value!r}")
    return value
