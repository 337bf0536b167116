"""The objects that streamed calls give: an iterator that knows whether the end was seen."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from modelwrap.errors import CallError, StreamTruncated
from modelwrap.runtime.base import Runtime, next_or_none, run_sync
from modelwrap.types import ChatChunk, ChatReply
from modelwrap.wire.assembly import Assembly

if TYPE_CHECKING:
    from modelwrap.models.base import Call, Model

logger = logging.getLogger("modelwrap")


class _Reading:
    """Read a stream: open it on the first piece, assemble the reply, and end only where the wire ended."""

    def __init__(self, model: Model, call: Call, runtime: Runtime) -> None:
        self._model = model
        self._call = call
        self._runtime = runtime
        self._assembly = Assembly()
        self._chunks: AsyncGenerator[ChatChunk, None] | None = None
        self._started: float | None = None
        self._reply: ChatReply | None = None
        self._closed = False
        self._first_after: float | None = None

    async def next(self) -> ChatChunk | None:
        if self._closed or self._reply is not None:
            return None
        try:
            await self.open()
            assert self._chunks is not None
            chunk = await next_or_none(self._chunks)
            if chunk is None and not self._call.ended:
                raise StreamTruncated("the stream was closed before its end came")
        except CallError as error:
            raise await self._failed(error) from error.__cause__
        except BaseException:
            await self.close()
            raise
        if chunk is None:
            self._finish()
            return None
        if self._first_after is None:
            self._first_after = self._runtime.now() - (self._started or 0.0)
        self._assembly.add(chunk)
        return chunk

    async def open(self) -> None:
        if self._chunks is None and not self._closed:
            self._started = self._runtime.now()
            try:
                self._chunks = await self._model.open(self._call, self._runtime)
            except CallError as error:
                raise await self._failed(error) from error.__cause__

    async def reply(self) -> ChatReply:
        while await self.next() is not None:
            pass
        if self._reply is None:
            raise StreamTruncated(
                "the stream was closed before its end; what had arrived is in .partial",
                model=self._model.name,
                partial=self._partial(),
            )
        return self._reply

    async def close(self) -> None:
        """Give back the connection; never raises, because the reader has what it wanted."""
        self._closed = True
        chunks, self._chunks = self._chunks, None
        if chunks is not None:
            try:
                await chunks.aclose()
            except Exception:  # whatever the far side does while we hang up is no concern of the reader
                logger.debug("closing a stream of %s failed", self._model.name, exc_info=True)

    async def _failed(self, error: CallError) -> CallError:
        from modelwrap.models.base import told

        await self.close()
        if error.partial is None:
            error.partial = self._partial()
        return told(error, self._model, self._call)

    def _partial(self) -> ChatReply | None:
        return self._filled(self._assembly.reply()) if self._assembly else None

    def _finish(self) -> None:
        self._reply = self._filled(self._assembly.reply())
        self._chunks = None

    def _filled(self, reply: ChatReply) -> ChatReply:
        from modelwrap.models.base import fill_meta

        fill_meta(reply, self._model, self._call, self._runtime.now() - (self._started or 0.0))
        reply.meta.seconds_to_first_token = self._first_after
        self._model.finish_stream(reply, self._call)
        return reply


class Stream:
    """Iterate over a reply's pieces; `.reply` reads to the end and gives the whole."""

    def __init__(self, model: Model, call: Call, runtime: Runtime) -> None:
        self._reading = _Reading(model, call, runtime)

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


class AsyncStream:
    """Iterate over a reply's pieces with `async for`; `await stream.reply` reads to the end and gives the whole."""

    def __init__(self, model: Model, call: Call, runtime: Runtime) -> None:
        self._reading = _Reading(model, call, runtime)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChatChunk:
        chunk = await self._reading.next()
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def __aenter__(self) -> Self:
        await self._reading.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Hang up; what was not read is lost. Never raises."""
        await self._reading.close()

    @property
    async def reply(self) -> ChatReply:
        return await self._reading.reply()
