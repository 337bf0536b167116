"""The parameters of a call as Gemini takes them: translated, passed on, or refused with the reason."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from modelwrap.capabilities import SAMPLING, Facts
from modelwrap.types import Change
from modelwrap.wire.functions import modern_parameters
from modelwrap.wire.gemini_schema import GeminiSchema
from modelwrap.wire.gemini_tools import to_tool_config, to_tools
from modelwrap.wire.http import WireCall
from modelwrap.wire.structured import wanted_schema

# What Gemini has nothing for, the values that ask for nothing, and what to say of all others.
_CANNOT: dict[str, tuple[tuple[Any, ...], str]] = {
    "logit_bias": (({},), "Gemini lets nobody change the odds of a token"),
    "prediction": ((), "Gemini takes no text that it may expect to write"),
    "verbosity": (("medium",), "Gemini has none; say in the system message how long answers should be"),
    "web_search_options": ((), 'Gemini searches with a tool of its own: {"google_search": {}} in tools'),
    "moderation": ((), "Gemini has safety_settings"),
    "metadata": (({},), "Gemini keeps none with a reply; Vertex has labels"),
}
# What changes nothing about the answer.
HINTS = {
    "user": "Gemini has no field for it",
    "safety_identifier": "Gemini has no field for it",
    "prompt_cache_key": "Gemini caches by itself, and what cached_content names",
    "prompt_cache_retention": "Gemini caches by itself, and what cached_content names",
    "prompt_cache_options": "Gemini caches by itself, and what cached_content names",
}
_RENAMED = {
    "max_tokens": "maxOutputTokens",
    "max_completion_tokens": "maxOutputTokens",
    "n": "candidateCount",
    "logprobs": "responseLogprobs",
    "top_logprobs": "logprobs",
    "stop": "stopSequences",
    "modalities": "responseModalities",
}
_ELSEWHERE = frozenset(
    {
        *("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "tool_config", "toolConfig"),
        *("response_format", "reasoning_effort", "audio", "stream_options", "service_tier", "serviceTier"),
        *("thinking_budget", "thinking_level", "include_thoughts", "thinking_config", "thinkingConfig"),
        *("generation_config", "generationConfig"),
        *_CANNOT,
        *HINTS,
    }
)
# What stands beside `generationConfig`; https://ai.google.dev/api/generate-content#request-body
_BESIDE_CONFIG = frozenset(
    {
        *("safetySettings", "cachedContent", "labels", "continuationToken", "modelArmorConfig", "store"),
        *("systemInstruction", "serviceTier"),
    }
)
_NOTHING_ASKED = {"n": 1, "frequency_penalty": 0, "presence_penalty": 0, "logprobs": False, "top_logprobs": 0}

_SERVICE_TIERS = {"default": "standard"}

# https://ai.google.dev/gemini-api/docs/openai#thinking
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576}
_LEVELS = ("minimal", "low", "medium", "high", "xhigh", "max")


def to_parameters(call: WireCall, facts: Facts) -> dict[str, Any]:
    """Write everything but the conversation; a parameter that nobody knows goes into `generationConfig` as it is."""
    given = {name: value for name, value in call.parameters.items() if value is not None}
    given = modern_parameters(given, call.changes)
    facts = _as_asked(given, facts)
    for name in given:
        if name in HINTS:
            call.changes.append(Change("dropped", name, HINTS[name]))
        elif name in _CANNOT and given[name] not in _CANNOT[name][0]:
            call.cannot(name, _CANNOT[name][1])
    beside, config = _sorted(given, facts, call)
    _stream_options(given, call)
    _service_tier(given, beside, call)
    _sound(given, config, call)
    _thinking(given, config, facts, call)
    _format(given, config, call)
    if tools := to_tools(given.get("tools"), call):
        beside["tools"] = tools
    tool_config = {**_object(given, "tool_config", "toolConfig"), **to_tool_config(given, facts, call)}
    if tool_config:
        beside["toolConfig"] = tool_config
    return {**beside, "generationConfig": config} if config else beside


def _as_asked(given: Mapping[str, Any], facts: Facts) -> Facts:
    """Give the facts as they are for this request."""
    return facts.under(
        effort=given.get("reasoning_effort"),
        tools=bool(given.get("tools")),
        tool_choice=given.get("tool_choice"),
        params=given.keys(),
    )


def _object(given: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Give the object that stands under the first of some names for one thing, its fields as JSON has them.

    Both spellings of one field are an error.
    """
    found: Mapping[str, Any] = next((given[name] for name in names if isinstance(given.get(name), Mapping)), {})
    return {camel(str(name)): value for name, value in found.items()}


def _sorted(given: dict[str, Any], facts: Facts, call: WireCall) -> tuple[dict[str, Any], dict[str, Any]]:
    """Put every parameter where it belongs: beside the config or into it."""
    beside: dict[str, Any] = {}
    config = _object(given, "generation_config", "generationConfig")
    for name, value in given.items():
        if name in _ELSEWHERE or _is_refused(name, value, facts, call):
            continue
        written = _RENAMED.get(name) or camel(name)
        if written in _BESIDE_CONFIG:
            beside[written] = value
        else:
            config[written] = _as_gemini(name, value)
    return beside, config


def camel(name: str) -> str:
    """Write a name as JSON has it: `top_k` is `topK`."""
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)


def _as_gemini(name: str, value: Any) -> Any:
    if name == "stop":
        return [value] if isinstance(value, str) else value
    if name == "modalities" and isinstance(value, (list, tuple)):
        return [str(item).upper() for item in value]
    return value


