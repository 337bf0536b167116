"""The parameters of a call as Claude takes them: translated, passed on, or refused with the reason."""

from __future__ import annotations

import json
import re
from typing import Any

from modelwrap.capabilities import Facts
from modelwrap.types import Change
from modelwrap.wire.claude_schema import ClaudeSchema
from modelwrap.wire.claude_tools import to_choice, to_tools
from modelwrap.wire.http import WireCall
from modelwrap.wire.media_parts import wrong
from modelwrap.wire.structured import wanted_schema

# What a model of which nobody knows the limit is asked for; a refusal tells its real one.
UNKNOWN_MAX_TOKENS = 32_000

# What Claude has nothing for, the values that ask for nothing, and what to say of all others.
_CANNOT: dict[str, tuple[tuple[Any, ...], str]] = {
    "n": ((1,), "Claude gives one answer a call; call again for another"),
    "seed": ((), "Claude has no seed: nothing makes it answer the same again"),
    "logprobs": ((False,), "Claude gives no log probabilities"),
    "top_logprobs": ((0,), "Claude gives no log probabilities"),
    "frequency_penalty": ((0,), "Claude has no penalties"),
    "presence_penalty": ((0,), "Claude has no penalties"),
    "logit_bias": (({},), "Claude lets nobody change the odds of a token"),
    "modalities": ((["text"],), "Claude answers in text only"),
    "audio": ((), "Claude answers in text only"),
    "prediction": ((), "Claude takes no text that it may expect to write"),
    "store": ((False,), "Claude keeps no replies"),
    "verbosity": (("medium",), "Claude has none; say in the system message how long answers should be"),
    "web_search_options": ((), 'Claude searches with a tool of its own: {"type": "web_search_20250305", …} in tools'),
    "moderation": ((), "Claude has none on request"),
}
# What changes nothing about the answer.
_HINTS = {
    "prompt_cache_key": "Claude caches what is marked with cache_control",
    "prompt_cache_retention": "Claude caches what is marked with cache_control, for as long as its ttl says",
    "prompt_cache_options": "Claude caches what is marked with cache_control",
}
_TRANSLATED = frozenset(
    {
        *("tools", "tool_choice", "parallel_tool_calls", "max_tokens", "max_completion_tokens", "stop", "temperature"),
        *("top_p", "reasoning_effort", "response_format", "user", "safety_identifier", "metadata", "service_tier"),
        *("thinking", "output_config", "stream_options", "stop_sequences"),
        *_CANNOT,
        *_HINTS,
    }
)
_LEVELS = ("minimal", "low", "medium", "high", "xhigh", "max")
_LEAST_BUDGET = 1024
_BUDGETS = {"minimal": _LEAST_BUDGET, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 24_576, "max": 32_000}
_SERVICE_TIERS = {"default": "standard_only"}
_NATIVE_TIERS = ("auto", "standard_only")
_IDENTIFIES = re.compile(r"\S+@\S+\.\S+|\+\d[\d\s().-]{6,}|\(?\d{3}\)?[\s.-]\d{3}[\s.-]\d{4}")


def to_parameters(call: WireCall, facts: Facts) -> dict[str, Any]:
    """Write everything but the messages; a parameter that nobody knows goes through as Claude's own."""
    given = {name: value for name, value in call.parameters.items() if value is not None}
    written = {name: value for name, value in given.items() if name not in _TRANSLATED}
    for name, value in given.items():
        if name in _HINTS:
            call.changes.append(Change("dropped", name, _HINTS[name]))
        elif name in _CANNOT:
            asks_for_nothing, reason = _CANNOT[name]
            if value not in asks_for_nothing:
                call.cannot(name, reason)
    facts = _as_asked(given, facts)
    written["max_tokens"] = _max_tokens(given, facts, call)
    _tools(given, written, facts, call)
    _stop(given, written, call)
    _sampling(given, written, facts, call)
    _metadata(given, written, call)
    _service_tier(given, written, call)
    _reasoning(given, written, facts, call)
    return written


def _as_asked(given: dict[str, Any], facts: Facts) -> Facts:
    """Give the facts as they are for this request."""
    thinking = given.get("thinking")
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    return facts.under(
        thinking={"enabled": "budget", "disabled": False, None: None}.get(kind, True),
        effort=given.get("reasoning_effort"),
        tools=bool(given.get("tools")),
        tool_choice=given.get("tool_choice"),
        params=given.keys(),
    )


