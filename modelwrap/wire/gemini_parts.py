"""Gemini's parts and OpenAI's message fields: read from one into the other, and laid out again as they came.

What the fields cannot say stands in `extra_content.google`. Signatures stand where Google's own OpenAI-compatible
server puts them, `thought_signature` on the message and on each tool call. `parts` holds the turn's parts in their
order, and is there only where the fields and the signatures do not lead back to them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from modelwrap.errors import InvalidResponse
from modelwrap.types import Change, Message
from modelwrap.wire.gemini_arguments import StreamedCall
from modelwrap.wire.gemini_content import Part, inline_part, text_part, to_parts
from modelwrap.wire.gemini_tools import function_name
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
_THOUGHT_KEYS = frozenset({"text", "thought"})
_IMAGE_KEYS = frozenset({"inlineData", "thoughtSignature"})


class PartsReader:
    """Read the parts of one answer, in as many pieces as it comes, into OpenAI's fields."""

    def __init__(self, names: Mapping[str, str], platform: str = "") -> None:
        self._names = names
        self._platform = platform
        self._parts: list[Part] = []
        self._pieces: list[str] = []
        self._thinks = False
        self._call: StreamedCall | None = None
        self._sound = _Sound()
        self._thought: list[str] = []
        self._said: list[str] = []
        self._images: list[dict[str, Any]] = []
        self._calls: list[dict[str, Any]] = []

    @property
    def called(self) -> bool:
        """Whether the model called a function."""
        return bool(self._calls)

    @property
    def said(self) -> str:
        return "".join(self._said)

    def whole(self) -> list[Part]:
        """Give the parts that came, neighbouring pieces of one text put together."""
        self._end_text()
        return list(self._parts)

    def read(self, parts: Any, seed: str) -> dict[str, Any]:
        """Give what some parts add to the message, as a delta; `seed` tells this answer's calls from another's."""
        delta: dict[str, Any] = {}
        if parts is None:
            return delta
        if type(parts) is not list:
            raise InvalidResponse("candidates.content.parts: a list is expected")
        for part in parts:
            if type(part) is not dict:
                raise InvalidResponse("candidates.content.parts: each must be an object")
            self._read(part, delta, seed)
        return delta

    def rest(self, delta: dict[str, Any], seed: str) -> None:
        """Add what was held back until the answer ended: a call that came in pieces, and what the fields do not say."""
        self._end_call(delta, seed)
        self._sound.finish(delta)
        self._end_text()
        if own := self._own():
            delta["extra_content"] = {PROVIDER: own}

    # One part.

    def _read(self, part: Part, delta: dict[str, Any], seed: str) -> None:
        text = part.get("text")
        if type(text) is str and (len(part) == 1 or part.keys() <= _THOUGHT_KEYS):
            self._add_text(text, delta, thinks=bool(part.get("thought")))
            return
        call = part.get("functionCall")
        if type(call) is dict:
            self._read_call(part, call, delta, seed)
            return
        blob = part.get("inlineData")
        if type(blob) is dict and str(blob.get("mimeType", "")).startswith("audio/"):
            self._sound.add(blob, delta)
            return
        self._end_text()
        self._parts.append(part)
        if type(text) is str:
            self._take_text(text, delta, thinks=bool(part.get("thought")))
        elif type(blob) is dict and not part.get("thought"):
            self._take_image(part, blob, delta)

    def _add_text(self, text: str, delta: dict[str, Any], *, thinks: bool) -> None:
        if thinks != self._thinks:
            self._end_text()
            self._thinks = thinks
        if text:
            self._pieces.append(text)
        self._take_text(text, delta, thinks=thinks)

    def _take_text(self, text: str, delta: dict[str, Any], *, thinks: bool) -> None:
        field, kept = ("reasoning_content", self._thought) if thinks else ("content", self._said)
        if text:
            kept.append(text)
            delta[field] = delta.get(field, "") + text
        elif not thinks:
            delta.setdefault(field, "")

    def _end_text(self) -> None:
        if self._pieces:
            self._parts.append({"text": "".join(self._pieces), **({"thought": True} if self._thinks else {})})
            self._pieces = []

    def _take_image(self, part: Part, blob: Mapping[str, Any], delta: dict[str, Any]) -> None:
        url = f"data:{blob.get('mimeType', '')};base64,{blob.get('data', '')}"
        image: dict[str, Any] = {"type": "image_url", "image_url": {"url": url}, **_signed(part)}
        self._images.append(image)
        delta.setdefault("images", []).append(image)

    def _read_call(self, part: Part, call: dict[str, Any], delta: dict[str, Any], seed: str) -> None:
        self._end_text()
        if self._call is None and not (call.get("willContinue") or call.get("partialArgs")):
            self._take_call(part, delta, seed)
            return
        if self._call is not None and call.get("name"):
            self._end_call(delta, seed)
        if self._call is None:
            self._call = StreamedCall()
        self._call.add(part, call)
        if self._call.ended:
            self._end_call(delta, seed)

    def _end_call(self, delta: dict[str, Any], seed: str) -> None:
        if self._call is not None:
            part, self._call = self._call.whole(), None
            self._take_call(part, delta, seed)

    def _take_call(self, part: Part, delta: dict[str, Any], seed: str) -> None:
        self._parts.append(part)
        call = part["functionCall"]
        name, args = str(call.get("name") or ""), call.get("args")
        arguments = json.dumps({} if args is None else args, ensure_ascii=False, separators=(",", ":"))
        number = len(self._calls)
        made = {
            "id": str(call.get("id") or "") or _minted(seed or f"{name}{arguments}", number),
            "type": "function",
            "function": {"name": self._names.get(name, name), "arguments": arguments},
            **_signed(part),
        }
        self._calls.append(made)
        delta.setdefault("tool_calls", []).append({"index": number, **made})

    # What the fields leave unsaid.

    def _own(self) -> dict[str, Any]:
        own: dict[str, Any] = {}
        signed = [part for part in self._parts if type(part.get("text")) is str and part.get("thoughtSignature")]
        if signed:
            own["thought_signature"] = signed[-1]["thoughtSignature"]
            if not signed[-1]["text"]:
                own["signed_apart"] = True
        message: dict[str, Any] = {"content": self.said, "reasoning_content": "".join(self._thought)}
        message |= {"tool_calls": self._calls, "images": self._images}
        if own:
            message["extra_content"] = {PROVIDER: own}
        if parts_of_fields(message, "message", []) != self._parts:
            own["parts"] = self._parts
        if self._platform and any("thoughtSignature" in part for part in self._parts):
            own["platform"] = self._platform
        return own


