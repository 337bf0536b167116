"""OpenAI's embedding models, and every server that speaks their format: texts in, as many vectors out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelwrap.errors import BadRequest
from modelwrap.models.call import Call
from modelwrap.models.embedding import EmbeddingModel
from modelwrap.models.messages import messages_from
from modelwrap.models.openai import OpenAIModel
from modelwrap.runtime.base import Runtime
from modelwrap.types import Message
from modelwrap.wire import openai_embedding
from modelwrap.wire.embeddings import batches
from modelwrap.wire.openai_embedding import is_tokens, size_of, texts_of

# https://developers.openai.com/api/reference/resources/embeddings/methods/create
_MOST_INPUTS = 2048


class OpenAIEmbedding(EmbeddingModel, OpenAIModel):
    """Make vectors of a text, a list of tokens, a message, or a list of these, over `/embeddings`."""

    codec = openai_embedding

    async def to_input(self, call: Call, runtime: Runtime) -> Any:
        given = list(call.input) if isinstance(call.input, tuple) else call.input
        if _is_message(given):
            return _texts([given], call)[0]
        if isinstance(given, list) and any(map(_is_message, given)):
            return _texts(given, call)
        return given

    def batches(self, given: Any) -> list[Any]:
        if not isinstance(given, list) or is_tokens(given):
            return [given]
        facts = self.traits.facts
        texts = texts_of(given)
        most_tokens = facts.get("embedding.max_tokens_per_request")
        return batches(texts, facts.get("embedding.max_inputs") or _MOST_INPUTS, list(map(size_of, texts)), most_tokens)


def _is_message(given: Any) -> bool:
    return hasattr(given, "model_dump") or (isinstance(given, Mapping) and "role" in given)


def _texts(messages: list[Any], call: Call) -> list[str]:
    read = messages_from(messages, call.lasting)
    return [_text(message, f"messages[{place}].content") for place, message in enumerate(read)]


def _text(message: Message, where: str) -> str:
    content = message.get("content")
    parts: list[Any] = content if isinstance(content, list) else [{"type": "text", "text": content}]
    texts = [part["text"] for part in parts if part.get("type") == "text" and isinstance(part.get("text"), str)]
    if len(texts) != len(parts):
        raise BadRequest(f"{where}: must be text, of which alone this model makes vectors", sent=False)
    return "\n".join(texts)
