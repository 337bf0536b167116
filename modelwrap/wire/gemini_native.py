"""Gemini's own parts on OpenAI's messages: kept where its fields do not say everything, and laid out again.

Signatures stand where Google's own OpenAI-compatible server puts them, `extra_content.google.thought_signature` on the
message and on each tool call. `extra_content.google.parts` holds a turn's parts in their order, and is there only where
the fields and the signatures do not lead back to them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from modelwrap.types import Change, Message
from modelwrap.wire.gemini_content import Part, inline_part, text_part, to_parts
from modelwrap.wire.gemini_tools import function_name
from modelwrap.wire.histories import said_of
from modelwrap.wire.media_parts import is_data_url, wrong
from modelwrap.wire.repair import tell
from modelwrap.wire.turns import arguments_of, native_extra, tool_name

PROVIDER = "google"

# The ids of calls that Gemini gave none; they are not sent back.
MINTED = "call_gemini_"

_EDITED = Change(
    "dropped", f"extra_content.{PROVIDER}.parts", "parts of the model's own that do not fit the message as it is now"
)
_SIGNED_ELSEWHERE = Change(
    "dropped", f"extra_content.{PROVIDER}.thought_signature", "made on another platform, which this one refuses"
)


def model_parts(message: Message, where: str, changes: list[Change], platform: str | None = None) -> list[Part]:
    """Write a turn of the model: its own parts, as far as they agree with what the message says now.

    Signatures of another platform than `platform` are left out; None stands for any.
    """
    own = native_extra(message, PROVIDER)
    parts = parts_of_fields(message, where, changes)
    native = own.get("parts")
    if isinstance(native, list) and all(_is_part(part) for part in native):
        parts = _fitted([dict(part) for part in native], parts, changes)
    elif native is not None:
        tell(changes, _EDITED)
    if platform is None or own.get("platform", "") == platform:
        return parts
    return _unsigned(parts, changes)


def _unsigned(parts: list[Part], changes: list[Change]) -> list[Part]:
    """Leave out signatures that were made on another platform, which this one refuses."""
    if not any("thoughtSignature" in part for part in parts):
        return parts
    tell(changes, _SIGNED_ELSEWHERE)
    bare = ({name: value for name, value in part.items() if name != "thoughtSignature"} for part in parts)
    return [part for part in bare if part and part != {"text": ""}]


def parts_of_fields(message: Mapping[str, Any], where: str, changes: list[Change]) -> list[Part]:
    """Write what OpenAI's fields say, with the signatures that stand beside them."""
    own = native_extra(message, PROVIDER)
    parts: list[Part] = []
    thought = message.get("reasoning_content")
    if thought and isinstance(thought, str) and is_own(message):
        parts.append({"text": thought, "thought": True})
    parts += _said(message, own, where, changes)
    for number, image in enumerate(message.get("images") or ()):
        parts.append(_image_part(image, f"{where}.images[{number}]"))
    for number, call in enumerate(message.get("tool_calls") or ()):
        parts.append(_call_part(call, f"{where}.tool_calls[{number}]", changes))
    return parts


def is_own(message: Mapping[str, Any]) -> bool:
    """Tell whether a message carries anything that Gemini gave it."""
    holders = [message, *(call for call in message.get("tool_calls") or () if isinstance(call, Mapping))]
    return any(native_extra(holder, PROVIDER) for holder in holders)


def _said(message: Mapping[str, Any], own: Mapping[str, Any], where: str, changes: list[Change]) -> list[Part]:
    parts = to_parts(said_of(message), f"{where}.content", changes)
    if not all(_is_part(part) for part in parts):
        raise wrong(f"{where}.content", "functionCall must be an object")
    signature = own.get("thought_signature")
    if not signature:
        return parts
    if parts and "text" in parts[-1] and not own.get("signed_apart"):
        return [*parts[:-1], {**parts[-1], "thoughtSignature": signature}]
    return [*parts, {"text": "", "thoughtSignature": signature}]


def _image_part(image: Any, where: str) -> Part:
    holder = image.get("image_url") if isinstance(image, Mapping) else None
    url = holder.get("url") if isinstance(holder, Mapping) else None
    if not isinstance(url, str) or not is_data_url(url):
        raise wrong(where, "Gemini takes back the bytes of an image only, as a data: URL")
    signature = native_extra(image, PROVIDER).get("thought_signature")
    return {**inline_part(url, where), **({"thoughtSignature": signature} if signature else {})}


def _call_part(call: Any, where: str, changes: list[Change]) -> Part:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        raise wrong(where, "Gemini has calls of functions only")
    written: dict[str, Any] = {"name": tool_name(function.get("name"), function_name, changes)}
    written["args"] = arguments_of(function.get("arguments"), changes)
    call_id = call.get("id")
    if isinstance(call_id, str) and call_id and not call_id.startswith(MINTED):
        written["id"] = call_id
    signature = native_extra(call, PROVIDER).get("thought_signature")
    return {"functionCall": written, **({"thoughtSignature": signature} if signature else {})}


def _fitted(native: list[Part], written: list[Part], changes: list[Change]) -> list[Part]:
    """Keep of the native parts what agrees with those that the message's fields make."""
    said = [part for part in written if _is_said(part)]
    same_text = _text_of(native) == _text_of(said) and all("text" in part for part in said)
    left = [part for part in written if "functionCall" in part]
    ids = [part["functionCall"].get("id") for part in native if "functionCall" in part]
    kept: list[Part] = []
    text_at: int | None = None
    fits = True
    for part in native:
        if "functionCall" in part:
            same = _counterpart(part, left, ids)
            if same is None:
                fits = False
            else:
                left.remove(same)
                kept.append(_with_id_of(same, part))
        elif _is_said(part) and "text" in part and not same_text:
            text_at = len(kept) if text_at is None else text_at
        else:
            kept.append(part)
    if not same_text:
        fits = False
        place = next((n for n, part in enumerate(kept) if "functionCall" in part), len(kept))
        place = place if text_at is None else text_at
        # A signature is of the text that was signed.
        kept[place:place] = [
            text_part(part["text"]) if "text" in part else part for part in said if part.get("text") != ""
        ]
    if left or not fits:
        tell(changes, _EDITED)
    return [*kept, *left]


def _is_part(part: Any) -> bool:
    return isinstance(part, Mapping) and isinstance(part.get("functionCall", {}), Mapping)


def _is_said(part: Part) -> bool:
    return not part.get("thought") and "functionCall" not in part and ("text" in part or "fileData" in part)


def _text_of(parts: list[Part]) -> str:
    return "".join(str(part.get("text", "")) for part in parts if _is_said(part))


def _counterpart(part: Part, calls: list[Part], ids: Collection[Any]) -> Part | None:
    """Find the same call as the message has it now: by its id, or under another that none of the parts has."""
    alike = [call for call in calls if _same_call(call["functionCall"], part["functionCall"])]
    own = part["functionCall"].get("id")
    by_id = (call for call in alike if own is None or call["functionCall"].get("id") in (None, own))
    renamed = (call for call in alike if call["functionCall"].get("id") not in ids)
    return next(by_id, None) or next(renamed, None)


def _with_id_of(call: Part, part: Part) -> Part:
    given, own = call["functionCall"].get("id"), part["functionCall"].get("id")
    if None in (given, own) or given == own:
        return part
    return {**part, "functionCall": {**part["functionCall"], "id": given}}


def _same_call(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(one.get("name") == other.get("name") and (one.get("args") or {}) == (other.get("args") or {}))