def _minted(seed: str, number: int) -> str:
    return MINTED + hashlib.sha256(f"{seed}/{number}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _signed(part: Part) -> dict[str, Any]:
    signature = part.get("thoughtSignature")
    return {"extra_content": {PROVIDER: {"thought_signature": signature}}} if signature else {}


class _Sound:
    """Put together the pieces of what the model speaks, whose base64 cannot simply be joined."""

    def __init__(self) -> None:
        self._left = b""

    def add(self, blob: Mapping[str, Any], delta: dict[str, Any]) -> None:
        try:
            data = self._left + base64.b64decode(str(blob.get("data") or ""))
        except binascii.Error:
            raise InvalidResponse("candidates.content.parts.inlineData.data: is no base64") from None
        whole = len(data) - len(data) % 3
        self._left = data[whole:]
        audio = delta.setdefault("audio", {"id": "", "data": "", "mime_type": blob.get("mimeType")})
        audio["data"] += base64.b64encode(data[:whole]).decode("ascii")

    def finish(self, delta: dict[str, Any]) -> None:
        if self._left:
            audio = delta.setdefault("audio", {"data": ""})
            audio["data"] += base64.b64encode(self._left).decode("ascii")
            self._left = b""


# Back into parts.


def model_parts(message: Message, where: str, changes: list[Change], platform: str | None = None) -> list[Part]:
    """Write a turn of the model: its own parts, as far as they agree with what the message says now.

    Signatures of another platform than `platform` are left out; None stands for any.
    """
    own = native_extra(message, PROVIDER)
    parts = parts_of_fields(message, where, changes)
    native = own.get("parts")
    if isinstance(native, list) and all(isinstance(part, Mapping) for part in native):
        parts = _fitted([dict(part) for part in native], parts, changes)
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
    parts = to_parts(message.get("content") or message.get("refusal") or None, f"{where}.content", changes)
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
    kept: list[Part] = []
    text_at: int | None = None
    fits = True
    for part in native:
        if "functionCall" in part:
            same = next((call for call in left if _same_call(call, part)), None)
            if same is None:
                fits = False
            else:
                left.remove(same)
                kept.append(part)
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


def _is_said(part: Part) -> bool:
    return not part.get("thought") and "functionCall" not in part and ("text" in part or "fileData" in part)


def _text_of(parts: list[Part]) -> str:
    return "".join(str(part.get("text", "")) for part in parts if _is_said(part))


def _same_call(one: Part, other: Part) -> bool:
    first, second = one["functionCall"], other["functionCall"]
    if first.get("id") is not None and second.get("id") is not None and first["id"] != second["id"]:
        return False
    return bool(first["name"] == second.get("name") and first["args"] == (second.get("args") or {}))