def _tools(given: dict[str, Any], written: dict[str, Any], facts: Facts, call: WireCall) -> None:
    if "tools" in given:
        written["tools"] = to_tools(call)
    choice = to_choice(call)
    if choice and choice["type"] in ("any", "tool") and sure(facts):
        key = next((key for key in ("forced_tool_choice", "request") if facts.refuses(key)), None)
        if key is not None:
            call.cannot("tool_choice", facts.reason(key))
            choice = {**choice, "type": "auto"}
            choice.pop("name", None)
    if choice:
        written["tool_choice"] = choice


def sure(facts: Facts) -> bool:
    """Tell whether the table is sure enough of a model to refuse in its name; newer ones may differ."""
    return facts.model_known and facts.confidence != "low"


def _max_tokens(given: dict[str, Any], facts: Facts, call: WireCall) -> Any:
    most = facts.get("max_output")
    name = "max_completion_tokens" if "max_completion_tokens" in given else "max_tokens"
    wanted = given.get(name)
    if wanted is None:
        source = "the most that this model gives" if most else f"a guess: no row of the table knows {call.model}"
        call.changes.append(Change("defaulted", "max_tokens", f"{most or UNKNOWN_MAX_TOKENS}, {source}"))
        return most or UNKNOWN_MAX_TOKENS
    if name != "max_tokens":
        call.changes.append(Change("renamed", name, "sent as max_tokens"))
    if most and isinstance(wanted, int) and wanted > most:
        call.changes.append(Change("clamped", name, f"{wanted} to {most}, the most that this model gives"))
        return most
    return wanted


def _stop(given: dict[str, Any], written: dict[str, Any], call: WireCall) -> None:
    if "stop_sequences" in given:
        written["stop_sequences"] = given["stop_sequences"]
    if "stop" not in given:
        return
    stops = given["stop"] if isinstance(given["stop"], (list, tuple)) else [given["stop"]]
    kept = [stop for stop in stops if not isinstance(stop, str) or stop.strip()]
    if len(kept) < len(stops):
        call.cannot("stop", "Claude stops at nothing that is only blanks")
    if kept:
        written["stop_sequences"] = [*written.get("stop_sequences", ()), *kept]


def _sampling(given: dict[str, Any], written: dict[str, Any], facts: Facts, call: WireCall) -> None:
    for name in ("temperature", "top_p", "top_k"):
        if name not in given:
            continue
        written.pop(name, None)
        value = given[name]
        key = f"sampling.{name}"
        if name == "temperature" and _is_number(value) and 1 < value <= 2:
            call.changes.append(Change("clamped", name, f"{value} to 1, the most that Claude takes"))
            value = 1
        if sure(facts) and facts.refuses(key, value):
            if name != "top_k" and value == 1:
                call.changes.append(Change("dropped", name, f"it is the default, and {facts.reason(key)}"))
            else:
                call.cannot(name, facts.reason(key))
        else:
            written[name] = value
    if sure(facts) and {"temperature", "top_p"} <= written.keys() and facts.refuses("request"):
        call.cannot("top_p", facts.reason("request"))
        del written["top_p"]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _metadata(given: dict[str, Any], written: dict[str, Any], call: WireCall) -> None:
    metadata = given.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise wrong("metadata", "must be an object, of which Claude takes user_id")
    if metadata and metadata.keys() - {"user_id"}:
        call.cannot("metadata", "Claude takes a user_id only")
        metadata = {name: value for name, value in metadata.items() if name == "user_id"}
    user = given.get("safety_identifier", given.get("user"))
    if user is not None and _IDENTIFIES.fullmatch(str(user)):
        call.cannot("user", "Claude's metadata.user_id must not be an address or a number of a person; give a hash")
        user = None
    if user is not None:
        name = "safety_identifier" if "safety_identifier" in given else "user"
        call.changes.append(Change("renamed", name, "sent as metadata.user_id"))
        metadata = {"user_id": user, **(metadata or {})}
    if metadata:
        written["metadata"] = metadata


def _service_tier(given: dict[str, Any], written: dict[str, Any], call: WireCall) -> None:
    tier = given.get("service_tier")
    if tier is not None and not isinstance(tier, str):
        raise wrong("service_tier", "must be a text")
    if tier in _SERVICE_TIERS:
        written["service_tier"] = _SERVICE_TIERS[tier]
        call.changes.append(Change("renamed", "service_tier", f"{tier} is sent as {_SERVICE_TIERS[tier]}"))
    elif tier in _NATIVE_TIERS:
        written["service_tier"] = tier
    elif tier is not None:
        call.cannot("service_tier", f"Claude has no tier {tier!r}; it has auto and standard_only")


