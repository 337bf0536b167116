"""What is said to Claude: OpenAI's content parts as the blocks of the Messages API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from modelwrap.types import Change
from modelwrap.wire.media_parts import Media, held, media_of, wrong
from modelwrap.wire.repair import tell

Block: TypeAlias = dict[str, Any]

IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")

EMPTY = Change("dropped", "messages.content", "Claude takes no text without a word in it")


def to_blocks(content: Any, where: str, changes: list[Change]) -> list[Block]:
    """Write a message's content as blocks; parts of no type that OpenAI has go through as Claude's own.

    Text that holds nothing is left out, which is told once. `BadRequest` names a part that Claude cannot take.
    """
    if content is None:
        return []
    parts = content if isinstance(content, list) else [content]
    blocks = [_block(part, f"{where}[{position}]", changes) for position, part in enumerate(parts)]
    kept = [block for block in blocks if not is_blank(block)]
    if len(kept) < len(blocks):
        tell(changes, EMPTY)
    return kept


def is_blank(block: Block) -> bool:
    return block.get("type") == "text" and not str(block.get("text", "")).strip()


def text_block(text: str) -> Block:
    return {"type": "text", "text": text}


def as_blocks(content: Any) -> list[Block]:
    """Give what may be written as one text as blocks."""
    if isinstance(content, list):
        return content
    return [text_block(content) if isinstance(content, str) else content]


def text_of(blocks: list[Block]) -> str:
    return "".join(str(block.get("text") or "") for block in blocks if block.get("type") == "text")


def with_cache_mark(blocks: list[Block], mark: Any) -> list[Block]:
    """Put a message's own `cache_control` on its last block."""
    return [*blocks[:-1], {**blocks[-1], "cache_control": mark}] if mark and blocks else blocks


def _block(part: Any, where: str, changes: list[Change]) -> Block:
    if isinstance(part, str):
        return text_block(part)
    if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
        raise wrong(where, "a part of the content must be an object with a type")
    part = _with_cache_hint(part, changes)
    if part["type"] == "refusal":
        return text_block(str(part.get("refusal") or ""))
    media = media_of(part, where)
    if media is None:
        return dict(part)
    beside = {name: value for name, value in part.items() if name not in ("type", part["type"])}
    if held(part).get("detail") not in (None, "auto"):
        tell(changes, Change("dropped", "image_url.detail", "Claude looks at every image in the same detail"))
    return {**_media_block(media, where), **beside}


def _with_cache_hint(part: Mapping[str, Any], changes: list[Change]) -> Mapping[str, Any]:
    """Read OpenAI's name for the end of what is to be cached."""
    if "prompt_cache_breakpoint" not in part:
        return part
    tell(changes, Change("renamed", "prompt_cache_breakpoint", "sent as cache_control, kept for 5 minutes"))
    rest = {name: value for name, value in part.items() if name != "prompt_cache_breakpoint"}
    return {**rest, "cache_control": rest.get("cache_control") or {"type": "ephemeral"}}


def _media_block(media: Media, where: str) -> Block:
    if media.kind in ("audio", "video"):
        raise wrong(where, f"Claude takes no {media.kind}")
    if media.file_id:
        return _document({"type": "file", "file_id": _own_file(media.file_id, where)}, media)
    if media.url:
        source = {"type": "url", "url": media.url}
        return {"type": "image", "source": source} if media.kind == "image" else _document(source, media)
    if media.type in IMAGE_TYPES:
        return {"type": "image", "source": {"type": "base64", "media_type": media.type, "data": media.base64}}
    if media.kind == "image":
        raise wrong(where, f"Claude takes no {media.type or 'image of an unknown type'}; give JPEG, PNG, GIF or WebP")
    if media.type == "application/pdf":
        return _document({"type": "base64", "media_type": media.type, "data": media.base64}, media)
    return _document({"type": "text", "media_type": "text/plain", "data": media.text(where)}, media)


def _document(source: dict[str, Any], media: Media) -> Block:
    title = {"title": media.name} if media.name else {}
    return {"type": "document", "source": source, **title}


def _own_file(file_id: str, where: str) -> str:
    if file_id.startswith(("file-", "files/")) or "://" in file_id:
        raise wrong(where, f"{file_id} is a file at another provider, which Claude cannot read")
    return file_id
