"""Tools for Claude: their definitions, the choice among them, and names and ids in the letters that it takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from modelwrap.errors import BadRequest
from modelwrap.types import Change, Message
from modelwrap.wire.claude_schema import ClaudeSchema
from modelwrap.wire.http import WireCall
from modelwrap.wire.repair import tell
from modelwrap.wire.turns import is_function, spelled, tool_name

_LONGEST_NAME = 128
_NO_LETTER = re.compile(r"[^a-zA-Z0-9_-]")

_CHOICES = {"auto": {"type": "auto"}, "none": {"type": "none"}, "required": {"type": "any"}}
_NATIVE_CHOICES = ("auto", "any", "tool", "none")


def to_tools(call: WireCall) -> list[Any]:
    """Write the definitions; what is no function of OpenAI's goes through as Claude's own."""
    tools = call.parameters.get("tools")
    if not isinstance(tools, (list, tuple)):
        raise BadRequest(f"tools: give a list of tools, not {type(tools).__name__}", sent=False)
    return [_tool(tool, f"tools[{position}]", call) for position, tool in enumerate(tools)]


def to_choice(call: WireCall) -> dict[str, Any] | None:
    """Write `tool_choice` and `parallel_tool_calls`; None where neither says anything but the default."""
    given = call.parameters.get("tool_choice")
    choice = None if given is None else _choice(given, call)
    several = call.parameters.get("parallel_tool_calls")
    if several is False and choice is None and call.parameters.get("tools"):
        choice = {"type": "auto"}
    if several is None or choice is None or choice["type"] == "none":
        return choice
    return {**choice, "disable_parallel_tool_use": not several}


def tools_of(messages: list[Message]) -> list[dict[str, Any]]:
    """Describe the tools that a conversation calls, as far as it tells of them; Claude wants all of them described."""
    blocks = [block for turn in messages if isinstance(turn["content"], list) for block in turn["content"]]
    names = dict.fromkeys(block["name"] for block in blocks if block.get("type") == "tool_use")
    return [{"name": name, "input_schema": {"type": "object"}} for name in names]


def letters(name: str) -> str:
    """Give a name in the letters that Claude takes, the same for the same name; most are so already."""
    return spelled(name, _NO_LETTER, _LONGEST_NAME)


def tool_id(call_id: str) -> str:
    return spelled(call_id, _NO_LETTER, None)


def _tool(tool: Any, where: str, call: WireCall) -> Any:
    if not is_function(tool):
        if isinstance(tool, Mapping) and "custom" in tool:
            raise BadRequest(f"{where}: Claude has no tools that take free text; describe it as a function", sent=False)
        return tool
    function = tool["function"]
    beside = {name: value for name, value in tool.items() if name not in ("type", "function")}
    written = {name: value for name, value in function.items() if name != "parameters" and value is not None}
    written["name"] = tool_name(function.get("name"), letters, call.changes)
    _describe_input(written, function.get("parameters"), call.changes)
    return {**written, **beside}


def _describe_input(written: dict[str, Any], parameters: Any, changes: list[Change]) -> None:
    """Write the schema of a tool's input; of a strict tool, as Claude can hold itself to it."""
    if not isinstance(parameters, Mapping):
        parameters = {"type": "object", "properties": {}}
    elif "type" not in parameters:
        parameters = {"type": "object", **parameters}
    written["input_schema"] = parameters
    if written.get("strict") is False:
        del written["strict"]
    if "strict" not in written:
        return
    schema = ClaudeSchema(parameters)
    if schema.loose:
        del written["strict"]
        tell(changes, Change("converted", "tools.strict", f"{written['name']} is not strict, it takes {schema.loose}"))
        return
    written["input_schema"] = schema.written
    if schema.told:
        tell(changes, Change("converted", "tools.parameters", f"said in descriptions only: {schema.told}"))


def _choice(given: Any, call: WireCall) -> dict[str, Any] | None:
    if isinstance(given, str) and given in _CHOICES:
        return dict(_CHOICES[given])
    if isinstance(given, Mapping):
        if is_function(given):
            return {"type": "tool", "name": letters(str(given["function"].get("name") or ""))}
        if given.get("type") in _NATIVE_CHOICES:
            return dict(given)
    call.cannot(
        "tool_choice", f"Claude has no choice like {given!r:.80}; there are auto, none, required and a function"
    )
    return None
