"""Answers of gateways that stream whether they were asked to or not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

from modelwrap.errors import StreamFailed, StreamTruncated
from modelwrap.models.http import Decoder, HttpModel
from modelwrap.types import Change, ChatReply, Reply
from modelwrap.wire import sse
from modelwrap.wire.assembly import Assembly
from modelwrap.wire.http import WireCall
from modelwrap.wire.repair import tell

_GATHERED = Change("repaired", "stream", "the answer came as a stream that nobody had asked for")


class GatheringModel(HttpModel):
    """Chat where an event stream may come in place of a whole reply, which is then put together."""

    async def _read(self, body: bytes, headers: Mapping[str, str], wire: WireCall) -> Reply:
        decoder = self._stream_in(body, headers)
        if decoder is not None:
            return await self._gathered(body, decoder, wire)
        return await super()._read(body, headers, wire)

    def _stream_in(self, body: bytes, headers: Mapping[str, str]) -> Decoder | None:
        """Choose how a body is read that is a stream; None where it is a whole reply."""
        return sse.Decoder(self.largest_event) if sse.begins_events(body) else None

    async def _gathered(self, body: bytes, decoder: Decoder, wire: WireCall) -> ChatReply:
        tell(wire.changes, _GATHERED)
        assembly = Assembly()
        events = _events(body, decoder)
        try:
            async with aclosing(self.codec.from_stream(events, wire, self.traits, sse.End())) as chunks:
                async for chunk in chunks:
                    assembly.add(chunk)
        except StreamFailed as error:
            error.partial = assembly.reply() if assembly else None
            # Nobody has seen any of it.
            error.retryable = error.retryable or isinstance(error, StreamTruncated)
            raise
        return assembly.reply()


async def _events(body: bytes, decoder: Decoder) -> AsyncIterator[sse.Event]:
    for event in (*decoder.feed(body), *decoder.finish()):
        yield event
