"""What OpenAI's own servers refuse and compatible ones pass over: other letters in names, long ids, unknown fields."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from modelwrap.types import Change, ChatChunk, ChatReply, Choice, Message
from modelwrap.wire.histories import (
    as_parts,
    handed_over,
    in_words,
    no_call,
    no_result,
    with_images_shown,
    with_own_ids,
)
from modelwrap.wire.media_parts import Media, held, media_of, wrong
from modelwrap.wire.media_types import file_name
from modelwrap.wire.repair import tell
from modelwrap.wire.turns import REASONING, arguments_text, spelled, tell_of_unknown, tool_name, without_cache_mark

_LONGEST_NAME = 64
_LONGEST_ID = 40
_NO_LETTER = re.compile(r"[^a-zA-Z0-9_-]")
_NOT_IN_SPEAKERS = re.compile(r"[\s<|\\/>]")
_ANY_LETTER = re.compile(r"(?!)")

_FILES = ("file", "document_url")
_FOREIGN_FILE = re.compile(r"file_|files/|\w+://")

_KEYS = {
    "user": {"role", "content", "name"},
    "assistant": {
        *("role", "content", "name", "refusal", "tool_calls", "function_call", "audio", "annotations"),
    },
    "tool": {"role", "content", "name", "tool_call_id"},
    "function": {"role", "content", "name"},
}
_OF_OTHERS = ("extra_content", *REASONING)
"""What is taken off by itself, and told."""
_OF_SYSTEM = {"role", "content", "name"}

# Pictures in the result of a tool are a 400 to older models, and newer ones answer without having seen them.
_IN_RESULTS = ("text", "refusal")
_BESIDE = Change("converted", "messages.content", "what came with a tool's result and is no text stands behind it")
_LONG_ID = Change("converted", "tool_calls.id", f"given a name of {_LONGEST_ID} letters at most")
_SPEAKER = Change("renamed", "messages.name", "in the letters that OpenAI takes")


def function_name(name: str) -> str:
    """Give a tool's name in the letters that OpenAI takes, the same for the same name; most are so already."""
    return spelled(name, _NO_LETTER, _LONGEST_NAME)


def strict_messages(messages: list[Message], changes: list[Change]) -> list[Message]:
    """Write messages as Chat Completions take them at OpenAI; the same objects where nothing is to be done."""
    messages = with_images_shown(_answered(with_own_ids(messages, changes)), changes)
    messages = handed_over(messages, lambda message: _media_of_result(message, changes))
    return [_message(message, f"messages[{position}]", changes) for position, message in enumerate(messages)]


def strict_parameters(parameters: dict[str, Any], changes: list[Change]) -> dict[str, Any]:
    """Write the names of tools, where they are described and where one is chosen."""
    written = parameters
    if isinstance(tools := parameters.get("tools"), (list, tuple)):
        named = [named_tool(tool, changes) for tool in tools]
        if any(new is not old for new, old in zip(named, tools, strict=True)):
            written = {**written, "tools": named}
    if isinstance(choice := parameters.get("tool_choice"), Mapping):
        written = {**written, "tool_choice": _choice(choice)}
    return written


def named_tool(tool: Any, changes: list[Change]) -> Any:
    """Give a tool, or the choice of one, under a name that OpenAI takes; the same object where it has one."""
    if not isinstance(tool, Mapping):
        return tool
    tool = without_cache_mark(tool, changes)
    kind = tool.get("type")
    inner = tool.get(kind) if kind in ("function", "custom") else None
    if not isinstance(inner, Mapping) or not isinstance(name := inner.get("name"), str) or function_name(name) == name:
        return tool
    return {**tool, kind: {**inner, "name": tool_name(name, function_name, changes)}}


def with_given_names(answer: ChatReply | ChatChunk, names: Mapping[str, str]) -> None:
    """Call tools in an answer what the caller calls them."""
    for choice in answer.choices:
        said = choice.message if isinstance(choice, Choice) else choice.delta
        for call in said.tool_calls or ():
            for called in (call.function, call.custom):
                if called is not None and called.name and called.name in names:
                    called.name = names[called.name]