def _is_refused(name: str, value: Any, facts: Facts, call: WireCall) -> bool:
    """Tell whether a parameter is left out, because the model refuses it or takes it without effect."""
    key = SAMPLING.get(name)
    if key is None or _NOTHING_ASKED.get(name, ...) == value or not facts.values:
        return False
    if facts.ignores(key):
        return call.leaves_out(name, facts.reason(key), ignored=True)
    # What is refused at some values only goes out: Gemini's own words say better what is wrong with this one.
    if facts.certain(key) and facts.get(key) is False:
        call.cannot(name, facts.reason(key))
        return True
    return False


def _stream_options(given: Mapping[str, Any], call: WireCall) -> None:
    options = given.get("stream_options")
    if isinstance(options, Mapping) and options.keys() - {"include_usage"}:
        call.changes.append(Change("dropped", "stream_options", "Gemini has none; usage comes with every stream"))


def _service_tier(given: Mapping[str, Any], beside: dict[str, Any], call: WireCall) -> None:
    tier = given.get("service_tier", given.get("serviceTier"))
    if tier is None or tier == "auto":
        return
    beside["serviceTier"] = tier
    if isinstance(tier, str) and tier in _SERVICE_TIERS:
        beside["serviceTier"] = _SERVICE_TIERS[tier]
        call.changes.append(Change("renamed", "service_tier", f"{tier} is sent as {_SERVICE_TIERS[tier]}"))


def _sound(given: Mapping[str, Any], config: dict[str, Any], call: WireCall) -> None:
    """Write the voice that OpenAI's `audio` names."""
    audio = given.get("audio")
    if not isinstance(audio, Mapping):
        return
    if audio.get("voice") is not None:
        config.setdefault("speechConfig", {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": audio["voice"]}}})
    if audio.get("format") not in (None, "pcm16"):
        call.changes.append(Change("dropped", "audio.format", "Gemini speaks in raw samples, whose type it names"))


# Thinking.


def _thinking(given: Mapping[str, Any], config: dict[str, Any], facts: Facts, call: WireCall) -> None:
    thinking = {**_object(config, "thinkingConfig"), **_object(given, "thinking_config", "thinkingConfig")}
    for name in ("thinking_budget", "thinking_level", "include_thoughts"):
        if name in given:
            thinking[camel(name)] = given[name]
    effort = given.get("reasoning_effort")
    if effort is not None and not thinking.keys() & {"thinkingBudget", "thinkingLevel"}:
        thinking |= _effort(effort, facts, call)
    if thinking:
        config["thinkingConfig"] = thinking


def _effort(effort: Any, facts: Facts, call: WireCall) -> dict[str, Any]:
    """Write an effort as the level or the budget that stands for it."""
    style = facts.get("thinking.style")
    if style == "none":
        if effort != "none":
            call.cannot("reasoning_effort", f"{facts.model} does not think")
        return {}
    if effort == "none":
        return _think_not(facts, call)
    if effort not in _LEVELS:
        call.cannot("reasoning_effort", f"there is no effort {effort!r}; there are none, {', '.join(_LEVELS)}")
        return {}
    return _budget(effort, facts, call) if style == "budget" else _level(effort, facts, call)


def _think_not(facts: Facts, call: WireCall) -> dict[str, Any]:
    if facts.get("thinking.can_disable") is False:
        least = facts.get("thinking.levels") or facts.get("thinking.budget.min")
        nearest = (
            f"; the least is {least[0] if isinstance(least, tuple) else f'a budget of {least} tokens'}" if least else ""
        )
        call.cannot("reasoning_effort", f"{facts.model} always thinks{nearest}")
        return {}
    return {"thinkingBudget": 0}


def _budget(effort: str, facts: Facts, call: WireCall) -> dict[str, Any]:
    least, most = facts.get("thinking.budget.min") or 0, facts.get("thinking.budget.max")
    budget = _BUDGETS.get(effort, most or _BUDGETS["high"])
    budget = max(budget, least) if most is None else min(max(budget, least), most)
    call.changes.append(Change("emulated", "reasoning_effort", f"{effort} is a budget of {budget} tokens for thinking"))
    return {"thinkingBudget": budget}


def _level(effort: str, facts: Facts, call: WireCall) -> dict[str, Any]:
    levels = facts.get("thinking.levels") or _LEVELS[:4]
    known = [level for level in _LEVELS if level in levels]
    below = [level for level in known if _LEVELS.index(level) <= _LEVELS.index(effort)]
    level = below[-1] if below else known[0]
    if level != effort:
        call.changes.append(Change("clamped", "reasoning_effort", f"{effort} to {level}, which this model has"))
    if facts.get("thinking.style") is None:
        call.changes.append(Change("defaulted", "reasoning_effort", f"a level, as newer models than {call.model} take"))
    return {"thinkingLevel": level.upper()}


# Structured answers.


def _format(given: Mapping[str, Any], config: dict[str, Any], call: WireCall) -> None:
    asked = given.get("response_format")
    kind = asked.get("type") if isinstance(asked, Mapping) else asked
    if kind is None or kind == "text":
        return
    if kind not in ("json_object", "json_schema"):
        call.cannot("response_format", f"Gemini has no format of type {kind!r}")
        return
    config["responseMimeType"] = "application/json"
    schema = wanted_schema(asked)
    if schema:
        gemini = GeminiSchema(schema)
        config["responseJsonSchema"] = gemini.written
        if gemini.told:
            detail = f"said in descriptions and checked afterwards: {gemini.told}"
            call.changes.append(Change("converted", "response_format", detail))
