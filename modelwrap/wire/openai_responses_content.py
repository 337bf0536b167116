"""What is said over Responses: OpenAI's content parts as those of its input items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from modelwrap.types import Change
from modelwrap.wire.media_parts import Media, held, media_of, wrong
from modelwrap.wire.openai_strict import name_of_file
from modelwrap.wire.repair import tell
from modelwrap.wire.turns import without_cache_mark

Item: TypeAlias = dict[str, Any]
"""An item of a response's input or output, or a part of one's content."""

_CALLS = ("function_call", "custom_tool_call")
# What xAI's own tool `x_search` does is told as calls of custom tools, which nobody else is to answer.
_RUN_AT_XAI = frozenset({"x_keyword_search", "x_semantic_search", "x_user_search", "x_thread_fetch"})
# Of the agents that OpenAI runs at the same time this one answers; the others talk to it.
_ANSWERS = "/root"
_HELD = frozenset({"url", "detail", "filename", "file_data", "file_id"})


def to_content(content: Any, where: str, changes: list[Change]) -> Any:
    """Write what a user, a system message or a tool says: a text as it is, parts one by one.

    A part of no type that Chat Completions has goes through as Responses' own. `BadRequest` names one that cannot go.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    return [_part(part, f"{where}[{position}]", changes) for position, part in enumerate(parts)]


def to_text(content: Any, where: str, changes: list[Change]) -> str:
    """Write what an assistant said, which goes back as one text."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = content if isinstance(content, list) else [content]
    said = [_said(part, f"{where}[{position}]") for position, part in enumerate(parts)]
    if len(said) > 1:
        tell(changes, Change("converted", "messages.content", "the parts of what an assistant said are one text"))
    return "".join(said)


def kind_of(item: Mapping[str, Any]) -> str:
    """Name an item's type, which messages need not say."""
    return str(item.get("type") or ("message" if "role" in item else ""))


def is_call(item: Mapping[str, Any]) -> bool:
    """Tell whether an item is the call of a tool that the caller is to answer."""
    kind, name = kind_of(item), item.get("name")
    return kind in _CALLS and not (kind == "custom_tool_call" and isinstance(name, str) and name in _RUN_AT_XAI)


def texts_of(items: list[Item], *, final: bool = False) -> list[str]:
    """Give the texts of a turn; with `final`, without what it says on the way to its answer."""
    return [part["text"] for part in spoken(items, final=final) if is_text(part)]


def spoken(items: list[Item], *, final: bool = False) -> list[Item]:
    """Give the parts of all that a turn says."""
    return [
        part
        for item in items
        if kind_of(item) == "message" and not is_aside(item, final=final)
        for part in parts_of(item)
    ]


def is_aside(item: Item, *, final: bool) -> bool:
    """Tell whether a message is no part of the answer: another agent's, or with `final` one on the way to it."""
    agent = item.get("agent")
    name = agent.get("agent_name") if isinstance(agent, Mapping) else None
    return (isinstance(name, str) and name != _ANSWERS) or (final and item.get("phase") == "commentary")


def is_text(part: Item) -> bool:
    return part.get("type") in ("output_text", "text") and isinstance(part.get("text"), str)


def refusals_of(items: list[Item]) -> list[str]:
    return [
        part["refusal"]
        for part in spoken(items)
        if part.get("type") == "refusal" and isinstance(part.get("refusal"), str)
    ]


def thoughts_of(item: Item) -> list[str]:
    """Give what can be read of a reasoning item: what was thought, where the server shows it, else its summary."""
    for parts in (parts_of(item), parts_of(item, "summary")):
        if thoughts := [part["text"] for part in parts if isinstance(part.get("text"), str) and part["text"]]:
            return thoughts
    return []


def parts_of(item: Item, field: str = "content") -> list[Item]:
    parts = item.get(field)
    if isinstance(parts, str) and "role" in item:
        return [{"type": "output_text", "text": parts}]
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def _part(part: Any, where: str, changes: list[Change]) -> Item:
    if isinstance(part, str):
        return {"type": "input_text", "text": part}
    if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
        raise wrong(where, "a part of the content must be an object with a type")
    part = without_cache_mark(part, changes)
    if part["type"] in ("text", "refusal"):
        beside = {name: value for name, value in part.items() if name not in ("type", part["type"])}
        return {"type": "input_text", "text": part.get(part["type"]) or "", **beside}
    media = media_of(part, where)
    if media is None:
        return dict(part)
    inner = held(part)
    beside = {name: value for name, value in part.items() if name not in ("type", part["type"])}
    beside |= {name: value for name, value in inner.items() if name not in _HELD}
    return {**_media_part(media, inner.get("detail"), where, changes), **beside}


def _media_part(media: Media, detail: Any, where: str, changes: list[Change]) -> Item:
    if media.kind == "audio":
        raise wrong(where, 'Responses takes no audio; Chat Completions does with models for it: "api": "chat"')
    if media.kind == "video":
        raise wrong(where, "Responses takes no video")
    if media.kind == "image":
        # What Chat Completions takes by default has to be said here.
        return {"type": "input_image", "image_url": media.url or media.data_url, "detail": detail or "auto"}
    written: Item = {"type": "input_file"}
    if media.name or media.base64:
        written["filename"] = name_of_file(media, changes)
    if media.file_id:
        written["file_id"] = media.file_id
    elif media.url:
        written["file_url"] = media.url
    else:
        written["file_data"] = media.data_url
    return {**written, "detail": detail} if detail else written


def _said(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, Mapping) else None
    field = "refusal" if kind == "refusal" else "text"
    if kind not in ("text", "refusal", "output_text") or not isinstance(part.get(field), str):
        raise wrong(where, f"an assistant says text, and no part of type {kind!r}")
    return str(part[field])
