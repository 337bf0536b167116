"""Pictures, sound and files in the forms that people hold them, as OpenAI's content parts."""

from __future__ import annotations

import base64
import io
import mimetypes
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from modelwrap.errors import BadRequest
from modelwrap.types import Change
from modelwrap.wire.media_parts import LARGEST, check_length, checked, held
from modelwrap.wire.media_types import file_name, format_of_type, is_text, sniff

_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
# What would lose its transparency or its depth as RGB.
_PNG_MODE_FOR = {"PA": "RGBA", "RGBa": "RGBA", "La": "LA", "I": "I;16", "I;16B": "I;16", "I;16L": "I;16"}


@dataclass(frozen=True, slots=True)
class _Blob:
    data: bytes
    type: str
    name: str | None = None

    @property
    def base64(self) -> str:
        return base64.b64encode(self.data).decode("ascii")

    @property
    def url(self) -> str:
        return f"data:{self.type};base64,{self.base64}"


def content_part(item: Any, where: str, changes: list[Change]) -> Any:
    """Turn one item of a content list into a part; `where` names it in errors.

    Media that are in the part already are checked, and `changes` tells what was put right. A part in which nothing
    was to be read or put right is given back as it is.
    """
    if isinstance(item, str):
        return {"type": "text", "text": item}
    if _is_media(item):
        return _part_of(_read(item, where))
    if hasattr(item, "model_dump") and not isinstance(item, Mapping):
        item = item.model_dump(exclude_none=True)
    if isinstance(item, Mapping):
        part = _with_media_read(item, where)
        return part if part is not item else checked(item, where, changes)
    advice = "; of an open file give what it reads" if hasattr(item, "read") else ""
    raise BadRequest(
        f"{where}: {type(item).__name__} is no content part; give text, a dict, a pathlib.Path, bytes or a PIL image"
        f"{advice}",
        sent=False,
    )


def _with_media_read(part: Mapping[str, Any], where: str) -> Any:
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in _WRITERS:
        return part
    field, write = _WRITERS[kind]
    inner = held(part)
    if not _is_local(inner.get(field)):
        return part
    where = f"{where}.{kind}.{field}"
    return {**part, kind: write(_read(inner[field], where), inner, where)}


def _image(blob: _Blob, inner: dict[str, Any], where: str) -> dict[str, Any]:
    return _at_url("image", blob, inner, where)


def _sound(blob: _Blob, inner: dict[str, Any], where: str) -> dict[str, Any]:
    return _at_url("audio", blob, inner, where)


def _film(blob: _Blob, inner: dict[str, Any], where: str) -> dict[str, Any]:
    return _at_url("video", blob, inner, where)


def _at_url(family: str, blob: _Blob, inner: dict[str, Any], where: str) -> dict[str, Any]:
    _expect(family, blob, where)
    return {**inner, "url": blob.url}


def _input_audio(blob: _Blob, inner: dict[str, Any], where: str) -> dict[str, Any]:
    _expect("audio", blob, where)
    return {**inner, "data": blob.base64, "format": inner.get("format") or format_of_type(blob.type)}


def _file(blob: _Blob, inner: dict[str, Any], where: str) -> dict[str, Any]:
    return {**inner, "filename": inner.get("filename") or _file_name(blob), "file_data": blob.url}


_WRITERS = {
    "image_url": ("url", _image),
    "audio_url": ("url", _sound),
    "video_url": ("url", _film),
    "input_audio": ("data", _input_audio),
    "file": ("file_data", _file),
}


def _part_of(blob: _Blob) -> dict[str, Any]:
    family = blob.type.partition("/")[0]
    if family == "image":
        return {"type": "image_url", "image_url": {"url": blob.url}}
    if family == "audio":
        return {"type": "input_audio", "input_audio": {"data": blob.base64, "format": format_of_type(blob.type)}}
    return {"type": "file", "file": {"filename": _file_name(blob), "file_data": blob.url}}


def _expect(family: str, blob: _Blob, where: str) -> None:
    if not blob.type.startswith(f"{family}/"):
        raise BadRequest(f"{where}: {blob.name or 'the data'} is {blob.type}, no {family}", sent=False)


def _file_name(blob: _Blob) -> str:
    return blob.name or file_name(blob.type)


def _is_media(value: Any) -> bool:
    return isinstance(value, (Path, bytes, bytearray, memoryview)) or _is_pil_image(value)


def _is_local(value: Any) -> bool:
    return _is_media(value) or (isinstance(value, str) and value[:5].lower() == "file:")


def _is_pil_image(value: Any) -> bool:
    # Whoever holds an image of PIL has imported it.
    pil = sys.modules.get("PIL.Image")
    return pil is not None and isinstance(value, pil.Image)


def _read(value: Any, where: str) -> _Blob:
    if isinstance(value, str):
        value = _path_of(value, where)
    if isinstance(value, Path):
        return _read_path(value, where)
    if _is_pil_image(value):
        return _encode(value, where)
    data = bytes(value)
    check_length(len(data), where)
    kind = sniff(data)
    if kind is None:
        raise BadRequest(f"{where}: bytes of no known kind; give a pathlib.Path, or text as str", sent=False)
    return _Blob(data, kind)


def _read_path(path: Path, where: str) -> _Blob:
    try:
        if not path.is_file():
            raise FileNotFoundError("no such file" if not path.exists() else "not a file")
        check_length(path.stat().st_size, where)
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise BadRequest(f"{where}: {path}: {error.strerror or error}", sent=False) from error
    check_length(len(data), where)
    kind = sniff(data) or _kind_by_name(path, data)
    if kind is None:
        raise BadRequest(f"{where}: {path}: holds nothing of a known kind", sent=False)
    return _Blob(data, kind, path.name)


def _path_of(url: str, where: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise BadRequest(f"{where}: write a file URL as file:///absolute/path, or give a pathlib.Path", sent=False)
    return Path(url2pathname(parts.path))


def _encode(image: Any, where: str) -> _Blob:
    buffer = io.BytesIO()
    try:
        if image.format == "JPEG":
            image.save(buffer, "JPEG", quality="keep")
            return _Blob(buffer.getvalue(), "image/jpeg")
        if image.mode not in _PNG_MODES:
            image = image.convert(_PNG_MODE_FOR.get(image.mode, "RGB"))
        image.save(buffer, "PNG")
    except (OSError, ValueError) as error:
        raise BadRequest(f"{where}: the image cannot be encoded: {error}", sent=False) from error
    return _Blob(buffer.getvalue(), "image/png")


def _kind_by_name(path: Path, data: bytes) -> str | None:
    """Tell what has no mark in its bytes; a name cannot make a picture or a sound of what is none."""
    kind, _ = mimetypes.MimeTypes().guess_type(path.name)
    if kind and not kind.startswith(("image/", "audio/", "video/")) and kind != "application/pdf":
        return kind
    return "text/plain" if kind is None and is_text(data) else None
