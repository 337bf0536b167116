"""Gemini's embedding models: a text or a list of texts in, as many vectors out."""

from __future__ import annotations

from typing import Any, Self

from modelwrap.models.call import Call
from modelwrap.models.embedding import EmbeddingModel
from modelwrap.models.gemini import HostedByGoogle
from modelwrap.runtime.base import Runtime
from modelwrap.wire import gemini_embedding
from modelwrap.wire.embeddings import batches, inputs_of
from modelwrap.wire.gemini_embedding import embeds_content

# https://ai.google.dev/api/embeddings#method:-models.batchembedcontents
_MOST_INPUTS = 100
# https://cloud.google.com/vertex-ai/generative-ai/docs/embeddings/get-text-embeddings#api-limits
_MOST_INSTANCES = 250


class GeminiEmbedding(EmbeddingModel):
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

    def batches(self, given: Any) -> list[Any]:
        return batches(inputs_of(given), self._most_inputs()) if isinstance(given, list) else [given]

    def _most_inputs(self) -> int:
        """Tell how many texts one request may hold."""
        facts = self.traits.facts.under()
        known = facts.get("embedding.max_inputs")
        if known is not None:
            return int(known)
        if facts.platform != "vertex":
            return _MOST_INPUTS
        return 1 if embeds_content(self.model) else _MOST_INSTANCES
