"""What embedding models share: many texts go out in several requests, and their vectors come back in one reply."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, cast

from modelwrap.errors import BadRequest, CallError
from modelwrap.models.call import Call, Explanation
from modelwrap.models.http import HttpModel
from modelwrap.models.messages import messages_from
from modelwrap.runtime import of_thread
from modelwrap.runtime.base import Runtime, run_sync
from modelwrap.types import Change, EmbeddingReply, Message, Reply
from modelwrap.wire.embeddings import joined

_AT_ONCE = 8


class EmbeddingModel(HttpModel):
    """Make vectors of texts; `reply.embeddings` has them in the order of the texts, however many requests it takes."""

    @abstractmethod
    def batches(self, given: Any) -> list[Any]:
        """Split what is to be embedded into what each request holds."""

    async def complete(self, call: Call, runtime: Runtime) -> Reply:
        batches = list(enumerate(self.batches(await self.to_input(call, runtime))))
        found: list[EmbeddingReply] = []
        for start in range(0, len(batches), _AT_ONCE):
            found += await self._embedded(batches[start : start + _AT_ONCE], call, runtime)
        return joined(found)

    async def _embedded(self, batches: list[tuple[int, Any]], call: Call, runtime: Runtime) -> list[EmbeddingReply]:
        """Ask for some batches at the same time; what is answered while another fails need not be asked for again."""
        failed: list[CallError] = []

        async def embed(numbered: tuple[int, Any]) -> None:
            number, batch = numbered
            if failed or (self, number) in call.answered:
                return
            try:
                call.answered[self, number] = await self._completed(self._wire_call(call, batch), call, runtime)
            except CallError as error:
                if not error.retryable:
                    raise
                failed.append(error)

        await runtime.each(embed, batches)
        if failed:
            failed.sort(key=lambda error: error.retry_after or 0.0)
            # Out of the list, which is held by the frames that the errors hold.
            del failed[:-1]
            raise failed.pop()
        # The codecs of these models give no other replies.
        return [cast("EmbeddingReply", call.answered[self, number]) for number, _ in batches]

    def describe(self, call: Call) -> Explanation:
        """Show the first of the requests that `call` would send."""
        call.input = self.batches(run_sync(self.to_input(call, of_thread())))[0]
        return super().describe(call)


def read_texts(given: Any, changes: list[Change]) -> Any:
    """Give a text, a list of tokens, a message, or a list of these with the messages made into their texts."""
    given = list(given) if isinstance(given, tuple) else given
    if _is_message(given):
        return _texts([given], changes)[0]
    if isinstance(given, list) and any(map(_is_message, given)):
        return _texts(given, changes)
    return given


def _is_message(given: Any) -> bool:
    return hasattr(given, "model_dump") or (isinstance(given, Mapping) and "role" in given)


def _texts(messages: list[Any], changes: list[Change]) -> list[str]:
    read = messages_from(messages, changes)
    return [_text(message, f"messages[{place}].content") for place, message in enumerate(read)]


def _text(message: Message, where: str) -> str:
    content = message.get("content")
    parts: list[Any] = content if isinstance(content, list) else [{"type": "text", "text": content}]
    texts = [part["text"] for part in parts if part.get("type") == "text" and isinstance(part.get("text"), str)]
    if len(texts) != len(parts):
        raise BadRequest(f"{where}: must be text, of which alone this model makes vectors", sent=False)
    return "\n".join(texts)
