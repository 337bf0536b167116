"""What a call may ask of a model of the transformers library, read strictly; what it does not say, the model does."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modelwrap.errors import BadRequest, UnsupportedParameter
from modelwrap.types import JSON

if TYPE_CHECKING:
    from modelwrap.local.transformers.sampling import Sampling

LIMITS = ("max_tokens", "max_completion_tokens", "max_new_tokens")
KNOWN = frozenset(
    {
        *(*LIMITS, "max_length", "temperature", "top_p", "top_k", "min_p", "do_sample", "repetition_penalty"),
        *("presence_penalty", "frequency_penalty", "logit_bias", "seed", "stop", "ignore_eos", "skip_special_tokens"),
        *("logprobs", "top_logprobs", "response_format", "tools", "tool_choice", "parallel_tool_calls"),
        *("chat_template_kwargs", "reasoning_effort", "stream", "stream_options"),
    }
)
"""The names of all parameters that are read here."""

# What `generate` takes where neither a call nor a model says otherwise.
_USUAL_TOP_K = 50
# Older checkpoints carry it because it was the library's own default.
_MEANT_BY_NOBODY = 20
_MOST_ALTERNATIVES = 20


@dataclass(frozen=True, slots=True)
class Bound:
    """Be what an answer is bound to: a JSON schema or a regular expression."""

    schema: JSON = None
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """Be what a call asks for, every default filled in."""

    sampling: Sampling
    most_tokens: int | None = None
    """Of the answer."""
    longest: int | None = None
    """Of prompt and answer together."""
    stops: tuple[str, ...] = ()
    ends: bool = True
    """Whether the model may end its answer."""
    skip_special: bool | None = None
    """Whether special tokens are left out of the text; None leaves it to the model's own hooks."""
    bound: Bound | None = None
    tools: tuple[dict[str, Any], ...] = ()
    forced: tuple[str, ...] = ()
    """The tools of which the answer has to call one; none where it may do without."""
    one_call: bool = False
    """Whether it may be no more than one."""
    template: Mapping[str, Any] = field(default_factory=dict)
    """What goes to the chat template by name."""
    streams: bool = False
    tells_usage: bool = True


@dataclass(frozen=True, slots=True)
class Defaults:
    """Be what a model does where a call says nothing: what `generate` would take from its `generation_config`."""

    do_sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = _USUAL_TOP_K
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_new_tokens: int | None = None
    max_length: int | None = None
    suppress_tokens: tuple[int, ...] = ()
    forced_eos_token_id: tuple[int, ...] = ()
    """What the last token is one of that an answer may have."""
    ends: tuple[int, ...] = ()
    passed_over: tuple[str, ...] = ()
    """What else it says that changes answers, and that is not done here."""

    @classmethod
    def of(cls, generation_config: Any, given: Mapping[str, Any]) -> Defaults:
        """Read a `generation_config` (or none) under what hooks lay over it."""
        said = {**_said(generation_config), **{name: value for name, value in given.items() if value is not None}}
        read = {name: said[name] for name in _READ if name in said}
        if read.get("max_length") == _MEANT_BY_NOBODY and "max_length" not in given:
            del read["max_length"]
        for name in _TOKENS & read.keys():
            read[name] = _ids(read[name])
        passed_over = tuple(name for name, usual in _NOT_DONE.items() if said.get(name, usual) not in (usual, None))
        return cls(**read, ends=_ids(said.get("eos_token_id")), passed_over=passed_over)


