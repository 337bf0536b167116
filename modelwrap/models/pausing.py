"""Models whose providers may pause an answer: the rest of it is asked for until it is whole."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import ClassVar, cast

from modelwrap.errors import CallError, InvalidResponse, StreamFailed
from modelwrap.models.call import Call
from modelwrap.models.http import HttpModel
from modelwrap.runtime.base import Runtime
from modelwrap.types import Change, ChatChunk, ChatReply, Reply
from modelwrap.wire import sse
from modelwrap.wire.http import HttpRequest, WireCall
from modelwrap.wire.repair import tell


class PausingModel(HttpModel):
    """Ask for the rest of an answer that was paused, and give it as if it had come at once."""

    pause: ClassVar[str]
    """The provider's word for why a paused answer stopped."""
    most_pauses: ClassVar[int]

    def is_paused(self, reply: Reply) -> bool:
        """Tell whether there is more to an answer."""
        return reply.meta.finish_reason == self.pause

    async def _completed(self, wire: WireCall, call: Call, runtime: Runtime) -> Reply:
        reply = await super()._completed(wire, call, runtime)
        pauses = 0
        while self.is_paused(reply):
            pauses += 1
            if pauses > self.most_pauses:
                # These models' codecs give no other replies.
                raise InvalidResponse(self._too_often, partial=cast("ChatReply", reply))
            tell(call.lasting, self._gone_on(pauses))
            try:
                reply = await super()._completed(replace(wire, resumes=reply.raw), call, runtime)
            except CallError as error:
                error.partial = error.partial or cast("ChatReply", reply)
                raise
        return reply

    async def _chunks(
        self, request: HttpRequest, wire: WireCall, call: Call, runtime: Runtime, end: sse.End | None = None
    ) -> AsyncGenerator[ChatChunk, None]:
        end = sse.End()
        for pauses in range(1, self.most_pauses + 2):
            end = sse.End(unsaid=end.unsaid)
            try:
                async with aclosing(super()._chunks(request, wire, call, runtime, end)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            except CallError:
                if end.unsaid is not None:
                    yield end.unsaid
                raise
            if end.paused is None:
                return
            call.ended = False
            tell(call.lasting, self._gone_on(pauses))
            wire = replace(wire, resumes=end.paused)
            # The token of a login stands in the request alone.
            token = {name: request.headers[name] for name in ("authorization",) if name in request.headers}
            request = self._request(wire, call, self.traits)
            request = replace(request, headers={**request.headers, **token})
        if end.unsaid is not None:
            yield end.unsaid
        raise StreamFailed(self._too_often)

    @property
    def _too_often(self) -> str:
        return f"the provider paused its answer more than {self.most_pauses} times"

    def _gone_on(self, pauses: int) -> Change:
        return Change("emulated", self.pause, f"pause {pauses}: asked to go on, and put together")