# Thinking.


def _reasoning(given: dict[str, Any], written: dict[str, Any], facts: Facts, call: WireCall) -> None:
    for name in ("thinking", "output_config"):
        if name in given:
            written[name] = given[name]
    effort = given.get("reasoning_effort")
    if effort is None:
        return
    if effort == "none":
        _think_not(written, facts, call)
    elif effort not in _LEVELS:
        call.cannot("reasoning_effort", f"Claude has no effort {effort!r}; it has {', '.join(_LEVELS[1:])}")
    elif facts.get("thinking.style") == "none":
        call.cannot("reasoning_effort", f"{facts.model} does not think")
    elif facts.get("thinking.style") == "budget":
        _think_by_budget(effort, written, call)
    else:
        _think_by_effort(effort, written, facts, call)


def _think_not(written: dict[str, Any], facts: Facts, call: WireCall) -> None:
    if sure(facts) and facts.get("thinking.can_disable") is False:
        least = facts.get("thinking.least_with")
        nearest = f"; the nearest is thinking={least}" if least else ""
        call.cannot("reasoning_effort", f"{facts.model} always thinks{nearest}")
    elif facts.get("thinking.on_by_default") is not False:
        written.setdefault("thinking", facts.get("thinking.disable_with") or {"type": "disabled"})


def _think_by_budget(effort: str, written: dict[str, Any], call: WireCall) -> None:
    if "thinking" in written:
        return
    budget, most = _BUDGETS[effort], written["max_tokens"]
    if isinstance(most, int):
        # What is thought counts in max_tokens: a fifth of them is left for the answer, where that can be.
        budget = min(budget, max(most * 4 // 5, _LEAST_BUDGET))
        if budget >= most:
            call.cannot("reasoning_effort", f"thinking takes {_LEAST_BUDGET} tokens at least, and max_tokens is {most}")
            return
    written["thinking"] = {"type": "enabled", "budget_tokens": budget}
    call.changes.append(Change("emulated", "reasoning_effort", f"{effort} is a budget of {budget} tokens for thinking"))


def _think_by_effort(effort: str, written: dict[str, Any], facts: Facts, call: WireCall) -> None:
    level = _nearest_level(effort, facts.get("thinking.levels") or _LEVELS[1:])
    if level != effort:
        call.changes.append(Change("clamped", "reasoning_effort", f"{effort} to {level}, which this model has"))
    written["output_config"] = {"effort": level, **written.get("output_config", {})}
    # Models that think by themselves need no word, and those that always do take none.
    if facts.get("thinking.style") == "adaptive" and facts.get("thinking.on_by_default") is False:
        written.setdefault("thinking", {"type": "adaptive"})


def _nearest_level(effort: str, levels: Any) -> str:
    """Give the highest level up to the one that was asked for, else the lowest."""
    asked = _LEVELS.index(effort)
    known = [level for level in _LEVELS if level in levels]
    below = [level for level in known if _LEVELS.index(level) <= asked]
    return below[-1] if below else known[0]


# Structured answers.


def to_format(call: WireCall, facts: Facts) -> tuple[dict[str, Any] | None, str]:
    """Give the shape that an answer is to have as Claude takes it, or else the words that ask for it."""
    asked = call.parameters.get("response_format")
    schema = wanted_schema(asked)
    if schema is None:
        if not (isinstance(asked, dict) and asked.get("type") == "json_object"):
            return None, ""
        call.changes.append(Change("emulated", "response_format", "asked for in words, and checked afterwards"))
        return None, _ASK_FOR_JSON
    claude = ClaudeSchema(schema)
    if free := "any schema" if facts.get("structured_output") in ("tool", "none") else claude.loose:
        detail = f"Claude cannot be held to {free}: asked for in words, and checked afterwards"
        call.changes.append(Change("emulated", "response_format", detail))
        return None, f"{_ASK_FOR_JSON} It must keep to this JSON schema:\n{json.dumps(schema, ensure_ascii=False)}"
    if claude.told:
        detail = f"said in descriptions and checked afterwards: {claude.told}"
        call.changes.append(Change("converted", "response_format", detail))
    return {"type": "json_schema", "schema": claude.written}, ""


_ASK_FOR_JSON = "Answer with one JSON object and nothing else: no words around it and no code fence."
