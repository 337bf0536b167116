"""The parts of an answer of Gemini's, in as many pieces as it comes, as OpenAI's message fields."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from modelwrap.errors import BadRequest, InvalidResponse
from modelwrap.wire.gemini_arguments import StreamedCall
from modelwrap.wire.gemini_content import Part
from modelwrap.wire.gemini_native import MINTED, PROVIDER, parts_of_fields

_THOUGHT_KEYS = frozenset({"text", "thought"})


class PartsReader:
    """Read the parts of one answer into a message or into deltas of one."""

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
        blob = blob if type(blob) is dict else {}
        kind = str(blob.get("mimeType", ""))
        if kind.startswith("audio/"):
            self._sound.add(part, delta)
            return
        self._end_text()
        self._parts.append(part)
        if type(text) is str:
            self._take_text(text, delta, thinks=bool(part.get("thought")))
        elif kind.startswith("image/") and type(blob.get("data")) is str and not part.get("thought"):
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
        url = f"data:{blob['mimeType']};base64,{blob['data']}"
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
        if self._parts == [{"text": self.said}]:
            return {}
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
        if not self._said_by(message):
            own["parts"] = self._parts
        if self._platform and any("thoughtSignature" in part for part in self._parts):
            own["platform"] = self._platform
        return own

    def _said_by(self, message: Mapping[str, Any]) -> bool:
        """Tell whether a message's fields lead back to the parts."""
        try:
            return parts_of_fields(message, "message", []) == self._parts
        except BadRequest:  # arguments that are no object, images that are no base64
            return False


def _minted(seed: str, number: int) -> str:
    return MINTED + hashlib.sha256(f"{seed}/{number}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _signed(part: Part) -> dict[str, Any]:
    signature = part.get("thoughtSignature")
    return {"extra_content": {PROVIDER: {"thought_signature": signature}}} if signature else {}


class _Sound:
    """Put together the pieces of what the model speaks, whose base64 cannot simply be joined."""

    def __init__(self) -> None:
        self._left = b""

    def add(self, part: Part, delta: dict[str, Any]) -> None:
        blob = part["inlineData"]
        try:
            data = self._left + base64.b64decode(str(blob.get("data") or ""))
        except binascii.Error:
            raise InvalidResponse("candidates.content.parts.inlineData.data: is no base64") from None
        whole = len(data) - len(data) % 3
        self._left = data[whole:]
        audio = delta.setdefault("audio", {"id": "", "data": "", "transcript": None, "mime_type": blob.get("mimeType")})
        audio["data"] += base64.b64encode(data[:whole]).decode("ascii")
        audio.update(_signed(part))

    def finish(self, delta: dict[str, Any]) -> None:
        if self._left:
            audio = delta.setdefault("audio", {"data": ""})
            audio["data"] += base64.b64encode(self._left).decode("ascii")
            self._left = b""
