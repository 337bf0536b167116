"""A conversation as Responses takes it: one list of items, calls of tools and their results among them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelwrap.capabilities import Traits
from modelwrap.errors import BadRequest
from modelwrap.types import Change, Message
from modelwrap.wire.histories import in_words, no_call, no_result, said_of, with_images_shown, with_own_ids
from modelwrap.wire.http import WireCall
from modelwrap.wire.openai_responses_content import Item, is_call, to_content, to_text
from modelwrap.wire.openai_responses_native import PROVIDER, fitted, native_items, sendable
from modelwrap.wire.openai_strict import function_name
from modelwrap.wire.repair import tell
from modelwrap.wire.turns import (
    SYSTEM,
    arguments_text,
    native_extra,
    spelled,
    tell_of_foreign,
    tell_of_unknown,
    tool_name,
    with_speaker,
)

_LONGEST_ID = 64
_ANY_LETTER = re.compile(r"(?!)")

_OUTPUTS = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}
_KEYS = {
    "user": {"role", "content", "name"},
    "assistant": {"role", "content", "refusal", "tool_calls", "function_call", "audio", "phase", "annotations"},
    "tool": {"role", "content", "tool_call_id", "name"},
}


def to_input(call: WireCall, traits: Traits, *, server_keeps_history: bool) -> list[Item]:
    """Write the messages as items; where the server keeps what came before, results may answer calls that it knows."""
    writer = _Writer(call, traits, server_keeps_history=server_keeps_history)
    messages = [_without_own_images(message, traits) for message in with_own_ids(call.input, call.changes)]
    messages = with_images_shown(messages, call.changes)
    for position, message in enumerate(messages):
        writer.add(message, position)
    return writer.finished()


def _without_own_images(message: Message, traits: Traits) -> Message:
    """Take off the images that are in the items by which the message goes back."""
    if not message.get("images") or native_items(message, traits.facts, []) is None:
        return message
    return {name: value for name, value in message.items() if name != "images"}


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Be a call whose result has not come."""

    sent_id: str
    kind: str


class _Writer:
    """Write the items one after another; which calls wait for their results is remembered here."""

    def __init__(self, call: WireCall, traits: Traits, *, server_keeps_history: bool) -> None:
        self._traits = traits
        self._changes = call.changes
        self._server_keeps_history = server_keeps_history
        self._items: list[Item] = []
        self._waiting: dict[str, _Waiting] = {}
        """By the ids that the caller has for them."""
        self._callers: dict[Any, Any] = {}
        """Who made a call, which may be a program of the model's, by the ids that go out; its result says so, too."""

    def add(self, message: Message, position: int) -> None:
        where, role = f"messages[{position}]", message["role"]
        if role == "assistant":
            self._assistant(message, where)
        elif role == "tool":
            self._result(message, where)
        elif role == "user" or role in SYSTEM:
            self._said(message, where)
        else:
            raise _wrong(where, f"Responses knows no role {role!r}")
        tell_of_unknown(message, _KEYS.get(role, {"role", "content"}), self._changes)

    def finished(self) -> list[Item]:
        if self._waiting and not self._server_keeps_history:
            raise no_result(self._waiting, "messages")
        return self._items

    def _said(self, message: Message, where: str) -> None:
        own = native_extra(message, PROVIDER).get("input")
        content = with_speaker(message, self._changes) if message["role"] == "user" else message.get("content")
        if content is not None or not own:
            self._items.append(
                {"role": message["role"], "content": to_content(content, f"{where}.content", self._changes)}
            )
        if isinstance(own, list):
            self._items += own
            for item in own:
                self._answer(item.get("call_id") if isinstance(item, Mapping) else None)

    def _answer(self, sent_id: Any) -> None:
        """Wait no longer for the result of a call that is answered by an item of Responses' own."""
        self._waiting = {given: call for given, call in self._waiting.items() if call.sent_id != sent_id}

    def _result(self, message: Message, where: str) -> None:
        given = message.get("tool_call_id")
        call_id = given if isinstance(given, str) and given else next(iter(self._waiting), "")
        call = self._waiting.pop(call_id, None)
        if call is None:
            if not (self._server_keeps_history and call_id):
                raise no_call(call_id, where)
            call = _Waiting(call_id, "function_call")
        output = to_content(message.get("content"), f"{where}.content", self._changes)
        caller = self._callers.get(call.sent_id)
        beside = {"caller": caller} if caller else {}
        self._items.append({"type": _OUTPUTS[call.kind], "call_id": call.sent_id, "output": output, **beside})

    def _assistant(self, message: Message, where: str) -> None:
        message = in_words(message, where, self._changes)
        native = native_items(message, self._traits.facts, self._changes)
        tell_of_foreign(message, PROVIDER, self._changes, own=native is not None)
        # Of a server's own, the items hold the parts.
        text = to_text(said_of(message), f"{where}.content", self._changes if native is None else [])
        calls = [
            self._call(call, f"{where}.tool_calls[{number}]", native)
            for number, call in enumerate(message.get("tool_calls") or ())
        ]
        if native is None:
            phase = {"phase": message["phase"]} if message.get("phase") else {}
            items = [{"role": "assistant", "content": text, **phase}] if text else []
            items += calls
        else:
            items = fitted(native, text, calls, self._changes)
            items = sendable(items, self._changes, replay_reasoning=self._traits.replay_reasoning)
        if not items:
            tell(self._changes, Change("dropped", "messages", "an answer that held nothing"))
        self._items += items
        self._callers |= {item.get("call_id"): item.get("caller") for item in items if is_call(item)}

    def _call(self, call: Any, where: str, native: list[Item] | None) -> Item:
        """Write a call, and wait for its result."""
        call_id = str(call.get("id")) if isinstance(call, Mapping) else ""
        # What a server itself said it will know again.
        known = any(item.get("call_id") == call_id for item in native or ())
        sent_id = call_id if known else spelled(call_id, _ANY_LETTER, _LONGEST_ID)
        if sent_id != call_id:
            tell(self._changes, Change("converted", "tool_calls.id", f"given a name of {_LONGEST_ID} letters at most"))
        written = _written(call, sent_id, where, self._changes)
        self._waiting[call_id] = _Waiting(sent_id, written["type"])
        return written


def _written(call: Any, sent_id: str, where: str, changes: list[Change]) -> Item:
    function, custom = (call.get(kind) if isinstance(call, Mapping) else None for kind in ("function", "custom"))
    if isinstance(custom, Mapping):
        name, text = tool_name(custom.get("name"), function_name, changes), custom.get("input") or ""
        return {"type": "custom_tool_call", "call_id": sent_id, "name": name, "input": text}
    if not isinstance(function, Mapping):
        raise _wrong(where, "must be the call of a function or of a custom tool")
    name, arguments = tool_name(function.get("name"), function_name, changes), function.get("arguments") or {}
    return {"type": "function_call", "call_id": sent_id, "name": name, "arguments": arguments_text(arguments)}


def _wrong(where: str, what: str) -> BadRequest:
    return BadRequest(f"{where}: {what}", sent=False)
