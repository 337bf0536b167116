"""Messages in the forms that people write them, as the list of dicts that goes on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelwrap.errors import BadRequest
from modelwrap.types import AssistantMessage, Change, ChatReply, Message


def messages_from(given: Any, changes: list[Change] | None = None) -> list[Message]:
    """Read a string, a message, or a list of messages; what was given is never changed.

    A message is a dict, a pydantic object (`reply.choices[0].message`), or a whole reply. `BadRequest` names what is
    wrong, as in `messages[3].content[1]`; `changes` tells which media were not what they said.
    """
    changes = [] if changes is None else changes
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if isinstance(given, Mapping) or hasattr(given, "model_dump"):
        given = [given]
    if isinstance(given, (bytes, bytearray)) or not isinstance(given, Sequence):
        raise _wrong("messages", f"give a string or a list of messages, not {type(given).__name__}")
    messages = [_message(item, f"messages[{position}]", changes) for position, item in enumerate(given)]
    if not messages:
        raise _wrong("messages", "the list is empty; give at least one message")
    return messages


def _message(item: Any, where: str, changes: list[Change]) -> Message:
    message = item if isinstance(item, dict) else _as_dict(item, where)
    role = message.get("role")
    if not isinstance(role, str):
        raise _wrong(where, "role is missing" if role is None else f"role must be a string, not {type(role).__name__}")
    if "tool_calls" in message:
        message = _with_plain_calls(message, f"{where}.tool_calls")
    content = message.get("content")
    if content is None or isinstance(content, (str, dict)):
        return message
    if not isinstance(content, (list, tuple)):
        raise _wrong(f"{where}.content", f"must be text or a list of parts, not {type(content).__name__}")
    return _with_parts(message, content, f"{where}.content", changes)


def _with_parts(message: Message, content: list[Any] | tuple[Any, ...], where: str, changes: list[Change]) -> Message:
    from modelwrap.media import content_part

    parts = [content_part(part, f"{where}[{position}]", changes) for position, part in enumerate(content)]
    same = isinstance(content, list) and all(new is old for new, old in zip(parts, content, strict=True))
    return message if same else {**message, "content": parts}


def _with_plain_calls(message: Message, where: str) -> Message:
    """Take what a reply holds, as in `{"role": "assistant", "tool_calls": reply.choices[0].message.tool_calls}`."""
    calls = message["tool_calls"]
    if calls is None:
        return message
    if not isinstance(calls, (list, tuple)):
        raise _wrong(where, f"must be a list of calls, not {type(calls).__name__}")
    if not any(hasattr(call, "model_dump") for call in calls):
        return message
    plain = [call.model_dump(exclude_none=True) if hasattr(call, "model_dump") else call for call in calls]
    return {**message, "tool_calls": [_without_place(call) for call in plain]}


def _as_dict(item: Any, where: str) -> Message:
    if isinstance(item, ChatReply):
        if not item.choices:
            raise _wrong(where, "the reply has no choices")
        item = item.choices[0].message
    if isinstance(item, AssistantMessage):
        return _answered({"role": item.role, **item.model_dump()})
    if hasattr(item, "model_dump"):
        dumped: Message = item.model_dump(exclude_none=True)
        return _answered({"content": None, **dumped}) if dumped.get("role") == "assistant" else dumped
    if isinstance(item, Mapping):
        return dict(item)
    if isinstance(item, str):
        raise _wrong(where, 'a string is no message; for several parts write {"role": "user", "content": [...]}')
    raise _wrong(where, f"{type(item).__name__} is no message; give a dict with role and content")


def _answered(message: Message) -> Message:
    """Make a message that a provider sent into one that providers take."""
    sent = _without_unset(message)
    for name in ("annotations", "tool_calls"):
        if sent.get(name) == []:
            del sent[name]
    if "tool_calls" in sent:
        sent["tool_calls"] = [_without_place(call) for call in sent["tool_calls"]]
    return sent


def _without_place(call: Mapping[str, Any]) -> dict[str, Any]:
    # Where a call stood in its stream; some servers answer 400 to it.
    return {name: value for name, value in call.items() if name != "index" and value is not None}


def _without_unset(message: Mapping[str, Any]) -> Message:
    return {name: value for name, value in message.items() if value is not None or name == "content"}


def _wrong(where: str, what: str) -> BadRequest:
    return BadRequest(f"{where}: {what}", sent=False)
