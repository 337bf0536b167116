"""What sloppy servers send, made into what they meant, led by what validation found wrong."""

from __future__ import annotations

import json
import math
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from modelwrap.errors import InvalidResponse
from modelwrap.types import JSON, Change

M = TypeVar("M", bound=BaseModel)

# A repaired part may turn out to hold other mistakes.
_ROUNDS = 4

# OpenAI's own number for a token too unlikely to have one.
_UNKNOWN_LOGPROB = -9999.0

_NOTHING: Any = object()

_THOUGHTS = ("thinking", "reasoning")

# Parts of a message that are no text; Mistral's streams send such a one alone.
_OTHER_PARTS = ("reference", "tool_reference", "image_url", "document_url", "input_audio", "tool_file")

# Fields whose text may itself be JSON.
_MAY_BE_JSON = frozenset({"content", "reasoning_content", "refusal", "arguments", "input", "transcript"})

# What stands beside the answer: a value of a wrong type there costs that value, not the answer.
_BESIDE = frozenset(
    {
        *("id", "object", "created", "model", "system_fingerprint", "service_tier", "usage", "obfuscation"),
        *("role", "type", "finish_reason", "logprobs", "annotations", "expires_at"),
        *("output_format", "revised_prompt"),
    }
)


class _Hopeless(Exception):
    """Say that nobody can know what was meant."""


