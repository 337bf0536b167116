"""The parameters of a chat in OpenAI's format: how the token limit is named, and what the model does not do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelwrap.capabilities import SAMPLING, Facts, Traits
from modelwrap.types import Change
from modelwrap.wire.http import WireCall

TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")

_FACTS = {
    **SAMPLING,
    "logit_bias": "logit_bias",
    "parallel_tool_calls": "parallel_tools",
    "tool_choice": "forced_tool_choice",
}
"""Which fact says whether a parameter is taken."""


def to_parameters(call: WireCall, traits: Traits) -> dict[str, Any]:
    parameters = call.parameters
    if "stream_options" in parameters and parameters["stream_options"] is None:
        parameters = {name: value for name, value in parameters.items() if name != "stream_options"}
    parameters = _with_limit_named(parameters, call, traits)
    return accepted(parameters, call, traits.facts, endpoint="chat", effort=parameters.get("reasoning_effort"))


def _with_limit_named(parameters: dict[str, Any], call: WireCall, traits: Traits) -> dict[str, Any]:
    wanted = traits.token_limit
    if wanted not in TOKEN_LIMITS or wanted in parameters:
        return parameters
    written = next((name for name in TOKEN_LIMITS if parameters.get(name) is not None), None)
    if written is None:
        return parameters
    facts = traits.facts
    if facts.assumption and not facts.certain("max_tokens_name") and wanted == facts.get("max_tokens_name"):
        call.changes.append(Change("defaulted", "model", facts.assumption))
    call.changes.append(Change("renamed", written, f"sent as {wanted}"))
    return {wanted if name == written else name: value for name, value in parameters.items()}


def accepted(
    parameters: dict[str, Any], call: WireCall, facts: Facts, *, endpoint: str, effort: str | None
) -> dict[str, Any]:
    """Leave out what the model refuses or ignores, where the config wants that."""
    asked = [name for name in parameters if name in _FACTS and _asks(name, parameters[name])]
    if not asked or not facts.values:
        return parameters
    facts = facts.under(
        endpoint=endpoint,
        thinking=thinks({**parameters, **call.extra_body}),
        effort=effort,
        tools=bool(parameters.get("tools")),
        tool_choice=parameters.get("tool_choice"),
        params=parameters.keys(),
    )
    unwanted = [name for name in asked if _is_unwanted(name, parameters[name], call, facts)]
    return {name: value for name, value in parameters.items() if name not in unwanted} if unwanted else parameters


def _is_unwanted(name: str, value: Any, call: WireCall, facts: Facts) -> bool:
    key = _FACTS[name]
    ignored = facts.ignores(key)
    if ignored or facts.refuses(key, value):
        return call.leaves_out(name, facts.reason(key), ignored=ignored)
    return False


def _asks(name: str, value: Any) -> bool:
    """Tell whether a parameter asks for something: any `tool_choice` is fine that forces no tool."""
    return value is not None and not (name == "tool_choice" and value in ("auto", "none"))


def thinks(body: Mapping[str, Any]) -> bool | None:
    """Read whether a request turns thinking on or off, in the words that servers have for it beside the effort."""
    if isinstance(thinking := body.get("thinking"), Mapping):
        return thinking.get("type") != "disabled"
    options = body.get("chat_template_kwargs")
    enabled = body.get("enable_thinking", options.get("enable_thinking") if isinstance(options, Mapping) else None)
    return None if enabled is None else bool(enabled)
