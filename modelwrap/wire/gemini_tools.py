"""Tools for Gemini: declarations of functions, tools of its own, and the choice among them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import NoneType
from typing import Any

from modelwrap.capabilities import Facts
from modelwrap.errors import BadRequest
from modelwrap.types import Change
from modelwrap.wire.http import WireCall
from modelwrap.wire.repair import tell
from modelwrap.wire.turns import is_function, spelled, tool_name, without_cache_mark

_LONGEST_NAME = 64
_NO_LETTER = re.compile(r"[^a-zA-Z0-9_.:-]|^(?=[^a-zA-Z_])")

_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "any": "ANY"}


def function_name(name: str) -> str:
    """Give a function's name in the letters that Gemini takes, the same for the same name; most are so already."""
    return spelled(name, _NO_LETTER, _LONGEST_NAME)


def to_tools(given: Any, call: WireCall) -> list[Any]:
    """Write all functions as one tool, where the first of them stands; tools of Gemini's own go through as they are."""
    written: list[Any] = []
    functions: list[Any] = []
    if not isinstance(given, (list, tuple, NoneType)):
        raise BadRequest("tools: must be a list", sent=False)
    for position, tool in enumerate(given or ()):
        if is_function(tool):
            without_cache_mark(tool, call.changes)
            if not functions:
                written.append({"functionDeclarations": functions})
            functions.append(_declaration(tool["function"], call.changes))
        elif isinstance(tool, Mapping) and "type" not in tool:
            written.append(tool)
        else:
            raise _not_a_tool(tool, f"tools[{position}]")
    return written


def _not_a_tool(tool: Any, where: str) -> BadRequest:
    kind = tool.get("type") if isinstance(tool, Mapping) else type(tool).__name__
    if kind == "function":
        what = f"{where}.function: is missing; name, description and parameters of a function stand in it"
    else:
        what = (
            f"{where}: Gemini has no tool of type {kind!r}; it has functions, and tools of its own such as "
            '{"google_search": {}}'
        )
    return BadRequest(what, sent=False)


def to_tool_config(given: Mapping[str, Any], facts: Facts, call: WireCall) -> dict[str, Any]:
    """Write `tool_choice`; `strict` functions without a choice are asked for with their schemas kept to."""
    choice = given.get("tool_choice")
    if given.get("parallel_tool_calls") is False and given.get("tools"):
        call.cannot("parallel_tool_calls", "Gemini has no switch for it")
    calling = _calling(choice, call) if choice is not None else None
    if (
        calling is not None
        and calling.get("mode") == "ANY"
        and facts.certain("forced_tool_choice")
        and facts.refuses("forced_tool_choice")
    ):
        call.cannot("tool_choice", facts.reason("forced_tool_choice"))
        calling = None
    if (calling is None or calling["mode"] == "AUTO") and any(map(_is_strict, given.get("tools") or ())):
        tell(call.changes, Change("converted", "tools.strict", "all functions are called in mode VALIDATED"))
        calling = {**(calling or {}), "mode": "VALIDATED"}
    return {} if calling is None else {"functionCallingConfig": calling}


def _is_strict(tool: Any) -> bool:
    return is_function(tool) and bool(tool["function"].get("strict"))


def _declaration(function: Mapping[str, Any], changes: list[Change]) -> dict[str, Any]:
    beside = {
        name: value
        for name, value in function.items()
        if name not in ("name", "parameters", "strict") and value is not None
    }
    written = {"name": tool_name(function.get("name"), function_name, changes), **beside}
    parameters = function.get("parameters")
    return written if parameters is None else {**written, "parametersJsonSchema": parameters}


def _calling(choice: Any, call: WireCall) -> dict[str, Any] | None:
    if isinstance(choice, str) and choice in _MODES:
        return {"mode": _MODES[choice]}
    if isinstance(choice, Mapping):
        if is_function(choice):
            return _among([choice], "ANY")
        allowed = choice.get("allowed_tools")
        if isinstance(allowed, Mapping):
            return _among(allowed.get("tools") or [], "ANY" if allowed.get("mode") == "required" else "VALIDATED")
    call.cannot(
        "tool_choice", f"Gemini has no choice like {choice!r:.80}; there are auto, none, required and a function"
    )
    return None


def _among(tools: Any, mode: str) -> dict[str, Any]:
    names = [str(tool["function"].get("name") or "") for tool in tools if is_function(tool)]
    names += [str(tool["name"]) for tool in tools if isinstance(tool, Mapping) and "name" in tool]
    return {"mode": mode, "allowedFunctionNames": [function_name(name) for name in names]}
