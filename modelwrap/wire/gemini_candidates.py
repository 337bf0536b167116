"""The candidates of an answer, whole or in pieces, as choices of OpenAI's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelwrap.errors import CallError, InvalidResponse
from modelwrap.types import JSON
from modelwrap.wire import gemini_replies as replies
from modelwrap.wire.assembly import MOST_CHOICES
from modelwrap.wire.gemini_beside import candidate_extra, citations, extended, joined
from modelwrap.wire.gemini_native import PROVIDER
from modelwrap.wire.gemini_parts import PartsReader

# What a paused candidate says of its pause.
_OF_A_PAUSE = ("finishReason", "finishMessage", "continuationToken")


class CandidateReader:
    """Read one candidate."""

    def __init__(self, index: int, names: Mapping[str, str], platform: str = "") -> None:
        self.index = index
        self.native: str | None = None
        """Gemini's word for why it ended; the last one holds, for older models give one with each piece."""
        self._parts = PartsReader(names, platform)
        self._earlier: dict[str, Any] = {}
        """What was said beside the text before the answer was paused."""
        self._extra: dict[str, Any] = {}

    def read(self, candidate: dict[str, Any], seed: str) -> dict[str, Any]:
        """Give what a piece adds, as a delta."""
        if len(candidate) > 1 or "content" not in candidate:
            self.native = replies.native_reason(candidate) or self.native
            if extra := candidate_extra(candidate):
                self._extra = extended(self._extra, extra)
        content = candidate.get("content")
        if content is None:
            return {}
        if type(content) is not dict:
            raise InvalidResponse("candidates.content: an object is expected")
        return self._parts.read(content.get("parts"), f"{seed}/{self.index}" if seed else "")

    def close(self, message: dict[str, Any], seed: str) -> dict[str, Any]:
        """Add to a message what was held back until the end, and give what stands beside it."""
        self._parts.rest(message, f"{seed}/{self.index}" if seed else "")
        extra = self._whole_extra()
        if found := citations(extra, self._parts.said):
            message["annotations"] = found
        beside: dict[str, Any] = {
            "finish_reason": replies.finish_reason(self.native, called=self._parts.called),
            "native_finish_reason": self.native,
        }
        if extra:
            beside["extra_content"] = {PROVIDER: extra}
        return beside

    def _whole_extra(self) -> dict[str, Any]:
        return joined(self._earlier, self._extra) if self._earlier else self._extra

    def resume(self, candidate: dict[str, Any], seed: str) -> None:
        """Take in what was read before the answer was paused."""
        self.read(candidate, seed)
        self.native = None
        self._earlier = {name: value for name, value in self._extra.items() if name not in _OF_A_PAUSE}
        self._extra = {}

    @property
    def raw(self) -> dict[str, Any]:
        """The candidate as it would have come in one piece."""
        content = {"role": "model", "parts": self._parts.whole()}
        return {**self._whole_extra(), "index": self.index, "content": content, "finishReason": self.native}

    @property
    def outline(self) -> dict[str, Any]:
        """What it said and how it ended, as a choice."""
        reason = replies.finish_reason(self.native, called=self._parts.called)
        return {"index": self.index, "message": {"content": self._parts.said}, "finish_reason": reason}

    @property
    def failure(self) -> CallError | None:
        return replies.failure_of(self.native, self._extra.get("finishMessage"))


def candidates_of(data: JSON) -> list[dict[str, Any]]:
    """Give the candidates of an answer or of a piece of one; there may be none."""
    found = data.get("candidates")
    if not found:
        return []
    if type(found) is not list or not all(type(candidate) is dict for candidate in found):
        raise InvalidResponse("candidates: a list of objects is expected")
    if len(found) > MOST_CHOICES:
        raise InvalidResponse(f"candidates: more than {MOST_CHOICES}")
    return found


def index_of(candidate: Mapping[str, Any], position: int) -> int:
    index = candidate.get("index")
    return index if type(index) is int and index >= 0 else position


# Answers that Gemini pauses.


def token_of(paused: Mapping[str, Any]) -> Any:
    """Give what a paused answer is asked to go on by."""
    return next((candidate.get("continuationToken") for candidate in candidates_of(paused)), None)


def continued(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Put an answer that was paused and what came of it together, as if they had come at once."""
    earlier = {index_of(candidate, place): candidate for place, candidate in enumerate(candidates_of(before))}
    candidates = []
    for place, candidate in enumerate(candidates_of(after)):
        known = earlier.get(index_of(candidate, place), {})
        kept = {name: value for name, value in known.items() if name not in _OF_A_PAUSE}
        parts = [*parts_of(known), *parts_of(candidate)]
        candidates.append({**joined(kept, candidate), "content": {"role": "model", "parts": parts}})
    named: dict[str, Any] = {name: before[name] for name in ("responseId", "createTime") if name in before}
    usage = replies.summed(before.get("usageMetadata"), after.get("usageMetadata"))
    whole: dict[str, Any] = {**after, **named, "candidates": candidates}
    return {**whole, "usageMetadata": usage} if usage else whole


def parts_of(candidate: Mapping[str, Any]) -> list[Any]:
    """Give what a candidate says; there may be nothing."""
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, Mapping) else None
    return parts if isinstance(parts, list) else []
