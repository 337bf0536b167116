"""The objects that streamed calls give: an iterator that knows whether the end was seen."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from modelwrap.errors import CallError, ConfigError, StreamTruncated
from modelwrap.models.call import Assembles, Call, Chunks, fill_error, fill_meta
from modelwrap.runtime.base import Deadline, Runtime, next_or_none, run_sync, unadopted
from modelwrap.types import ChatChunk, ChatReply
from modelwrap.wire.assembly import Assembly

if TYPE_CHECKING:
    from modelwrap.models.base import Model

logger = logging.getLogger("modelwrap")

T = TypeVar("T")


class _Reading:
    """Read a stream: open it on the first piece, assemble the reply, and end only where the wire ended."""

    def __init__(self, call: Call, model: Model, runtime: Runtime) -> None:
        self._call = call
        self._model = model
        self._runtime = runtime
        self._assembly: Assembles = Assembly()
        self._chunks: Chunks | None = None
        self._started = 0.0
        self._first_after: float | None = None
        self._reply: ChatReply | None = None
        self.closed = False
        self._broken = False
        self._busy = False

    async def open(self) -> None:
        if self._chunks is None and not self.closed:
            self._started = self._runtime.now()
            # The reader may have let the stream lie until now.
            self._call.deadline = Deadline(self._call.timeouts.total, self._runtime.now)
            try:
                self._chunks = await self._model.open(self._call, self._runtime)
            except CallError as error:
                await self.break_off()
                raise fill_error(error, self._call, self._model.name) from error.__cause__
            except BaseException:  # also a cancelled or interrupted reader gives the connection back
                await self.break_off()
                raise
            if self._call.assembly is not None:
                self._assembly = self._call.assembly

    async def next(self) -> ChatChunk | None:
        if self._busy:
            raise ConfigError("this stream is being read already; each reader needs a stream of its own")
        self._busy = True
        try:
            return await self._next()
        finally:
            self._busy = False
            if self.closed:
                await self._hang_up()

    async def _next(self) -> ChatChunk | None:
        if self._chunks is None:
            await self.open()
        if self._chunks is None:
            if self._broken:
                raise self._without_end("the stream broke before its end")
            return None
        try:
            chunk = await next_or_none(self._chunks)
            if chunk is None and not self._call.ended:
                raise StreamTruncated("the stream was closed before its end came")
        except CallError as error:
            await self.break_off()
            error.partial = error.partial or self._partial()
            raise fill_error(error, self._call, self._model.name) from error.__cause__
        except BaseException:  # also a cancelled or interrupted reader gives the connection back
            await self.break_off()
            raise
        if chunk is None:
            self._chunks = None
            self.closed = True
            self._reply = self._filled()
            return None
        if self._first_after is None:
            self._first_after = self._runtime.now() - self._started
        self._assembly.add(chunk)
        return chunk

    async def reply(self) -> ChatReply:
        while await self.next() is not None:
            pass
        if self._reply is None:
            raise self._without_end("the stream was closed before its end")
        return self._reply

    async def close(self) -> None:
        """Give the connection back; never raises, because the reader has what it wanted."""
        self.closed = True
        # Nobody closes a generator that runs; whoever reads from it hangs up when its wait is over.
        if not self._busy:
            await self._hang_up()

    async def _hang_up(self) -> None:
        chunks, self._chunks = self._chunks, None
        if chunks is None:
            return
        try:
            await chunks.aclose()
        except Exception:  # whatever goes wrong while hanging up is no concern of the reader
            logger.debug("closing a stream of %s failed", self._model.name, exc_info=True)

    async def break_off(self) -> None:
        """Hang up, and remember that it was not the reader who did."""
        self._broken = True
        await self.close()

    def _without_end(self, words: str) -> CallError:
        return fill_error(StreamTruncated(words, partial=self._partial()), self._call, self._model.name)

    def _partial(self) -> ChatReply | None:
        return self._filled() if self._assembly else None

    def _filled(self) -> ChatReply:
        # Most models chat. The others' replies share its properties (`image_urls`), not its choices.
        reply = cast("ChatReply", self._assembly.reply())
        fill_meta(reply, self._call, self._model.name, self._runtime.now() - self._started)
        reply.meta.seconds_to_first_token = self._first_after
        return reply


class Stream:
    """Iterate over a reply's pieces; `.reply` reads to the end and gives the whole."""

    def __init__(self, call: Call, model: Model, runtime: Runtime) -> None:
        self._reading = _Reading(call, model, runtime)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ChatChunk:
        chunk = run_sync(self._reading.next())
        if chunk is None:
            raise StopIteration
        return chunk

    def __enter__(self) -> Self:
        run_sync(self._reading.open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; what was not read is lost. Never raises."""
        run_sync(self._reading.close())

    @property
    def reply(self) -> ChatReply:
        """The whole reply; reads what is left of the stream."""
        return run_sync(self._reading.reply())


async def _hanging_up(reading: _Reading) -> AsyncGenerator[None, None]:
    """Be what a loop closes when it shuts down, or when nobody holds the stream any more."""
    try:
        yield
    finally:
        if not reading.closed:
            await unadopted(reading.break_off())


class AsyncStream:
    """Iterate over a reply's pieces with `async for`; `await stream.reply` reads to the end and gives the whole."""

    def __init__(self, call: Call, model: Model, runtime: Runtime) -> None:
        self._reading = _Reading(call, model, runtime)
        self._hanging_up: AsyncGenerator[None, None] | None = None

    async def _step(self, step: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if self._hanging_up is None:
            self._hanging_up = _hanging_up(self._reading)
            await anext(self._hanging_up)
        try:
            return await unadopted(step())
        finally:
            if self._reading.closed:
                await self._hanging_up.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChatChunk:
        chunk = await self._step(self._reading.next)
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def __aenter__(self) -> Self:
        await self._step(self._reading.open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Hang up; what was not read is lost. Never raises."""
        await self._step(self._reading.close)

    @property
    async def reply(self) -> ChatReply:
        return await self._step(self._reading.reply)
