"""What Gemini answers, as OpenAI says it: why it ended, what it cost, where it looked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from modelwrap.errors import BadRequest, CallError, ContentFiltered, InvalidResponse
from modelwrap.types import JSON

FILTERED = "content_filter"
PAUSED = "CONTINUATION"
"""Gemini's word for an answer that waits to be asked to go on."""

# https://ai.google.dev/api/generate-content#FinishReason
_FINISHED = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    PAUSED: "length",
    **dict.fromkeys(
        (
            *("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "OTHER", "MODEL_ARMOR"),
            *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_OTHER"),
            *("ESCALATION", "PUP_LIMITED_DISABLED"),
        ),
        FILTERED,
    ),
}
# What says that the model, or the request, went wrong; those that another try may not meet again are true.
_FAILED: dict[str, tuple[type[CallError], bool, str]] = {
    "MALFORMED_FUNCTION_CALL": (InvalidResponse, True, "the model wrote a function call that cannot be read"),
    "UNEXPECTED_TOOL_CALL": (InvalidResponse, True, "the model called a tool that it was not given"),
    "MALFORMED_RESPONSE": (InvalidResponse, True, "the model wrote an answer that cannot be read"),
    "NO_IMAGE": (InvalidResponse, True, "the model was to make an image and made none"),
    "TOO_MANY_TOOL_CALLS": (InvalidResponse, False, "the model called tools more often than Gemini lets it"),
    "MISSING_THOUGHT_SIGNATURE": (BadRequest, False, "a tool call in the messages lacks its thought signature"),
}
# Answers to a client that asks for numbers in place of words.
_NUMBERED = (
    *("FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER", "LANGUAGE", "BLOCKLIST"),
    *("PROHIBITED_CONTENT", "SPII", "MALFORMED_FUNCTION_CALL", "IMAGE_SAFETY", "UNEXPECTED_TOOL_CALL"),
)
_UNSPECIFIED = "FINISH_REASON_UNSPECIFIED"


def native_reason(candidate: Mapping[str, Any]) -> str | None:
    """Give Gemini's own word for why a candidate ended; None while it goes on."""
    reason = candidate.get("finishReason")
    if isinstance(reason, int) and 0 <= reason < len(_NUMBERED):
        reason = _NUMBERED[reason]
    return None if reason in (None, "", _UNSPECIFIED) else str(reason)


def finish_reason(native: str | None, *, called: bool) -> str | None:
    """Give OpenAI's word for a reason; one that has none stays as it is, and a failure has no word."""
    if native is None or native in _FAILED:
        return None
    if native == "STOP" and called:
        return "tool_calls"
    return _FINISHED.get(native, native)


def failure_of(native: str | None, message: Any) -> CallError | None:
    """Give the error that a finish reason is; None for one that is an end."""
    if native not in _FAILED:
        return None
    kind, again, words = _FAILED[native]
    said = f"{words}: {message}" if message and isinstance(message, str) else words
    return kind(said, code=native, retryable=again)


def blocked(data: Mapping[str, Any]) -> ContentFiltered | None:
    """Give the error of a prompt that was not let through."""
    feedback = data.get("promptFeedback")
    reason = feedback.get("blockReason") if isinstance(feedback, Mapping) else None
    if not reason or reason == "BLOCKED_REASON_UNSPECIFIED":
        return None
    assert isinstance(feedback, Mapping)
    words = feedback.get("blockReasonMessage")
    return ContentFiltered(
        f"the prompt was blocked ({reason})" + (f": {words}" if words else ""), status=200, code=str(reason)
    )


def identity(data: Mapping[str, Any]) -> dict[str, Any]:
    """Give what names a reply and each piece of it."""
    known: dict[str, Any] = {}
    for name, field in (("id", "responseId"), ("model", "modelVersion")):
        if isinstance(data.get(field), str) and data[field]:
            known[name] = data[field]
    created = data.get("createTime")
    if isinstance(created, str):
        try:
            known["created"] = int(datetime.fromisoformat(created).timestamp())
        except ValueError:
            pass
    return known