def validated(model: type[M], data: dict[str, Any], changes: list[Change]) -> M:
    """Validate JSON, repaired where that is needed; `InvalidResponse` names what cannot be.

    `data` is never changed. Each kind of repair is told once in `changes`, except that a null where there should be
    a value simply counts as not sent.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        found = error
    for _ in range(_ROUNDS):
        data = _repaired(data, found, changes)
        try:
            return model.model_validate(data)
        except ValidationError as error:
            found = error
    raise _invalid(found.errors(include_url=False, include_context=False)[0])


def tell(changes: list[Change], change: Change) -> None:
    """Note a change once, however many pieces of a stream needed it."""
    if change not in changes:
        changes.append(change)


def content_text(parts: list[Any], changes: list[Change]) -> tuple[str, str | None]:
    """Join a list of content parts (Mistral's, Databricks') into what was said and what was thought."""
    said: list[str] = []
    thought: list[str] = []
    for part in parts:
        if isinstance(part, str):
            said.append(part)
        elif part.get("type") in _THOUGHTS:
            thought.append(_thinking(part, changes))
        elif isinstance(part.get("text"), str):
            said.append(part["text"])
        else:
            _drop_part(part, changes)
    return "".join(said), "".join(thought) if thought else None


def _drop_part(part: dict[str, Any], changes: list[Change]) -> None:
    detail = f"a message has no place for a part of type {part.get('type')!r:.40}"
    tell(changes, Change("dropped", "content", detail))


def _thinking(value: Any, changes: list[Change]) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_thinking(item, changes) for item in value)
    if isinstance(value, dict):
        if value.get("type") in _OTHER_PARTS:
            _drop_part(value, changes)
        named = (value.get(name) for name in ("thinking", "summary", "text", "reasoning"))
        return _thinking(next(filter(None, named), ""), changes)
    return ""


def _repaired(data: dict[str, Any], error: ValidationError, changes: list[Change]) -> dict[str, Any]:
    data = _copied(data)
    for mistake in error.errors(include_url=False, include_context=False):
        try:
            _repair(data, mistake["loc"], mistake["type"], mistake["input"], changes)
        except _Hopeless:
            raise _invalid(mistake) from None
    _drop_nothing(data)
    return data


def _repair(data: Any, path: tuple[int | str, ...], kind: str, value: JSON, changes: list[Change]) -> None:
    holder = data
    for step in path[:-1]:
        holder = holder[step]
    key = path[-1]
    name = ".".join(step for step in path if isinstance(step, str))
    if value is None and key == "logprob":
        holder[key] = _UNKNOWN_LOGPROB
        tell(changes, Change("repaired", name, f"null was read as {_UNKNOWN_LOGPROB}"))
    elif value is None:
        holder[key] = _NOTHING
    elif kind == "string_type" and isinstance(holder[key], str):
        return  # a part of the content has come to stand here
    elif key == "content" and kind == "string_type" and (parts := _parts(value)):
        _repair_content(holder, parts, changes)
    else:
        holder[key] = _meant_or_nothing(holder, path, kind, value)
        if holder[key] is _NOTHING:
            tell(changes, Change("dropped", name, f"{value!r:.40} is no value of this field"))
        else:
            tell(changes, Change("repaired", name, f"it was sent as {type(value).__name__}"))


def _meant_or_nothing(holder: Any, path: tuple[int | str, ...], kind: str, value: JSON) -> JSON:
    if value is False or (value in ("", [], {}) and path[-1] not in ("arguments", "input")):
        return _NOTHING
    try:
        return _meant(holder, path[-1], kind, value)
    except _Hopeless:
        if _BESIDE.isdisjoint(path):
            raise
        return _NOTHING


def _drop_nothing(value: Any) -> None:
    if isinstance(value, list):
        value[:] = [item for item in value if item is not _NOTHING]
        for item in value:
            _drop_nothing(item)
    elif isinstance(value, dict):
        for key in [key for key, item in value.items() if item is _NOTHING]:
            del value[key]
        for item in value.values():
            _drop_nothing(item)


def _parts(content: JSON) -> list[Any]:
    """Give the parts of a content that is made of them; none where it is an answer in JSON that somebody parsed."""
    if isinstance(content, dict):
        return [content] if content.get("type") in ("text", *_THOUGHTS, *_OTHER_PARTS) else []
    if not isinstance(content, list) or not all(isinstance(part, (str, dict)) for part in content):
        return []
    return content if any(map(_is_part, content)) else []


def _is_part(part: str | dict[str, Any]) -> bool:
    if isinstance(part, str) or isinstance(part.get("text"), str):
        return True
    return part.get("type") in (*_THOUGHTS, *_OTHER_PARTS)


def _repair_content(message: dict[str, Any], parts: list[Any], changes: list[Change]) -> None:
    images = [image for part in parts if (image := _image(part)) is not None]
    said, thought = content_text([part for part in parts if _image(part) is None], changes)
    message["content"] = said
    if images:
        known = message.get("images")
        message["images"] = [*(known if isinstance(known, list) else ()), *images]
    if thought is not None:
        before = message.get("reasoning_content")
        message["reasoning_content"] = (before if isinstance(before, str) else "") + thought
    tell(changes, Change("converted", "content", "a list of parts was joined into text and reasoning_content"))


def _image(part: Any) -> dict[str, Any] | None:
    """Give a part that is an image as OpenRouter sends one beside the text, where every reply has them."""
    place = part.get("image_url") if isinstance(part, dict) and part.get("type") == "image_url" else None
    url = place.get("url") if isinstance(place, dict) else place
    return {"type": "image_url", "image_url": {"url": url}} if isinstance(url, str) else None


def _meant(holder: Any, key: int | str, kind: str, value: JSON) -> JSON:
    """Give the value that a field of another type stands for."""
    if kind == "string_type":
        return _as_text(key, value)
    if kind.startswith("int_") and isinstance(value, (int, float, str)):
        return _as_count(value)
    if kind == "list_type" and isinstance(value, dict) and key in ("tool_calls", "annotations"):
        return [value]
    if key == "logprobs" and isinstance(value, (int, float)):
        # Together AI's streams: the number belongs to the one token of the piece.
        said = holder.get("delta") or holder.get("message")
        token = said.get("content") if isinstance(said, dict) else None
        return {"content": [{"token": token or "", "logprob": value}]}
    if key == "logprob":
        return _UNKNOWN_LOGPROB
    raise _Hopeless


def _as_text(key: int | str, value: JSON) -> str:
    if isinstance(value, (bool, dict, list)) and key not in _MAY_BE_JSON:
        raise _Hopeless
    return json.dumps(value, ensure_ascii=False)


def _as_count(value: float | str) -> int:
    try:
        number = float(value)
    except ValueError:
        raise _Hopeless from None
    if not math.isfinite(number):
        raise _Hopeless
    return int(number)


def _copied(value: JSON) -> JSON:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value


def _invalid(mistake: ErrorDetails) -> InvalidResponse:
    path = ".".join(map(str, mistake["loc"])) or "the answer"
    return InvalidResponse(f"{path}: {mistake['msg']}, got {type(mistake['input']).__name__}")
