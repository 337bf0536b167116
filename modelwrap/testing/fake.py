"""A model whose answers are written down in advance."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from modelwrap.errors import CallError, ConfigError, ConnectionFailed, StreamTruncated, UnsupportedParameter
from modelwrap.models.base import Model
from modelwrap.models.call import Call, Chunks, Explanation
from modelwrap.models.messages import messages_from
from modelwrap.runtime.base import Runtime
from modelwrap.runtime.lock import Lock
from modelwrap.secrets import Secret
from modelwrap.testing.script import (
    Asking,
    Cut,
    assembled,
    ending,
    fresh,
    is_error,
    piece_to_chunk,
    snapshot,
    to_chunks,
    to_data_reply,
    to_reply,
)
from modelwrap.types import Attempt, ChatChunk, ChatReply, EmbeddingReply, ImageReply, Message, Reply
from modelwrap.wire.structured import response_format_of

Answer: TypeAlias = str | Mapping[str, Any] | Reply | Cut | list[Any] | tuple[Any, ...]

Scripted: TypeAlias = (
    str
    | Mapping[str, Any]
    | ChatReply
    | EmbeddingReply
    | ImageReply
    | BaseException
    | type[BaseException]
    | Cut
    | Sequence[Any]
    | Callable[[list[Message], dict[str, Any]], Any]
)


@dataclass(frozen=True, slots=True)
class FakeCall:
    """Be what a FakeModel was asked, as it was when it was asked."""

    messages: Any
    parameters: dict[str, Any]
    stream: bool
    extra_headers: Mapping[str, str | Secret] = field(default_factory=dict)
    extra_body: Mapping[str, Any] = field(default_factory=dict)


class FakeModel(Model):
    """Answer by a script, in every way in which a model can be called.

    `replies` is a list (or any iterable) of answers, used up in order; one answer that is no list is given every time.
    An answer is a text; a dict (a message of OpenAI's format, or a whole reply); a reply, also of vectors or images; an
    exception, which is raised; a list or tuple of pieces, for streams; a `Cut`; or a function of the messages and the
    parameters that returns any of these. When the script has run out, `default` is given, or an error tells so.

    Where an answer says nothing of its usage, every word counts as one token.

    >>> model = FakeModel(["Rhine, Elbe, Oder."])
    >>> model("Name three rivers.").text
    'Rhine, Elbe, Oder.'
    >>> model.calls[0].messages
    'Name three rivers.'
    """

    def __init__(
        self, replies: Scripted | Iterable[Scripted] = (), *, name: str = "fake", default: Scripted | None = None
    ) -> None:
        self.name = name
        self.calls: list[FakeCall] = []
        self._lock = Lock()
        if isinstance(replies, Model):
            raise ConfigError(f"model {name!r}: a model is no answer; use_fake(name, model) installs one as it is")
        if isinstance(replies, (str, Mapping, Reply, BaseException, Cut)) or callable(replies):
            replies, default = (), replies
        elif isinstance(replies, bytes) or not isinstance(replies, Iterable):
            raise ConfigError(f"model {name!r}: {type(replies).__name__} is no answer: {replies!r}")
        self._script: Iterator[Any] = iter(replies)
        self._default = default

    async def complete(self, call: Call, runtime: Runtime) -> Reply:
        asking, answer = self._asked(call)
        with self._attempt(call, runtime):
            resolved = _resolved(answer, asking, call)
            if (reply := to_data_reply(resolved, asking)) is not None:
                return reply
            _check_chat(call)
            if isinstance(resolved, Cut):
                raise ConnectionFailed("the script cuts the connection here")
            if isinstance(resolved, (list, tuple)):
                return assembled(_stream_of(resolved, asking))
            return to_reply(resolved, asking)

    async def open(self, call: Call, runtime: Runtime) -> Chunks:
        asking, answer = self._asked(call)
        pieces = self._attempted(answer, asking, call, runtime)
        # An answer that fails before its first piece fails here, as with every model.
        return _in_turn(next(pieces), pieces, runtime)

    def describe(self, call: Call) -> Explanation:
        return Explanation("POST", f"fake:{self.name}", {}, {"messages": _messages(call.input), **call.parameters})

    def _asked(self, call: Call) -> tuple[Asking, Any]:
        """Write the call down and take the next answer."""
        asked = FakeCall(
            messages=snapshot(call.input),
            parameters=snapshot(call.parameters),
            stream=call.stream,
            extra_headers=dict(call.extra_headers),
            extra_body=snapshot(call.extra_body),
        )
        with self._lock:
            self.calls.append(asked)
            number = len(self.calls)
            answer = next(self._script, self._default)
        if answer is None:
            raise ConfigError(f"model {self.name!r}: the script has no answer to call {number}; add one, or a default")
        call.endpoint = f"fake:{self.name}"
        if (shape := call.parameters.get("response_format")) is not None:
            call.response_model = response_format_of(shape)[1]
        return Asking(self.name, number, _messages(call.input)), answer

    def _attempted(self, answer: Any, asking: Asking, call: Call, runtime: Runtime) -> Generator[ChatChunk, None, None]:
        with self._attempt(call, runtime):
            resolved = _resolved(answer, asking, call)
            if to_data_reply(resolved, asking) is not None:
                raise UnsupportedParameter("stream: vectors and images of a script come in one piece", sent=False)
            _check_chat(call)
            yield from _stream_of(resolved, asking)
        call.ended = True

    @contextmanager
    def _attempt(self, call: Call, runtime: Runtime) -> Iterator[None]:
        started = runtime.now()
        outcome = "abandoned"
        try:
            yield
            outcome = "ok"
        except CallError as error:
            outcome = type(error).__name__
            error.endpoint = error.endpoint or call.endpoint
            raise
        finally:
            call.history.append(Attempt(call.endpoint, outcome, None, runtime.now() - started, call.waited))
            call.waited = 0.0


def _messages(given: Any) -> list[Message]:
    """Read messages, or the texts of which vectors are made, a message each."""
    if isinstance(given, (list, tuple)) and given and all(isinstance(text, str) for text in given):
        return [{"role": "user", "content": text} for text in given]
    return messages_from(given)


def _check_chat(call: Call) -> None:
    """Refuse a list of texts, of which vectors are made, where a conversation is due."""
    messages_from(call.input)


def _resolved(answer: Any, asking: Asking, call: Call) -> Answer:
    """Call functions and raise errors, until there is something to answer with."""
    if is_error(answer):
        raise fresh(answer)
    if isinstance(answer, (str, Mapping, Reply, Cut, list, tuple)):
        return answer
    if inspect.iscoroutinefunction(answer):
        raise ConfigError(f"model {asking.model!r}: an answer is given by an ordinary function, not an `async def`")
    if callable(answer) and not isinstance(answer, (Model, type)):
        _check_signature(answer, asking)
        return _resolved(answer(asking.messages, call.parameters), asking, call)
    raise ConfigError(f"model {asking.model!r}: {type(answer).__name__} is no answer: {answer!r}")


def _check_signature(function: Callable[..., Any], asking: Asking) -> None:
    try:
        inspect.signature(function).bind(asking.messages, {})
    except TypeError:
        taken = "the messages and the parameters, as in `def answer(messages, parameters)`"
        raise ConfigError(f"model {asking.model!r}: a function that answers takes {taken}") from None
    except ValueError:
        pass  # of a builtin it may not be known


def _stream_of(answer: Answer, asking: Asking) -> Iterator[ChatChunk]:
    if isinstance(answer, Cut):
        yield from _chunks(answer.pieces, asking)
        raise StreamTruncated("the script cuts the stream here")
    if isinstance(answer, (list, tuple)):
        chunks = []
        for chunk in _chunks(answer, asking):
            chunks.append(chunk)
            yield chunk
        yield from ending(chunks, asking)
    else:
        yield from to_chunks(to_reply(answer, asking), asking)


def _chunks(pieces: Iterable[Any], asking: Asking) -> Iterator[ChatChunk]:
    for piece in pieces:
        if is_error(piece):
            raise fresh(piece)
        yield piece_to_chunk(piece, asking)


async def _in_turn(
    first: ChatChunk, rest: Generator[ChatChunk, None, None], runtime: Runtime
) -> AsyncGenerator[ChatChunk, None]:
    with closing(rest):
        yield first
        for chunk in rest:
            # Other tasks run between two pieces, as they do while a server thinks.
            await runtime.sleep(0)
            yield chunk