# Usage.


def cost(metadata: JSON) -> dict[str, Any]:
    """Give the fields of a reply that say what it cost; none where nobody counted."""
    counted = usage(metadata)
    if counted is None:
        return {}
    tier = metadata.get("serviceTier")
    return {"usage": counted, "service_tier": tier} if isinstance(tier, str) else {"usage": counted}


def usage(metadata: JSON) -> dict[str, Any] | None:
    """Count as OpenAI does: what tools read is part of the prompt, and what was thought part of the completion."""
    if not isinstance(metadata, Mapping):
        return None
    thought, cached = count(metadata, "thoughtsTokenCount"), count(metadata, "cachedContentTokenCount")
    prompt = count(metadata, "promptTokenCount") + count(metadata, "toolUsePromptTokenCount")
    completion = count(metadata, "candidatesTokenCount") + thought
    counted: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": count(metadata, "totalTokenCount") or prompt + completion,
    }
    prompt_details = _modalities(metadata, "promptTokensDetails", "toolUsePromptTokensDetails")
    if "cachedContentTokenCount" in metadata:
        prompt_details["cached_tokens"] = cached
    completion_details = _modalities(metadata, "candidatesTokensDetails")
    if "thoughtsTokenCount" in metadata:
        completion_details["reasoning_tokens"] = thought
    if prompt_details:
        counted["prompt_tokens_details"] = prompt_details
    if completion_details:
        counted["completion_tokens_details"] = completion_details
    return counted


def summed(before: JSON, after: JSON) -> JSON:
    """Add up what two requests of one answer cost."""
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return after if isinstance(after, Mapping) else before
    total = {**before, **after}
    for name in before.keys() & after.keys():
        if isinstance(after[name], list) and isinstance(before[name], list):
            total[name] = [*before[name], *after[name]]
        elif name.endswith("Count"):
            total[name] = count(before, name) + count(after, name)
    return total


def count(metadata: Mapping[str, Any], name: str) -> int:
    """Read a number of tokens, however it is written; what is none counts for nothing."""
    value = metadata.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    elif isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:15])
    return value if type(value) is int and value > 0 else 0


def _modalities(metadata: Mapping[str, Any], *names: str) -> dict[str, int]:
    """Sum what is counted by kind; a number in place of the kind's name says nothing here."""
    counts: dict[str, int] = {}
    for name in names:
        details = metadata.get(name)
        for item in details if isinstance(details, list) else ():
            if isinstance(item, Mapping) and isinstance(item.get("modality"), str):
                key = f"{item['modality'].lower()}_tokens"
                counts[key] = counts.get(key, 0) + count(item, "tokenCount")
    return counts


# Beside the text.


def logprobs(candidate: Mapping[str, Any]) -> dict[str, Any] | None:
    result = candidate.get("logprobsResult")
    chosen = result.get("chosenCandidates") if isinstance(result, Mapping) else None
    if not isinstance(result, Mapping) or not isinstance(chosen, list):
        return None
    tops = result.get("topCandidates")
    tops = tops if isinstance(tops, list) else []
    content = []
    for place, token in enumerate(chosen):
        if isinstance(token, Mapping):
            top = tops[place].get("candidates") if place < len(tops) and isinstance(tops[place], Mapping) else None
            written = _token(token)
            if isinstance(top, list):
                written["top_logprobs"] = [_token(other) for other in top if isinstance(other, Mapping)]
            content.append(written)
    return {"content": content}


def _token(token: Mapping[str, Any]) -> dict[str, Any]:
    text = str(token.get("token") or "")
    # A probability of one is left out as every zero is.
    return {"token": text, "logprob": token.get("logProbability", 0.0), "bytes": list(text.encode())}
