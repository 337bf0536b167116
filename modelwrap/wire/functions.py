"""OpenAI's functions of 2023 as the tools that took their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from modelwrap.errors import BadRequest
from modelwrap.types import Change, Message
from modelwrap.wire.http import WireCall
from modelwrap.wire.repair import tell

_CONVERTED = Change("converted", "functions", "written as tools; calls come back as tool_calls")

_OLD = frozenset(("functions", "function_call"))


def modern_call(call: WireCall) -> WireCall:
    """Give a call that knows of tools alone."""
    messages = modern_messages(call.input, call.changes)
    if messages is call.input and _OLD.isdisjoint(call.parameters):
        return call
    return replace(call, input=messages, parameters=modern_parameters(call.parameters, call.changes))


def modern_parameters(parameters: Mapping[str, Any], changes: list[Change]) -> dict[str, Any]:
    """Write `functions` and `function_call` as `tools` and `tool_choice`."""
    written = dict(parameters)
    if functions := written.pop("functions", None):
        tools = written.get("tools") or ()
        for name, value in (("functions", functions), ("tools", tools)):
            if not isinstance(value, (list, tuple)):
                raise BadRequest(f"{name}: must be a list, not {type(value).__name__}", sent=False)
        written["tools"] = [
            *tools,
            *({"type": "function", "function": function} for function in functions),
        ]
        tell(changes, _CONVERTED)
    choice = written.pop("function_call", None)
    if choice is not None:
        named = isinstance(choice, Mapping)
        written.setdefault("tool_choice", {"type": "function", "function": dict(choice)} if named else choice)
    return written


def modern_messages(messages: list[Message], changes: list[Change]) -> list[Message]:
    """Write calls of functions and their results as those of tools; the same list where there are none."""
    if not any(message.get("function_call") or message.get("role") == "function" for message in messages):
        return messages
    tell(changes, _CONVERTED)
    return list(_modern(messages))


def _modern(messages: list[Message]) -> Iterator[Message]:
    call_id = ""
    for position, message in enumerate(messages):
        if message.get("function_call"):
            call_id = f"call_{position}"
            call = {"id": call_id, "type": "function", "function": message["function_call"]}
            rest = {name: value for name, value in message.items() if name != "function_call"}
            yield {**rest, "tool_calls": [*(message.get("tool_calls") or ()), call]}
        elif message.get("role") == "function":
            rest = {name: value for name, value in message.items() if name != "name"}
            yield {**rest, "role": "tool", "tool_call_id": call_id}
        else:
            yield message
