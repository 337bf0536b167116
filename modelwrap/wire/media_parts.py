"""Media inside OpenAI's content parts: where they stand, what they are, and whether they are what they say."""

from __future__ import annotations

import base64 as base64_codec
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote, unquote_to_bytes

from modelwrap.errors import BadRequest
from modelwrap.types import Change
from modelwrap.wire.media_types import format_of_type, is_text, same_type, sniff, type_of_format
from modelwrap.wire.repair import tell

LARGEST = 64 * 1024 * 1024

Kind: TypeAlias = Literal["image", "audio", "video", "file"]

# The type of a part, the field of it that holds the media, and what that is.
_PLACES: dict[str, tuple[str, Kind]] = {
    "image_url": ("url", "image"),
    "audio_url": ("url", "audio"),
    "video_url": ("url", "video"),
    "document_url": ("url", "file"),
    "input_audio": ("data", "audio"),
    "file": ("file_data", "file"),
}


@dataclass(frozen=True, slots=True)
class Media:
    """Be a picture, a sound or a file: its bytes in base64, or else where they are."""

    kind: Kind
    type: str = ""
    """The media type, as in `image/png`; empty where nobody has said it."""
    base64: str = ""
    url: str = ""
    file_id: str = ""
    """The name of a file that the provider keeps."""
    name: str | None = None

    @classmethod
    def of(cls, data: bytes, kind: str, otherwise: Kind, name: str | None = None) -> Media:
        """Hold bytes of a known media type, or of none, which are then what their part says."""
        return cls(_kind_by_type(kind, otherwise), kind, base64_codec.b64encode(data).decode("ascii"), name=name)

    @property
    def data(self) -> bytes:
        return base64_codec.b64decode(self.base64)

    @property
    def data_url(self) -> str:
        return f"data:{self.type};base64,{self.base64}"

    @property
    def size(self) -> int:
        """How many bytes it has, once they are here."""
        return len(self.base64) * 3 // 4 - self.base64[-2:].count("=")

    def text(self, where: str) -> str:
        """Give a text file's text."""
        data = self.data
        if not is_text(data):
            raise wrong(where, f"{self.name or 'the file'} is {self.type or 'given as text'}, but no text in UTF-8")
        return data.decode().removeprefix("\ufeff")


@dataclass(frozen=True, slots=True)
class DataUrl:
    """Be the pieces of a `data:` URL."""

    type: str
    parameters: str
    payload: str
    is_base64: bool

    @classmethod
    def parse(cls, url: str, where: str) -> DataUrl:
        head, comma, payload = url.partition(",")
        if not comma:
            raise wrong(where, "a data: URL without a comma; write data:image/png;base64,…")
        kind, *parameters = (piece.strip() for piece in head[len("data:") :].split(";"))
        others = [f";{piece}" for piece in parameters if piece.lower() != "base64"]
        return cls(kind.lower(), "".join(others), payload, len(others) != len(parameters))

    def decoded(self, where: str) -> tuple[bytes, str]:
        """Give the bytes, and the base64 that stands for them."""
        if self.is_base64:
            return decode_base64(self.payload, where)
        data = unquote_to_bytes(self.payload)
        check_length(len(data), where)
        return data, base64_codec.b64encode(data).decode("ascii")

    def with_base64(self, kind: str, text: str) -> str:
        return f"data:{kind}{self.parameters};base64,{text}"


def media_of(part: Mapping[str, Any], where: str) -> Media | None:
    """Read the media that a content part holds; None for a part that holds none.

    `BadRequest` names the part by `where` when its media is missing.
    """
    place = _PLACES.get(part["type"]) if isinstance(part.get("type"), str) else None
    if place is None:
        return None
    field, kind = place
    inner = held(part)
    value = inner.get(field)
    name = inner.get("filename")
    name = name if isinstance(name, str) else None
    if kind == "file" and not value and isinstance(inner.get("file_id"), str):
        return Media(kind, _declared(inner), file_id=inner["file_id"], name=name)
    where = f"{where}.{part['type']}.{field}"
    if not isinstance(value, str) or not value:
        raise wrong(where, "is missing" if not value else "must be a string")
    if is_data_url(value):
        url = DataUrl.parse(value, where)
        _, text = ((), url.payload) if url.is_base64 else url.decoded(where)
        return Media(_kind_by_type(url.type, kind), url.type, text, name=name)
    if _is_url(value):
        return Media(kind, _declared(inner), url=value, name=name)
    if part["type"] == "input_audio":
        return Media(kind, type_of_format(str(inner.get("format") or "")) or "", value)
    if part["type"] == "file":
        data, text = decode_base64(value, where)
        return Media(kind, sniff(data) or "", text, name=name)
    return Media(kind, url=value, name=name)


