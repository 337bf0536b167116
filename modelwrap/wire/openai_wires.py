"""Which of OpenAI's two wires a chat takes: Chat Completions, or where only that can carry it, Responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from modelwrap.capabilities import Facts
from modelwrap.errors import BadRequest
from modelwrap.wire.openai_parameters import thinks

_OF_RESPONSES = (
    *("previous_response_id", "conversation", "background", "instructions", "reasoning", "text", "include"),
    *("truncation", "max_output_tokens", "max_tool_calls", "prompt", "context_management", "access_programs", "image"),
    "multi_agent",
)
_TOOLS_OF_CHAT = ("function", "custom")


def needs_responses(parameters: Mapping[str, Any], extra_body: Mapping[str, Any], facts: Facts) -> str:
    """Say why a call cannot go over Chat Completions but over Responses; empty where it can, or nobody knows.

    `BadRequest` says why it can go over neither.
    """
    if why := only_over("responses", facts):
        return why
    asked = {**parameters, **extra_body}
    tools = [tool for tool in _listed(asked.get("tools")) if isinstance(tool, Mapping)]
    own = _of_responses(asked, tools)
    if why_not := only_over("chat", facts):
        if own and facts.certain("endpoints"):
            raise BadRequest(f"{own}, and {why_not}", sent=False)
        return ""
    if own:
        return own
    facts = facts.under(
        endpoint="chat",
        thinking=thinks(asked),
        effort=asked.get("reasoning_effort"),
        tools=any(tool.get("type") == "function" for tool in tools) or bool(asked.get("functions")),
        tool_choice=asked.get("tool_choice"),
        params=asked.keys(),
    )
    return facts.reason("request") if facts.refuses("request") and facts.certain("request") else ""


def _of_responses(asked: Mapping[str, Any], tools: list[Mapping[str, Any]]) -> str:
    """Name what a call asks for that only Responses have."""
    if name := next((name for name in _OF_RESPONSES if asked.get(name) is not None), ""):
        return f"{name} is a parameter of Responses"
    for tool in tools:
        kind = tool.get("type")
        if kind not in _TOOLS_OF_CHAT:
            return f"{kind} is a tool of Responses"
        if kind not in tool and "name" in tool:
            return f"the tool {tool['name']} is described as for Responses"
    return ""


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def only_over(endpoint: Literal["chat", "responses"], facts: Facts) -> str:
    """Say that a model answers on one of the two wires only; empty where it may answer on both."""
    known = facts.get("endpoints") or ()
    other = "chat" if endpoint == "responses" else "responses"
    if endpoint not in known or other in known:
        return ""
    return f"{facts.model} answers on {_NAMES[endpoint]} only"


_NAMES = {"chat": "Chat Completions", "responses": "Responses"}
