"""What every wire with turns of its own makes of OpenAI's messages in the same way."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from modelwrap.errors import InvalidResponse
from modelwrap.types import JSON, Change, Message
from modelwrap.wire import body as bodies
from modelwrap.wire.http import WireCall
from modelwrap.wire.repair import tell

# What stands where a wire wants something of the user and the caller has nothing.
PLACEHOLDER = "."

SYSTEM = ("system", "developer")

NATIVE = ("anthropic", "google", "openai")
"""Under these names in `extra_content`, replies keep what their providers said beyond OpenAI's fields."""

# https://docs.claude.com/en/docs/agents-and-tools/tool-use/fine-grained-tool-streaming
_BROKEN = "INVALID_JSON"

REASONING = ("reasoning_content", "reasoning", "reasoning_text", "reasoning_details")


def spelled(text: str, forbidden: re.Pattern[str], longest: int | None) -> str:
    """Give a name or an id in the letters that a wire takes, the same for the same text; most are so already."""
    written = forbidden.sub("_", text)
    if written == text and text and (longest is None or len(text) <= longest):
        return text
    # Two that differ must not become one.
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{written if longest is None else written[: longest - 9]}_{digest}"


def given_names(call: WireCall, spell: Callable[[str], str]) -> dict[str, str]:
    """Tell which tool the caller means by a name that went out in other letters."""
    tools = call.parameters.get("tools") or ()
    inner = (tool.get("function") or tool.get("custom") for tool in tools if isinstance(tool, Mapping))
    names = (described.get("name") for described in inner if isinstance(described, Mapping))
    return {spell(name): name for name in names if isinstance(name, str) and spell(name) != name}


def is_function(tool: Any) -> bool:
    """Tell whether a tool is a function as OpenAI describes it; others are a provider's own."""
    return isinstance(tool, Mapping) and isinstance(tool.get("function"), Mapping)


def tool_name(name: Any, spell: Callable[[str], str], changes: list[Change]) -> str:
    """Give the name of a tool in the letters of a wire, and tell where they are others."""
    given = str(name or "")
    written = spell(given)
    if written != given:
        tell(changes, Change("renamed", "tools.name", f"{given} goes out as {written}"))
    return written


def arguments_of(arguments: Any, changes: list[Change]) -> dict[str, Any]:
    """Read a tool call's arguments, which wires other than OpenAI's take as an object; none are an empty one.

    What is no object goes out whole inside of one, in the way in which Anthropic advises to give it back.
    """
    if isinstance(arguments, Mapping):
        return dict(arguments)
    if arguments is None or (isinstance(arguments, str) and not arguments.strip()):
        return {}
    try:
        value = bodies.loads(str(arguments).encode("utf-8", "surrogatepass"))
    except InvalidResponse:
        value = None
    if isinstance(value, dict):
        return value
    tell(changes, Change("converted", "tool_calls.arguments", f"what is no JSON object goes out as {_BROKEN}"))
    return {_BROKEN: str(arguments)}


def arguments_text(arguments: JSON) -> Any:
    """Write a tool call's arguments as the text in which OpenAI's calls carry them.

    What is a text goes out as it is; what JSON has no form for does, too, to be refused by its place.
    """
    if arguments is not None and not isinstance(arguments, (dict, list)):
        return arguments
    try:
        return json.dumps({} if arguments is None else arguments, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return arguments


def with_speaker(message: Message, changes: list[Change]) -> Any:
    """Give a user's content, with who speaks in front where `name` tells more than the role."""
    name, content = message.get("name"), message.get("content")
    if not isinstance(name, str) or not name or name.lower() == "user":
        return content
    tell(changes, Change("emulated", "messages.name", "written in front of what the user says"))
    if isinstance(content, str):
        return f"{name}: {content}"
    parts = content if isinstance(content, list) else [content]
    return [{"type": "text", "text": f"{name}:"}, *(part for part in parts if part is not None)]


def native_extra(holder: Mapping[str, Any], provider: str) -> Mapping[str, Any]:
    """Give what a provider left of its own on a message or on a tool call; empty where it left nothing."""
    extra = holder.get("extra_content")
    own = extra.get(provider) if isinstance(extra, Mapping) else None
    return own if isinstance(own, Mapping) else {}


def native_names(holder: Mapping[str, Any]) -> set[str]:
    """Name those who left something of their own on a message, a tool call or an image."""
    extra = holder.get("extra_content")
    return set(map(str, extra)) if isinstance(extra, Mapping) else set()


def without_native(message: Message, changes: list[Change], *, keeps: str) -> Message:
    """Take off what providers left of their own, but for what one `keeps`; the same message where there is nothing."""
    calls = message.get("tool_calls")
    kept = _without_native(message, changes, keeps)
    if not isinstance(calls, list):
        return kept
    bare = [_without_native(call, changes, keeps) if isinstance(call, dict) else call for call in calls]
    same = all(new is old for new, old in zip(bare, calls, strict=True))
    return kept if same else {**kept, "tool_calls": bare}


def _without_native(holder: dict[str, Any], changes: list[Change], keeps: str) -> dict[str, Any]:
    extra = holder.get("extra_content")
    if not isinstance(extra, Mapping) or not (names := [name for name in NATIVE if name != keeps and name in extra]):
        return holder
    for name in names:
        tell(changes, Change("dropped", f"extra_content.{name}", "this wire has no place for it"))
    rest = {name: value for name, value in extra.items() if name not in names}
    bare = {name: value for name, value in holder.items() if name != "extra_content"}
    return {**bare, "extra_content": rest} if rest else bare


def tell_of_foreign(message: Message, provider: str, changes: list[Change], *, own: bool) -> None:
    """Tell once of what other providers left on a message, and of reasoning that is not one's `own`: it stays here."""
    calls = [call for call in message.get("tool_calls") or () if isinstance(call, Mapping)]
    others = {name for holder in (message, *calls) for name in native_names(holder)} - {provider}
    for name in sorted(others):
        tell(changes, Change("dropped", f"extra_content.{name}", "another provider's"))
    if not own and any(message.get(name) for name in REASONING):
        tell(changes, Change("dropped", "reasoning_content", "a model takes back only what it thought itself"))


def tell_of_unknown(message: Mapping[str, Any], known: Collection[str], changes: list[Change]) -> None:
    """Tell once of each field of a message that a wire has no place for; of what models thought others tell."""
    for name in sorted(message.keys() - known - {*REASONING, "extra_content"}):
        if message[name] is not None and (name, message[name]) != ("name", message["role"]):
            tell(changes, Change("dropped", f"messages.{name}", "this wire has no such field"))


def without_cache_mark(holder: Mapping[str, Any], changes: list[Change]) -> Mapping[str, Any]:
    """Take off a part or a tool the mark by which Claude caches, for wires that refuse it."""
    if "cache_control" not in holder:
        return holder
    tell(changes, Change("dropped", "cache_control", "this wire caches by itself"))
    return {name: value for name, value in holder.items() if name != "cache_control"}
