"""OpenAI's embedding models, and every server that speaks their format: texts in, as many vectors out."""

from __future__ import annotations

from typing import Any

from modelwrap.models.call import Call
from modelwrap.models.embedding import EmbeddingModel, read_texts
from modelwrap.models.openai import OpenAIModel
from modelwrap.runtime.base import Runtime
from modelwrap.wire import openai_embedding
from modelwrap.wire.embeddings import batches
from modelwrap.wire.openai_embedding import is_tokens, size_of, texts_of

# https://developers.openai.com/api/reference/resources/embeddings/methods/create
_MOST_INPUTS = 2048


class OpenAIEmbedding(EmbeddingModel, OpenAIModel):
    """Make vectors of a text, a list of tokens, a message, or a list of these, over `/embeddings`."""

    codec = openai_embedding

    async def to_input(self, call: Call, runtime: Runtime) -> Any:
        return read_texts(call.input, call.lasting)

    def batches(self, given: Any) -> list[Any]:
        if not isinstance(given, list) or is_tokens(given):
            return [given]
        facts = self.traits.facts
        texts = texts_of(given)
        most_tokens = facts.get("embedding.max_tokens_per_request")
        return batches(texts, facts.get("embedding.max_inputs") or _MOST_INPUTS, list(map(size_of, texts)), most_tokens)