def _choice(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    allowed = choice.get("allowed_tools")
    if not isinstance(allowed, Mapping):
        return dict(named_tool(choice, []))
    tools = allowed.get("tools")
    if not isinstance(tools, (list, tuple)):
        return choice
    return {**choice, "allowed_tools": {**allowed, "tools": [named_tool(tool, []) for tool in tools]}}


def _answered(messages: list[Message]) -> list[Message]:
    """Give messages in which every result names its call, and raise where one of the two is missing."""
    written = []
    waiting: list[str] = []
    for position, message in enumerate(messages):
        where = f"messages[{position}]"
        if message.get("role") == "tool":
            message = _result_of(waiting, message, where)
        elif waiting:
            raise no_result(waiting, where)
        else:
            calls = message.get("tool_calls") or ()
            waiting = [str(call.get("id") or "") for call in calls if isinstance(call, Mapping)]
        written.append(message)
    if waiting:
        raise no_result(waiting, "messages")
    return written


def _result_of(waiting: list[str], message: Message, where: str) -> Message:
    given = message.get("tool_call_id") or next(iter(waiting), "")
    if given not in waiting:
        raise no_call(given, where)
    waiting.remove(given)
    return {**message, "tool_call_id": given}


def _media_of_result(message: Message, changes: list[Change]) -> tuple[Message, list[Any]]:
    content = message.get("content")
    if message.get("role") != "tool" or not isinstance(content, (list, Mapping)):
        return message, []
    parts = as_parts(content)
    media = [part for part in parts if isinstance(part, Mapping) and part.get("type") not in _IN_RESULTS]
    if not media:
        return message, []
    tell(changes, _BESIDE)
    return {**message, "content": [part for part in parts if part not in media]}, media


def _message(message: Message, where: str, changes: list[Change]) -> Message:
    role = message["role"]
    known = _KEYS.get(role, _OF_SYSTEM)
    tell_of_unknown(message, known, changes)
    written = {
        name: value
        for name, value in message.items()
        if (name in known or name in _OF_OTHERS) and (value is not None or name == "content")
    }
    if "content" in written:
        written["content"] = _content(written["content"], f"{where}.content", changes)
    if isinstance(name := written.get("name"), str):
        written["name"] = tool_name(name, function_name, changes) if role == "tool" else _speaker(name, changes)
    if role == "assistant":
        return _assistant(written, where, changes)
    written["content"] = written.get("content") or ""
    if role == "tool":
        written["tool_call_id"] = _call_id(written["tool_call_id"], changes)
    return written


def _content(content: Any, where: str, changes: list[Change]) -> Any:
    if not isinstance(content, (list, Mapping)):
        return content
    return [_part(part, f"{where}[{number}]", changes) for number, part in enumerate(as_parts(content))] or None


def _part(part: Any, where: str, changes: list[Change]) -> Any:
    if not isinstance(part, Mapping):
        return part
    media = media_of(part, where) if part.get("type") in _FILES else None
    if media is not None and media.url:
        raise wrong(where, 'Chat Completions take no file by its URL; give its bytes, or "api": "responses"')
    if media is not None and _FOREIGN_FILE.match(media.file_id):
        raise wrong(where, f"{media.file_id} is a file at another provider, which OpenAI cannot read")
    if media is not None and media.base64:
        part = _with_file(part, media, changes)
    return without_cache_mark(part, changes)


def _with_file(part: Mapping[str, Any], media: Media, changes: list[Change]) -> Mapping[str, Any]:
    """Give a part that holds the bytes of a file as OpenAI's own; the same where it is one."""
    inner = held(part) if part["type"] == "file" else {}
    written = {**inner, "filename": name_of_file(media, changes), "file_data": media.data_url}
    if written == inner:
        return part
    beside = {name: value for name, value in part.items() if name != part["type"]}
    return {**beside, "type": "file", "file": written}


def name_of_file(media: Media, changes: list[Change]) -> str:
    """Give the name of a file, without which OpenAI takes no bytes of one."""
    if media.name:
        return media.name
    name = file_name(media.type)
    tell(changes, Change("defaulted", "messages.content", f"a file without a name goes out as {name}"))
    return name


def _speaker(name: str, changes: list[Change]) -> str:
    written = spelled(name, _NOT_IN_SPEAKERS, _LONGEST_NAME)
    if written != name:
        tell(changes, _SPEAKER)
    return written


def _assistant(message: Message, where: str, changes: list[Change]) -> Message:
    if isinstance(audio := message.get("audio"), Mapping) and not audio.get("id"):
        message = in_words(message, where, changes)
    if calls := message.get("tool_calls"):
        message["tool_calls"] = [_call(call, changes) if isinstance(call, Mapping) else call for call in calls]
    elif message.get("content") is None and not any(map(message.get, ("refusal", "audio", "function_call"))):
        message["content"] = ""
    return message


def _call(call: Mapping[str, Any], changes: list[Change]) -> Mapping[str, Any]:
    written = {name: value for name, value in call.items() if value is not None}
    written["id"] = _call_id(str(call.get("id") or ""), changes)
    if isinstance(function := call.get("function"), Mapping):
        written["function"] = {**function, "arguments": arguments_text(function.get("arguments"))}
    return dict(named_tool(written, changes))


def _call_id(given: str, changes: list[Change]) -> str:
    written = spelled(given, _ANY_LETTER, _LONGEST_ID) if given else given
    if written != given:
        tell(changes, _LONG_ID)
    return written
