"""The front door of every model, and the three methods behind it that a model or a policy writes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, Self, cast, overload

from modelwrap import runtime as runtimes
from modelwrap.errors import CallError
from modelwrap.models.call import (
    Call,
    Chunks,
    Explanation,
    check_parameters,
    fill_error,
    fill_meta,
    header_texts,
    merged_timeouts,
    named_values,
    query_texts,
    retry_count,
)
from modelwrap.models.streams import AsyncStream, Stream
from modelwrap.runtime.base import Deadline, Runtime, run_sync
from modelwrap.secrets import without_credentials
from modelwrap.types import ChatReply, Reply
from modelwrap.wire.http import Timeouts


class Model(ABC):
    """Be what stands behind a name.

    Subclasses write `complete`, `open` and `describe`; a policy wraps another Model and writes the same.
    They are ordinary `async def` and await nothing but the runtime that they are given.
    """

    name: str = ""
    timeouts: Timeouts = Timeouts()
    max_retries: int = 2
    generate_args: Mapping[str, Any] = {}
    streams_by_default: bool = False
    worth_streaming: bool = True
    """Whether people see more of an answer that comes in pieces, where nobody says how it is to come."""
    length_parameter: str | None = None
    """The parameter of a call that bounds how long the answer becomes, if there is one."""

    @abstractmethod
    async def complete(self, call: Call, runtime: Runtime) -> Reply:
        """Answer in one piece."""

    @abstractmethod
    async def open(self, call: Call, runtime: Runtime) -> Chunks:
        """Return the answer's pieces once the first has come; set `call.ended` when the last has."""

    @abstractmethod
    def describe(self, call: Call) -> Explanation:
        """Show the request that `call` would send."""

    def load(self) -> None:
        """Do now what the first call would have to wait for; of a model at an endpoint there is nothing."""

    def close(self) -> None:
        """Free what the model holds; it can be called again afterwards."""

    async def aclose(self) -> None:
        """Free what the model holds, on the running loop too."""
        self.close()

    @overload
    def __call__(self, messages: Any, *, stream: Literal[False] = False, **parameters: Any) -> ChatReply: ...
    @overload
    def __call__(self, messages: Any, *, stream: Literal[True], **parameters: Any) -> Stream: ...
    @overload
    def __call__(self, messages: Any, *, stream: bool | None, **parameters: Any) -> ChatReply | Stream: ...
    def __call__(self, messages: Any, *, stream: bool | None = None, **parameters: Any) -> ChatReply | Stream:
        """Call the model with a string or OpenAI messages; `stream=True` gives what `stream()` gives."""
        if self._streams(stream):
            return self.stream(messages, **parameters)
        runtime = runtimes.of_thread()
        return run_sync(self._answer(self._call(messages, parameters, runtime), runtime))

    @overload
    async def acall(self, messages: Any, *, stream: Literal[False] = False, **parameters: Any) -> ChatReply: ...
    @overload
    async def acall(self, messages: Any, *, stream: Literal[True], **parameters: Any) -> AsyncStream: ...
    @overload
    async def acall(self, messages: Any, *, stream: bool | None, **parameters: Any) -> ChatReply | AsyncStream: ...
    async def acall(self, messages: Any, *, stream: bool | None = None, **parameters: Any) -> ChatReply | AsyncStream:
        if self._streams(stream):
            return self.astream(messages, **parameters)
        runtime = runtimes.of_loop()
        return await self._answer(self._call(messages, parameters, runtime), runtime)

    def stream(self, messages: Any, **parameters: Any) -> Stream:
        """Give the reply's pieces as they come. Nothing is sent before the first is asked for."""
        runtime = runtimes.of_thread()
        return Stream(self._call(messages, parameters, runtime, stream=True), self, runtime)

    def astream(self, messages: Any, **parameters: Any) -> AsyncStream:
        runtime = runtimes.of_loop()
        return AsyncStream(self._call(messages, parameters, runtime, stream=True), self, runtime)

    def explain(self, messages: Any, *, stream: bool | None = None, **parameters: Any) -> Explanation:
        """Show the exact request that this call would send, without sending it.

        Media that stand in messages as URLs are fetched where the model takes nothing but bytes.
        """
        call = self._call(messages, parameters, runtimes.of_thread(), stream=self._streams(stream))
        try:
            explanation = self.describe(call)
        except CallError as error:
            raise fill_error(error, call, self.name) from error.__cause__
        return replace(explanation, body=without_credentials(explanation.body))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Whoever copies an agent means what it has said, not its model's connections or weights.
        return self

    def _streams(self, asked: bool | None) -> bool:
        return self.streams_by_default if asked is None else asked

    def _call(self, messages: Any, given: dict[str, Any], runtime: Runtime, *, stream: bool = False) -> Call:
        check_parameters(given)
        parameters = {**self.generate_args, **given}
        # As with a limit, None is the config's own.
        if parameters.get("model", "") is None:
            del parameters["model"]
        retries = parameters.pop("max_retries", None)
        timeouts = merged_timeouts(self.timeouts, parameters.pop("timeout", None))
        return Call(
            input=messages,
            stream=stream,
            timeouts=timeouts,
            deadline=Deadline(timeouts.total, runtime.now),
            max_retries=self.max_retries if retries is None else retry_count(retries),
            extra_headers=header_texts(parameters.pop("extra_headers", None)),
            extra_body=named_values("extra_body", parameters.pop("extra_body", None)),
            extra_query=query_texts(parameters.pop("extra_query", None)),
            parameters=parameters,
        )

    async def _answer(self, call: Call, runtime: Runtime) -> ChatReply:
        started = runtime.now()
        try:
            reply = await self.complete(call, runtime)
        except CallError as error:
            raise fill_error(error, call, self.name) from error.__cause__
        fill_meta(reply, call, self.name, runtime.now() - started)
        # Most models chat. The others' replies share its properties (`image_urls`, `embeddings`), not its choices.
        return cast("ChatReply", reply)
