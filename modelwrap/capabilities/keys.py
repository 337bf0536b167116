"""The names of facts, what each may be, and what is wrong with those that a config gives."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from modelwrap.suggestions import nearest

Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """Say what a fact may be, in words and as a test; null, "nobody knows", is always taken."""

    words: str
    fits: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_range(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_number, value))


def _is_option(value: Any) -> bool:
    return isinstance(value, bool) or value in ("ignored", "only_default") or _is_number(value) or is_range(value)


def _is_date(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value) is not None


def _are_texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)


def _is_choice(value: Any) -> bool:
    return isinstance(value, (bool, list, tuple)) or value == "free"


def _one_of(*words: str) -> Kind:
    return Kind(f"one of {', '.join(words)}", lambda value: isinstance(value, str) and value in words)


OPTION = Kind(
    'true, false, "ignored", "only_default", a range [low, high], or the one number that is taken', _is_option
)
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
COUNT = Kind("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool))
TEXT = Kind("a text", lambda value: isinstance(value, str))
TEXTS = Kind("a list of texts", _are_texts)
DATE = Kind("a date such as 2026-11-20", _is_date)
FIELDS = Kind("an object of fields of the request", lambda value: isinstance(value, Mapping))
CHOICE = Kind("true, false, or the list of what is taken", _is_choice)

SAMPLING = {
    "temperature": "sampling.temperature",
    "top_p": "sampling.top_p",
    "top_k": "sampling.top_k",
    "stop": "stop",
    "seed": "seed",
    "logprobs": "logprobs",
    "top_logprobs": "logprobs",
    "frequency_penalty": "penalties",
    "presence_penalty": "penalties",
    "n": "n",
}
"""Which fact says whether a parameter is taken, of those that every chat wire may have."""

KEYS: dict[str, Kind] = {
    "status": _one_of("retired", "redirected", "deprecated", "disputed", "limited access"),
    "retired_on": DATE,
    "answers_from": TEXT,
    "replaced_by": TEXT,
    "context": COUNT,
    "max_input": COUNT,
    "max_output": COUNT,
    "endpoints": TEXTS,
    "inputs": TEXTS,
    "outputs": TEXTS,
    "max_tokens_name": _one_of("max_tokens", "max_completion_tokens", "max_output_tokens", "either"),
    "sampling.temperature": OPTION,
    "sampling.top_p": OPTION,
    "sampling.top_k": OPTION,
    "stop": OPTION,
    "seed": OPTION,
    "logprobs": OPTION,
    "penalties": OPTION,
    "logit_bias": OPTION,
    "n": OPTION,
    "forced_tool_choice": OPTION,
    "parallel_tools": OPTION,
    "prefill": OPTION,
    "structured_output": _one_of("native", "tool", "none"),
    "later_system": _one_of("kept", "ignored", "rejected"),
    "thinking.style": _one_of("none", "budget", "adaptive", "level", "effort", "always", "toggle"),
    "thinking.also_accepts": _one_of("budget"),
    "thinking.levels": TEXTS,
    "thinking.default": TEXT,
    "thinking.maps": FIELDS,
    "thinking.budget.min": COUNT,
    "thinking.budget.max": COUNT,
    "thinking.budget.below": TEXT,
    "thinking.on_by_default": FLAG,
    "thinking.can_disable": FLAG,
    "thinking.disable_with": FIELDS,
    "thinking.disable_up_to": TEXT,
    "thinking.least_with": FIELDS,
    "thinking.signature_required": FLAG,
    "thinking.replay": _one_of(
        "items", "thought_signature", "tool_turns", "reasoning_content", "reasoning_details", "think_tags"
    ),
    "thinking.binding.bound": FLAG,
    "thinking.binding.platform": FLAG,
    "thinking.binding.error_for": _one_of("all", "newer"),
    "thinking.binding.relax": TEXT,
    "wire.replay_reasoning": FLAG,
    "wire.reasoning_field": TEXT,
    "wire.stream_usage": FLAG,
    "wire.think_tags": FLAG,
    "wire.think_tag": TEXT,
    "wire.responses": FLAG,
    "wire.own_parts": TEXT,
    "wire.strict": FLAG,
    "wire.image_edits": _one_of("form", "urls"),
    "image.returns": _one_of("b64", "url_or_b64"),
    "image.n": OPTION,
    "image.size": CHOICE,
    "image.size_param": FLAG,
    "image.image_size": CHOICE,
    "image.aspect_ratio": FLAG,
    "image.resolution": TEXTS,
    "image.quality": CHOICE,
    "image.background": TEXTS,
    "image.moderation": TEXTS,
    "image.input_fidelity": CHOICE,
    "image.filtered": _one_of("empty"),
    "image.style": OPTION,
    "image.response_format": OPTION,
    "image.output_format": TEXTS,
    "image.stream_partial_images": OPTION,
    "image.edits": FLAG,
    "image.variations": FLAG,
    "embedding.dimensions": COUNT,
    "embedding.dimensions_param": CHOICE,
    "embedding.encoding": TEXTS,
    "embedding.task": TEXT,
    "embedding.max_inputs": COUNT,
    "embedding.max_input_tokens": COUNT,
    "embedding.max_tokens_per_request": COUNT,
    "embedding.empty_input": _one_of("rejected"),
    "embedding.list_of_strings": _one_of("fused"),
    "embedding.too_long": _one_of("cut"),
    "request": _one_of("rejected"),
}

CONDITIONS = ("endpoint", "thinking", "effort", "effort_not", "tools", "tool_choice", "params", "platform")
"""What a condition may ask of a request."""

LIKE = "like"
"""The key under which a config names the model whose row it takes."""


def flat(nested: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Give facts under their dotted names; groups may be written as objects, with dots, or both."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        name = above + key
        if name not in KEYS and isinstance(value, Mapping):
            found.update(flat(value, f"{name}."))
        else:
            found[name] = tuple(value) if isinstance(value, list) else value
    return found


def mistakes(given: Mapping[str, Any], above: str = "", path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Find what is wrong with facts that somebody wrote: the place, and what to write instead."""
    for key, value in given.items():
        name, place = f"{above}{key}", (*path, key)
        if name in KEYS:
            if value is not None and not KEYS[name].fits(value):
                yield place, f"must be {KEYS[name].words}, or null"
        elif name == LIKE:
            if not isinstance(value, str) or not value:
                yield place, "must be the name of a model"
        elif not any(known.startswith(f"{name}.") for known in KEYS):
            meant = nearest(name, [*KEYS, LIKE])
            yield place, f'unknown key; did you mean "{meant}"?' if meant else f"unknown key; known are {_groups()}"
        elif isinstance(value, Mapping):
            yield from mistakes(value, f"{name}.", place)
        else:
            yield place, "must be an object { … }"


def _groups() -> str:
    return ", ".join(dict.fromkeys([LIKE, *(name.partition(".")[0] for name in KEYS)]))
