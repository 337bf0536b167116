"""Answers of gateways that stream whether they were asked to or not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

from modelwrap.errors import StreamFailed, StreamTruncated
from modelwrap.models.http import HttpModel
from modelwrap.types import Change, ChatReply, Reply
from modelwrap.wire import sse
from modelwrap.wire.assembly import Assembly
from modelwrap.wire.http import WireCall
from modelwrap.wire.repair import tell

_GATHERED = Change("repaired", "stream", "the answer came as a stream that nobody had asked for")


class GatheringModel(HttpModel):
    """Chat where an event stream may come in place of a whole reply, which is then put together."""

    async def _read(self, body: bytes, headers: Mapping[str, str], wire: WireCall) -> Reply:
        if sse.begins_events(body):
            return await self._gathered(body, wire)
        return await super()._read(body, headers, wire)

    async def _gathered(self, body: bytes, wire: WireCall) -> ChatReply:
        tell(wire.changes, _GATHERED)
        assembly = Assembly()
        events = _events(body, self.largest_event)
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


async def _events(body: bytes, largest: int) -> AsyncIterator[sse.Event]:
    decoder = sse.Decoder(largest)
    for event in (*decoder.feed(body), *decoder.finish()):
        yield event
