"""Gemini's embedding models: a text or a list of texts in, as many vectors out."""

from __future__ import annotations

from typing import Any, Self, cast

from modelwrap.models.call import Call, Explanation
from modelwrap.models.gemini import HostedByGoogle
from modelwrap.models.http import HttpModel
from modelwrap.runtime.base import Runtime
from modelwrap.types import EmbeddingReply, Reply
from modelwrap.wire import gemini_embedding
from modelwrap.wire.gemini_embedding import embeds_content, inputs_of, joined

# https://ai.google.dev/api/embeddings#method:-models.batchembedcontents
_MOST_INPUTS = 100
# https://cloud.google.com/vertex-ai/generative-ai/docs/embeddings/get-text-embeddings#api-limits
_MOST_INSTANCES = 250

_AT_ONCE = 8


class GeminiEmbedding(HttpModel):
    """Make vectors of texts; `reply.embeddings` has them in the order of the texts, however many requests it takes."""

    Config = HostedByGoogle
    codec = gemini_embedding

    @classmethod
    def from_config(cls, config: HostedByGoogle) -> Self:
        model = cls(config.config_name, config.model, config.endpoint(config.headers()), config.traits())
        model.configure(config)
        model.credential = config.credential()
        return model

    async def to_input(self, call: Call, runtime: Runtime) -> Any:
        return list(call.input) if isinstance(call.input, tuple) else call.input

    async def complete(self, call: Call, runtime: Runtime) -> Reply:
        batches = self._batches(await self.to_input(call, runtime))

        async def embed(batch: Any) -> EmbeddingReply:
            # This codec gives no other replies.
            return cast("EmbeddingReply", await self._completed(self._wire_call(call, batch), call, runtime))

        found: list[EmbeddingReply] = []
        for start in range(0, len(batches), _AT_ONCE):
            found += await runtime.each(embed, batches[start : start + _AT_ONCE])
        return joined(found)

    def describe(self, call: Call) -> Explanation:
        """Show the first of the requests that `call` would send."""
        if isinstance(call.input, (list, tuple)):
            call.input = self._batches(list(call.input))[0]
        return super().describe(call)

    def _batches(self, given: Any) -> list[Any]:
        if not isinstance(given, list):
            return [given]
        most = self._most_inputs()
        inputs = inputs_of(given)
        return [inputs[start : start + most] for start in range(0, len(inputs), most)]

    def _most_inputs(self) -> int:
        """Tell how many texts one request may hold."""
        facts = self.traits.facts.under()
        known = facts.get("embedding.max_inputs")
        if known is not None:
            return int(known)
        if facts.platform != "vertex":
            return _MOST_INPUTS
        return 1 if embeds_content(self.model) else _MOST_INSTANCES
