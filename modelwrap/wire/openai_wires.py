"""Which of OpenAI's two wires a chat takes: Chat Completions, or where only that can carry it, Responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from modelwrap.capabilities import Facts
from modelwrap.wire.openai_parameters import thinks

_OF_RESPONSES = (
    *("previous_response_id", "conversation", "background", "instructions", "reasoning", "text", "include"),
    *("truncation", "max_output_tokens", "max_tool_calls", "prompt", "context_management"),
)
_TOOLS_OF_CHAT = ("function", "custom")


def needs_responses(parameters: Mapping[str, Any], extra_body: Mapping[str, Any], facts: Facts) -> str:
    """Say why a call cannot go over Chat Completions but over Responses; empty where it can, or nobody knows."""
    if why := only_over("responses", facts):
        return why
    if only_over("chat", facts):
        return ""
    asked = {**parameters, **extra_body}
    if name := next((name for name in _OF_RESPONSES if asked.get(name) is not None), ""):
        return f"{name} is a parameter of Responses"
    tools = asked.get("tools")
    kinds = (
        [tool.get("type") for tool in tools if isinstance(tool, Mapping)] if isinstance(tools, (list, tuple)) else []
    )
    if own := [str(kind) for kind in kinds if kind not in _TOOLS_OF_CHAT]:
        return f"{own[0]} is a tool of Responses"
    facts = facts.under(
        endpoint="chat",
        thinking=thinks(asked),
        effort=asked.get("reasoning_effort"),
        tools="function" in kinds or bool(asked.get("functions")),
        tool_choice=asked.get("tool_choice"),
        params=asked.keys(),
    )
    return facts.reason("request") if facts.refuses("request") and facts.certain("request") else ""


def only_over(endpoint: Literal["chat", "responses"], facts: Facts) -> str:
    """Say that a model answers on one of the two wires only; empty where it may answer on both."""
    known = facts.get("endpoints") or ()
    other = "chat" if endpoint == "responses" else "responses"
    if endpoint not in known or other in known:
        return ""
    return f"{facts.model} answers on {_NAMES[endpoint]} only"


_NAMES = {"chat": "Chat Completions", "responses": "Responses"}