def checked(part: Mapping[str, Any], where: str, changes: list[Change]) -> Mapping[str, Any]:
    """Give a part whose base64 can be decoded and whose media type is that of its bytes.

    What had to be put right is told in `changes`. A part without media, or with media elsewhere, is given back as it
    is.
    """
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in _PLACES:
        return part
    field, _ = _PLACES[kind]
    inner = held(part)
    value = inner.get(field)
    if not isinstance(value, str):
        return part
    where = f"{where}.{kind}.{field}"
    if is_data_url(value):
        right = {field: _checked_url(value, where, changes, may_lack_type=kind == "input_audio")}
    elif kind == "input_audio" and isinstance(part[kind], Mapping) and not _is_url(value):
        right = _checked_audio(value, inner, where, changes)
    else:
        return part
    if all(inner.get(name) == given for name, given in right.items()):
        return part
    return {**part, kind: {**inner, **right} if isinstance(part[kind], Mapping) else right[field]}


def with_media(part: Mapping[str, Any], media: Media) -> dict[str, Any]:
    """Give a part with other media in it."""
    kind = part["type"]
    inner = held(part)
    if kind == "input_audio":
        inner.update(data=media.base64, format=format_of_type(media.type))
    else:
        inner[_PLACES[kind][0]] = media.data_url
    if kind == "file" and media.name:
        inner.setdefault("filename", media.name)
    return {**part, kind: inner if isinstance(part[kind], Mapping) else media.data_url}


def held(part: Mapping[str, Any]) -> dict[str, Any]:
    """Give what stands in a part under its type; some write the URL there and no object around it."""
    kind = part["type"]
    inner = part.get(kind)
    return dict(inner) if isinstance(inner, Mapping) else {_PLACES[kind][0]: inner}


def _declared(inner: Mapping[str, Any]) -> str:
    """Read a media type that somebody wrote beside a URL or the name of a file."""
    found = inner.get("mime_type") or inner.get("media_type") or inner.get("format")
    return found if isinstance(found, str) and "/" in found else ""


def is_data_url(value: str) -> bool:
    return value[:5].lower() == "data:"


def _is_url(value: str) -> bool:
    return "://" in value[:16]


def decode_base64(text: str, where: str) -> tuple[bytes, str]:
    """Decode base64, and give it as it should have been written: on one line, padded, in the usual alphabet."""
    if len(text) > 2 * LARGEST:
        check_length(len(text), where)
    data = _strictly_decoded(text)
    if data is None:
        text = "".join((unquote(text) if "%" in text else text).split()).translate(_USUAL).rstrip("=")
        text += "=" * (-len(text) % 4)
        data = _strictly_decoded(text)
    if data is None:
        raise wrong(where, "is no base64")
    check_length(len(data), where)
    return data, text


_USUAL = str.maketrans("-_", "+/")


def _strictly_decoded(text: str) -> bytes | None:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return None


def _checked_url(value: str, where: str, changes: list[Change], *, may_lack_type: bool) -> str:
    url = DataUrl.parse(value, where)
    data, text = url.decoded(where)
    actual = sniff(data)
    wrong_type = actual is not None and not same_type(url.type, actual) and not (may_lack_type and not url.type)
    if text == url.payload and not wrong_type:
        return value
    if text != url.payload:
        tell(changes, Change("repaired", where, "written as plain base64"))
    if wrong_type:
        tell(changes, Change("repaired", where, f"given as {url.type or 'nothing'}, the bytes are {actual}"))
    return url.with_base64(actual if wrong_type and actual else url.type, text)


def _checked_audio(value: str, inner: Mapping[str, Any], where: str, changes: list[Change]) -> dict[str, Any]:
    data, text = decode_base64(value, where)
    if text != value:
        tell(changes, Change("repaired", where, "written as plain base64"))
    actual = sniff(data)
    if actual is None:
        return {"data": text}
    if not actual.startswith(("audio/", "video/")):
        raise wrong(where, f"the data is {actual}, no audio")
    given = inner.get("format")
    declared = type_of_format(given) if isinstance(given, str) and given else ""
    # Samples without a container bear no mark, so their name is not held against the bytes.
    if declared is None or (declared and same_type(declared, actual)):
        return {"data": text}
    right = format_of_type(actual)
    tell(changes, Change("repaired", where, f"given as {given or 'nothing'}, the bytes are {right}"))
    return {"data": text, "format": right}


_FAMILIES: dict[str, Kind] = {"image": "image", "audio": "audio", "video": "video"}


def _kind_by_type(kind: str, otherwise: Kind) -> Kind:
    return _FAMILIES.get(kind.partition("/")[0], "file") if kind else otherwise


def check_length(size: int, where: str) -> None:
    if size > LARGEST:
        raise wrong(where, f"more than {LARGEST // 2**20} MiB in one part")
    if size == 0:
        raise wrong(where, "empty, there is nothing to send")


def wrong(where: str, what: str) -> BadRequest:
    return BadRequest(f"{where}: {what}", sent=False)
