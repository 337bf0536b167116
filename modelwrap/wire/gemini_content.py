"""What is said to Gemini: OpenAI's content parts as the parts of a Content."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Mapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from modelwrap.types import Change
from modelwrap.wire.media_parts import Media, decode_base64, held, media_of, wrong
from modelwrap.wire.media_types import sniff
from modelwrap.wire.repair import tell
from modelwrap.wire.turns import without_cache_mark

Part: TypeAlias = dict[str, Any]

OWN_FILES = "https://generativelanguage.googleapis.com/v1beta/"

_EMPTY = Change("dropped", "messages.content", "Gemini takes no text without a character in it")
_YOUTUBE = re.compile(r"https?://((www\.|m\.)?youtube\.com|youtu\.be)/", re.IGNORECASE)
_FOREIGN_FILE = re.compile(r"file[-_]")


def to_parts(content: Any, where: str, changes: list[Change], *, takes_urls: bool = False) -> list[Part]:
    """Write a message's content as parts; parts of no type that OpenAI has go through as Gemini's own.

    Text that holds nothing is left out, which is told once. `takes_urls` says whether the host fetches what stands
    on the web. `BadRequest` names a part that Gemini cannot take.
    """
    if content is None:
        return []
    given = content if isinstance(content, list) else [content]
    parts = [
        part
        for position, item in enumerate(given)
        for part in _parts(item, f"{where}[{position}]", changes, takes_urls=takes_urls)
    ]
    kept = [part for part in parts if part != {"text": ""}]
    if len(kept) < len(parts):
        tell(changes, _EMPTY)
    return kept


def text_part(text: str) -> Part:
    return {"text": text}


def fetches_itself(url: str) -> bool:
    """Tell whether Gemini reads what is at a URL: its own files, those in Google's storage, films on YouTube."""
    return url.startswith(("gs://", OWN_FILES)) or _YOUTUBE.match(url) is not None


def inline_part(url: str, where: str) -> Part:
    """Write a `data:` URL as the bytes that a part holds."""
    media = media_of({"type": "image_url", "image_url": {"url": url}}, where)
    assert media is not None
    return _inline(media, where)


def _parts(item: Any, where: str, changes: list[Change], *, takes_urls: bool) -> list[Part]:
    if isinstance(item, str):
        return [text_part(item)]
    if not isinstance(item, Mapping):
        raise wrong(where, "a part of the content must be text or an object")
    item = _without_hints(item, changes)
    kind = item.get("type")
    if kind is None:
        return [dict(item)]
    if kind == "text":
        return [text_part(str(item.get("text") or ""))]
    if kind == "refusal":
        return [text_part(str(item.get("refusal") or ""))]
    media = media_of(item, where)
    if media is None:
        raise wrong(where, f"Gemini takes no part of type {kind!r}")
    if held(item).get("detail") not in (None, "auto"):
        tell(changes, Change("dropped", "image_url.detail", "Gemini has media_resolution, one for all media of a call"))
    return [{**_media_part(media, where, takes_urls=takes_urls), **_beside(item)}]


def _without_hints(item: Mapping[str, Any], changes: list[Change]) -> Mapping[str, Any]:
    item = without_cache_mark(item, changes)
    if "prompt_cache_breakpoint" not in item:
        return item
    tell(changes, Change("dropped", "prompt_cache_breakpoint", "Gemini caches by itself"))
    return {name: value for name, value in item.items() if name != "prompt_cache_breakpoint"}


def _beside(item: Mapping[str, Any]) -> Part:
    """Give what stands in a part for Gemini alone, as `videoMetadata`."""
    return {name: value for name, value in item.items() if name not in ("type", item["type"])}


def _media_part(media: Media, where: str, *, takes_urls: bool) -> Part:
    if media.file_id:
        return _file(_own_file(media.file_id, where), media.type)
    if not media.url:
        return _inline(media, where)
    if takes_urls and media.url.startswith(("gs://", "http://", "https://")):
        return _file(media.url, known_type(media) or _untold(where))
    if fetches_itself(media.url):
        return _file(media.url, media.type or _type_by_name(media.url))
    raise wrong(where, "Gemini reads nothing from the web here; give the bytes, or a file that Google keeps")


def _inline(media: Media, where: str) -> Part:
    kind = media.type or sniff(decode_base64(media.base64, where)[0]) or ""
    return {"inlineData": {"mimeType": kind, "data": media.base64}}


def _file(uri: str, kind: str) -> Part:
    return {"fileData": {"fileUri": uri, **({"mimeType": kind} if kind else {})}}


def known_type(media: Media) -> str:
    """Give the type of media elsewhere, which Vertex wants to know; empty where neither they nor their name tell it."""
    return media.type or ("video/mp4" if _YOUTUBE.match(media.url) else _type_by_name(media.url))


def _untold(where: str) -> str:
    raise wrong(where, 'Vertex wants to know what this is; write its "mime_type" beside the URL')


def _type_by_name(url: str) -> str:
    if _YOUTUBE.match(url) or url.startswith(OWN_FILES):
        return ""
    return mimetypes.MimeTypes().guess_type(urlsplit(url).path)[0] or ""


def _own_file(file_id: str, where: str) -> str:
    if _FOREIGN_FILE.match(file_id):
        raise wrong(where, f"{file_id} is a file at another provider, which Gemini cannot read")
    if "://" in file_id:
        return file_id
    return OWN_FILES + (file_id if file_id.startswith("files/") else f"files/{file_id}")
