"""What embedding models share: many texts go out in several requests, and their vectors come back in one reply."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, cast

from modelwrap.models.call import Call, Explanation
from modelwrap.models.http import HttpModel
from modelwrap.runtime import of_thread
from modelwrap.runtime.base import Runtime, run_sync
from modelwrap.types import EmbeddingReply, Reply
from modelwrap.wire.embeddings import joined

_AT_ONCE = 8


class EmbeddingModel(HttpModel):
    """Make vectors of texts; `reply.embeddings` has them in the order of the texts, however many requests it takes."""

    @abstractmethod
    def batches(self, given: Any) -> list[Any]:
        """Split what is to be embedded into what each request holds."""

    async def complete(self, call: Call, runtime: Runtime) -> Reply:
        batches = list(enumerate(self.batches(await self.to_input(call, runtime))))

        async def embed(numbered: tuple[int, Any]) -> EmbeddingReply:
            number, batch = numbered
            known = call.answered.get((self, number))
            if known is None:
                known = await self._completed(self._wire_call(call, batch), call, runtime)
                call.answered[self, number] = known
            # The codecs of these models give no other replies.
            return cast("EmbeddingReply", known)

        found: list[EmbeddingReply] = []
        for start in range(0, len(batches), _AT_ONCE):
            found += await runtime.each(embed, batches[start : start + _AT_ONCE])
        return joined(found)

    def describe(self, call: Call) -> Explanation:
        """Show the first of the requests that `call` would send."""
        call.input = self.batches(run_sync(self.to_input(call, of_thread())))[0]
        return super().describe(call)