_READ = (
    *("do_sample", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_new_tokens", "max_length"),
    *("suppress_tokens", "forced_eos_token_id"),
)
_TOKENS = {"suppress_tokens", "forced_eos_token_id"}
GENERATION = frozenset((*_READ, "eos_token_id", "pad_token_id", "bos_token_id"))
"""What of the arguments of `generate` is done here."""
_NOT_DONE: dict[str, Any] = {
    "num_beams": 1,
    "penalty_alpha": None,
    "typical_p": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "bad_words_ids": None,
    "min_length": 0,
    "min_new_tokens": None,
    "begin_suppress_tokens": None,
    "sequence_bias": None,
    "guidance_scale": 1.0,
    "stop_strings": None,
    "exponential_decay_length_penalty": None,
    "encoder_repetition_penalty": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
}


def _said(generation_config: Any) -> dict[str, Any]:
    names = (*_READ, *_NOT_DONE, "eos_token_id")
    said = {name: getattr(generation_config, name, None) for name in names}
    return {name: value for name, value in said.items() if value is not None}


def _ids(value: Any) -> tuple[int, ...]:
    """Read one token or several; some configs hold them as a tensor."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if value is None:
        return ()
    return (value,) if isinstance(value, int) else tuple(value)


def read(body: Mapping[str, Any], defaults: Defaults, vocabulary_size: int | None = None) -> Asked:
    """Read the parameters of a call; `BadRequest` names what is wrong with one."""
    given = _Given(body)
    tools = _tools(given)
    bound = _bound(given)
    if bound is not None and tools:
        raise UnsupportedParameter(
            "response_format: an answer cannot be bound to a form while it may call tools; leave one of them out",
            sent=False,
        )
    options = given.object("stream_options")
    return Asked(
        sampling=_sampling(given, defaults, vocabulary_size),
        most_tokens=_most_tokens(given, defaults),
        longest=given.whole("max_length", at_least=1) or defaults.max_length,
        stops=_stops(given),
        ends=not given.flag("ignore_eos"),
        skip_special=given.flag("skip_special_tokens"),
        bound=bound,
        tools=tools,
        forced=_forced(given, tools),
        one_call=given.flag("parallel_tool_calls") is False,
        template=_for_template(given),
        streams=bool(given.flag("stream")),
        tells_usage=_Given(options).flag("include_usage") is not False,
    )


class _Given:
    """Take parameters by name, each checked."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = {name: value for name, value in body.items() if value is not None}

    def __contains__(self, name: str) -> bool:
        return name in self._body

    def __getitem__(self, name: str) -> Any:
        return self._body.get(name)

    def flag(self, name: str) -> bool | None:
        value = self[name]
        if value is not None and not isinstance(value, bool):
            raise _wrong(name, "true or false", value)
        return value

    def whole(self, name: str, *, at_least: int, at_most: int | None = None) -> int | None:
        value = self[name]
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not _is_whole(value) or value < at_least or (at_most is not None and value > at_most):
            reach = f"from {at_least} on" if at_most is None else f"from {at_least} to {at_most}"
            raise _wrong(name, f"a whole number {reach}", value)
        return int(value)

    def number(self, name: str, low: float, high: float = math.inf, *, open_below: bool = False) -> float | None:
        value = self[name]
        if value is None:
            return None
        is_number = _is_whole(value) or isinstance(value, float)
        if not (is_number and low <= value <= high) or math.isinf(value) or (open_below and value == low):
            start = f"above {low:g}" if open_below else f"from {low:g}"
            end = (" on" if not open_below else "") if math.isinf(high) else f" to {high:g}"
            raise _wrong(name, f"a number {start}{end}", value)
        return float(value)

    def object(self, name: str) -> Mapping[str, Any]:
        value = self[name]
        if value is not None and not isinstance(value, Mapping):
            raise _wrong(name, "an object", value)
        return value or {}


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _wrong(name: str, wanted: str, value: Any) -> BadRequest:
    shown = repr(value)
    return BadRequest(f"{name}: must be {wanted}, not {shown[:80]}{'…' if shown[80:] else ''}", sent=False)


def _sampling(given: _Given, defaults: Defaults, vocabulary_size: int | None) -> Sampling:
    from modelwrap.local.transformers.sampling import Sampling

    temperature = given.number("temperature", 0)
    top_p, min_p = given.number("top_p", 0, 1), given.number("min_p", 0, 1)
    top_k = given.whole("top_k", at_least=-1)
    draws = given.flag("do_sample")
    if draws is None:
        # Who says among how many to draw wants to draw, also from a model that does not by itself.
        draws = defaults.do_sample or temperature is not None or any(x is not None for x in (top_p, min_p, top_k))
    bias = dict.fromkeys(defaults.suppress_tokens, -math.inf) | _logit_bias(given, vocabulary_size)
    if top_p == 0:
        # Nothing would be left to draw from.
        top_p, top_k = None, 1
    return Sampling(
        temperature=_first(temperature, defaults.temperature) if draws else 0.0,
        top_p=_first(top_p, defaults.top_p),
        top_k=max(0, _first(top_k, defaults.top_k)),
        min_p=_first(min_p, defaults.min_p),
        repetition_penalty=_first(given.number("repetition_penalty", 0, open_below=True), defaults.repetition_penalty),
        presence_penalty=_first(given.number("presence_penalty", -2, 2), 0.0),
        frequency_penalty=_first(given.number("frequency_penalty", -2, 2), 0.0),
        logit_bias=bias,
        seed=given.whole("seed", at_least=-(2**63), at_most=2**64 - 1),
        logprobs=_logprobs(given),
    )


def _first(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value


def _logit_bias(given: _Given, vocabulary_size: int | None) -> dict[int, float]:
    bias: dict[int, float] = {}
    for key, value in given.object("logit_bias").items():
        token: Any = int(key) if str(key).isascii() and str(key).isdigit() and len(str(key)) < 20 else key
        if not _is_whole(token) or not 0 <= token < _first(vocabulary_size, math.inf):
            size = f" below {vocabulary_size}" if vocabulary_size else ""
            raise _wrong("logit_bias", f"an object whose keys are numbers of tokens{size}", key)
        name = f"logit_bias.{key}"
        bias[token] = _first(_Given({name: value}).number(name, -100, 100), 0.0)
    return bias


def _logprobs(given: _Given) -> int | None:
    wanted = given.flag("logprobs")
    alternatives = given.whole("top_logprobs", at_least=0, at_most=_MOST_ALTERNATIVES)
    if alternatives and not wanted:
        raise BadRequest('top_logprobs: takes "logprobs": true beside it', sent=False)
    return (alternatives or 0) if wanted else None


def _most_tokens(given: _Given, defaults: Defaults) -> int | None:
    limits = {name: given.whole(name, at_least=1) for name in LIMITS if name in given}
    if len(set(limits.values())) > 1:
        raise BadRequest(f"{', '.join(limits)}: say the same and differ; leave one", sent=False)
    if limits:
        return next(iter(limits.values()))
    return None if "max_length" in given else defaults.max_new_tokens


def _stops(given: _Given) -> tuple[str, ...]:
    stop = given["stop"]
    stops = [stop] if isinstance(stop, str) else stop or []
    if not isinstance(stops, (list, tuple)) or not all(isinstance(text, str) and text for text in stops):
        raise _wrong("stop", "a text or a list of texts, none of them empty", stop)
    return tuple(stops)


def _bound(given: _Given) -> Bound | None:
    asked = given.object("response_format")
    kind = asked.get("type")
    if not asked or kind == "text":
        return None
    if kind == "json_object":
        return Bound(schema={"type": "object"})
    if kind == "json_schema":
        inner = asked.get("json_schema")
        schema = inner.get("schema") if isinstance(inner, Mapping) else None
        if not isinstance(schema, (Mapping, bool)):
            raise _wrong("response_format.json_schema.schema", "a JSON schema", schema)
        return Bound(schema=schema)
    if kind == "regex":
        pattern = asked.get("pattern")
        if not isinstance(pattern, str):
            raise _wrong("response_format.pattern", "a regular expression", pattern)
        return Bound(pattern=pattern)
    raise _wrong("response_format.type", "text, json_object, json_schema or regex", kind)


def _tools(given: _Given) -> tuple[dict[str, Any], ...]:
    tools = tuple(_tool(tool, f"tools[{number}]") for number, tool in enumerate(_listed(given["tools"])))
    return () if given["tool_choice"] == "none" else tools


def _forced(given: _Given, tools: tuple[dict[str, Any], ...]) -> tuple[str, ...]:
    names = tuple(tool["function"]["name"] for tool in tools)
    choice = given["tool_choice"]
    if choice in (None, "auto", "none"):
        return ()
    if choice == "required":
        if not tools:
            raise BadRequest("tool_choice: is required, and there are no tools", sent=False)
        return names
    function = choice.get("function") if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if name is None:
        raise _wrong("tool_choice", 'auto, none, required or {"type": "function", "function": {"name": …}}', choice)
    if name not in names:
        raise BadRequest(f"tool_choice: there is no tool {name!r}; there are {', '.join(names) or 'none'}", sent=False)
    return (name,)


def _listed(value: Any) -> Iterable[Any]:
    if value is not None and not isinstance(value, (list, tuple)):
        raise _wrong("tools", "a list", value)
    return value or ()


def _tool(tool: Any, where: str) -> dict[str, Any]:
    function = (
        tool.get("function") if isinstance(tool, Mapping) and tool.get("type", "function") == "function" else None
    )
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise _wrong(where, '{"type": "function", "function": {"name": …, "parameters": …}}', tool)
    if not isinstance(function.get("parameters") or {}, Mapping):
        raise _wrong(f"{where}.function.parameters", "a JSON schema", function["parameters"])
    return dict(tool)


def _for_template(given: _Given) -> dict[str, Any]:
    named = dict(given.object("chat_template_kwargs"))
    if "reasoning_effort" in given:
        named.setdefault("reasoning_effort", given["reasoning_effort"])
    return named
