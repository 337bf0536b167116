"""What a call may ask for: each parameter read, each mistake named, and defaults as `generate` takes them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from modelwrap.errors import BadRequest, UnsupportedParameter
from modelwrap.local.transformers.parameters import LIMITS, Asked, Bound, Defaults, read

pytest.importorskip("torch")

pytestmark = pytest.mark.xdist_group("torch")

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
OTHER = {"type": "function", "function": {"name": "stop"}}


def asked(defaults: Defaults = Defaults(), **body: Any) -> Asked:  # noqa: B008 - frozen
    return read(body, defaults, 100)


def test_nothing_said_is_greedy_and_as_long_as_there_is_room() -> None:
    nothing = asked()

    assert nothing.sampling.plain
    assert (nothing.most_tokens, nothing.longest, nothing.stops) == (None, None, ())
    assert not nothing.streams
    assert nothing.tells_usage


def test_each_parameter_is_read() -> None:
    everything = asked(
        max_tokens=7,
        temperature=0.5,
        top_p=0.9,
        top_k=4,
        min_p=0.1,
        repetition_penalty=1.1,
        presence_penalty=-1,
        frequency_penalty=2,
        logit_bias={"5": 1, 6: -100},
        seed=-3,
        logprobs=True,
        top_logprobs=2,
        stop="END",
        ignore_eos=True,
        skip_special_tokens=False,
        chat_template_kwargs={"enable_thinking": False},
        reasoning_effort="low",
        stream=True,
        stream_options={"include_usage": False},
    )

    sampling = everything.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0.5, 0.9, 4, 0.1)
    assert (sampling.repetition_penalty, sampling.presence_penalty, sampling.frequency_penalty) == (1.1, -1, 2)
    assert sampling.logit_bias == {5: 1.0, 6: -100.0}
    assert (sampling.seed, sampling.logprobs) == (-3, 2)
    assert (everything.most_tokens, everything.stops, everything.ends) == (7, ("END",), False)
    assert everything.skip_special is False
    assert everything.template == {"enable_thinking": False, "reasoning_effort": "low"}
    assert everything.streams
    assert not everything.tells_usage


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_goes_by_any_of_its_names(name: str) -> None:
    assert asked(**{name: 5}).most_tokens == 5


@pytest.mark.parametrize(
    "body, words",
    [
        ({"temperature": -0.1}, "temperature: must be a number from 0 on, not -0.1"),
        ({"temperature": "1"}, "temperature: must be a number from 0 on, not '1'"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 1.1}, "top_p: must be a number from 0 to 1, not 1.1"),
        ({"min_p": -1}, "min_p: must be a number from 0 to 1, not -1"),
        ({"top_k": -2}, "top_k: must be a whole number from -1 on, not -2"),
        ({"top_k": 1.5}, "top_k: must be a whole number"),
        ({"repetition_penalty": 0}, "repetition_penalty: must be a number above 0, not 0"),
        ({"presence_penalty": 2.1}, "presence_penalty: must be a number from -2 to 2, not 2.1"),
        ({"frequency_penalty": -3}, "frequency_penalty"),
        ({"max_tokens": 0}, "max_tokens: must be a whole number from 1 on, not 0"),
        ({"max_tokens": 5, "max_new_tokens": 6}, "max_tokens, max_new_tokens: say the same and differ"),
        ({"max_length": False}, "max_length"),
        ({"seed": 2**64}, "seed: must be a whole number from"),
        ({"stop": ""}, "stop: must be a text or a list of texts"),
        ({"stop": ["a", 3]}, "stop"),
        ({"stop": {"a": 1}}, "stop"),
        ({"logprobs": 3}, "logprobs: must be true or false, not 3"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs: must be a whole number from 0 to 20, not 21"),
        ({"top_logprobs": 2}, 'top_logprobs: takes "logprobs": true'),
        ({"logit_bias": {"100": 1}}, "logit_bias: must be an object whose keys are numbers of tokens below 100"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"logit_bias": {"-1": 1}}, "logit_bias"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5: must be a number from -100 to 100, not 101"),
        ({"logit_bias": [1]}, "logit_bias: must be an object"),
        ({"response_format": "json"}, "response_format: must be an object"),
        ({"response_format": {"type": "xml"}}, "response_format.type: must be text, json_object, json_schema or regex"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema: must be a JSON schema"),
        ({"response_format": {"type": "regex"}}, "response_format.pattern: must be a regular expression"),
        ({"tools": "look"}, "tools: must be a list"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]: must be"),
        ({"tools": [{"type": "function", "function": {"name": "a", "parameters": 3}}]}, "tools[0].function.parameters"),
        ({"tools": [TOOL], "tool_choice": "maybe"}, "tool_choice: must be auto, none, required or"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "go"}}}, "no tool 'go'"),
        ({"tool_choice": "required"}, "tool_choice: is required, and there are no tools"),
        ({"chat_template_kwargs": 3}, "chat_template_kwargs: must be an object"),
        ({"stream_options": {"include_usage": 1}}, "include_usage: must be true or false"),
    ],
)
def test_a_mistake_is_named_with_what_may_stand_there(body: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        asked(**body)

    assert words in str(caught.value)
    assert caught.value.sent is False


@pytest.mark.parametrize(
    "config, body, temperature, top_k",
    [
        ({}, {"temperature": 0.7}, 0.7, 50),
        ({}, {"temperature": 0}, 0.0, 50),
        ({}, {"top_p": 0.5}, 1.0, 50),
        ({"do_sample": True, "temperature": 0.3, "top_k": 5}, {}, 0.3, 5),
        ({"do_sample": True, "temperature": 0.3}, {"temperature": 0}, 0.0, 50),
        ({"do_sample": True, "temperature": 0.3}, {"do_sample": False}, 0.0, 50),
        ({"do_sample": False, "temperature": 0.3}, {"do_sample": True, "top_k": -1}, 0.3, 0),
        ({"do_sample": False, "top_k": 7}, {"temperature": 1}, 1.0, 7),
        ({"do_sample": True}, {"top_p": 0}, 1.0, 1),
    ],
)
def test_sampling_is_what_generate_would_do(
    config: dict[str, Any], body: dict[str, Any], temperature: float, top_k: int
) -> None:
    defaults = Defaults.of(SimpleNamespace(**config), {})

    sampling = asked(defaults, **body).sampling

    assert (sampling.temperature, sampling.top_k) == (temperature, top_k)


def test_a_models_own_limits_hold_unless_the_call_has_some() -> None:
    defaults = Defaults.of(SimpleNamespace(max_new_tokens=9, max_length=40), {})

    assert (asked(defaults).most_tokens, asked(defaults).longest) == (9, 40)
    assert asked(defaults, max_tokens=3).most_tokens == 3
    assert (asked(defaults, max_length=30).most_tokens, asked(defaults, max_length=30).longest) == (None, 30)


def test_the_length_that_old_checkpoints_carry_is_no_limit() -> None:
    assert Defaults.of(SimpleNamespace(max_length=20), {}).max_length is None
    assert Defaults.of(SimpleNamespace(max_length=20), {"max_length": 20}).max_length == 20


def test_what_hooks_give_lies_over_the_models_own() -> None:
    config = SimpleNamespace(
        do_sample=True, temperature=0.3, eos_token_id=[4, 5], suppress_tokens=[7], forced_eos_token_id=4
    )

    defaults = Defaults.of(config, {"temperature": 0.9, "eos_token_id": 6})

    assert (defaults.do_sample, defaults.temperature, defaults.ends) == (True, 0.9, (6,))
    assert defaults.forced_eos_token_id == (4,)
    assert asked(defaults, logit_bias={"8": 2}).sampling.logit_bias == {7: float("-inf"), 8: 2.0}


def test_settings_that_change_answers_and_are_not_followed_are_known() -> None:
    config = SimpleNamespace(num_beams=4, no_repeat_ngram_size=3, typical_p=1.0, min_length=0)

    assert Defaults.of(config, {}).passed_over == ("num_beams", "no_repeat_ngram_size")


@pytest.mark.parametrize(
    "response_format, bound",
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, Bound(schema={"type": "object"})),
        ({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "array"}}}, Bound({"type": "array"})),
        ({"type": "regex", "pattern": "[0-9]+"}, Bound(pattern="[0-9]+")),
    ],
)
def test_an_answer_is_bound_to_a_form(response_format: Any, bound: Bound | None) -> None:
    assert asked(response_format=response_format).bound == bound


@pytest.mark.parametrize(
    "choice, tools, forced",
    [
        (None, 2, ()),
        ("auto", 2, ()),
        ("none", 0, ()),
        ("required", 2, ("look", "stop")),
        ({"type": "function", "function": {"name": "stop"}}, 2, ("stop",)),
    ],
)
def test_tools_may_or_must_be_called(choice: Any, tools: int, forced: tuple[str, ...]) -> None:
    read_back = asked(tools=[TOOL, OTHER], tool_choice=choice)

    assert (len(read_back.tools), read_back.forced) == (tools, forced)


def test_an_answer_is_not_bound_while_it_may_call_tools() -> None:
    with pytest.raises(UnsupportedParameter, match="response_format"):
        asked(tools=[TOOL], response_format={"type": "json_object"})

    assert asked(tools=[TOOL], tool_choice="none", response_format={"type": "json_object"}).bound
