"""What the table says of models and hosts, how it is asked, and that its rows are in order."""

from __future__ import annotations

import json
from datetime import date
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from modelwrap.capabilities import Facts, Traits, mistakes, traits_for
from modelwrap.capabilities import table as rows_of_models
from modelwrap.capabilities.keys import CONDITIONS, KEYS, flat
from modelwrap.capabilities.table import _matches, _read
from modelwrap.errors import ConfigError

OPENAI = "https://api.openai.com/v1"
ANTHROPIC = "https://api.anthropic.com"
FOLDER = Path(str(files("modelwrap").joinpath("data/capabilities")))
PROVIDERS = sorted(path.stem for path in FOLDER.glob("*.json") if path.stem != "hosts")
AS_OF = date(2026, 11, 20)


def table(provider: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((FOLDER / f"{provider}.json").read_text(encoding="utf-8"))["rows"]
    return rows


ROWS = [
    pytest.param(provider, row, id=f"{provider} {row['match'][0]}") for provider in PROVIDERS for row in table(provider)
]


def claude(model: str, **overrides: Any) -> Facts:
    return traits_for(model, ANTHROPIC, provider="anthropic", overrides=overrides).facts


# How a model is spoken to.


@pytest.mark.parametrize(
    "model",
    [
        "o1",
        "o1-2024-12-17",
        "o3-mini",
        "o4-mini",
        "gpt-5",
        "gpt-5-mini",
        "gpt-5.4-mini-2026-03-17",
        "gpt-6.1-sol",
        "gpt-9",
    ],
)
@pytest.mark.parametrize("base_url", [OPENAI, "https://eu.api.openai.com/v1"])
def test_reasoning_and_unknown_models_of_openai_want_the_new_name(model: str, base_url: str) -> None:
    assert traits_for(model, base_url).token_limit == "max_completion_tokens"


@pytest.mark.parametrize(
    "model",
    [
        *(
            "gpt-3.5-turbo",
            "gpt-4",
            "gpt-4-turbo",
            "gpt-4o",
            "gpt-4o-mini-2024-07-18",
            "gpt-4.1-nano",
            "chatgpt-4o-latest",
        ),
        *("gpt-audio", "gpt-4o-audio-preview", "ft:gpt-4o-mini-2024-07-18:company::abc123", "davinci-002"),
    ],
)
def test_models_of_openai_that_take_both_names_get_what_was_written(model: str) -> None:
    assert traits_for(model, OPENAI).token_limit == "as_written"


def test_a_fine_tuned_model_speaks_as_its_base() -> None:
    assert traits_for("ft:o4-mini-2025-04-16:company::abc123", OPENAI).token_limit == "max_completion_tokens"


@pytest.mark.parametrize(
    "base_url",
    [
        *("https://api.deepseek.com", "https://api.mistral.ai/v1", "https://api.x.ai/v1", "https://api.moonshot.ai/v1"),
        "https://api.z.ai/api/paas/v4",
    ],
)
def test_some_providers_know_the_old_name_only(base_url: str) -> None:
    assert traits_for("a-new-model", base_url).token_limit == "max_tokens"


@pytest.mark.parametrize(
    "base_url", ["http://localhost:8000/v1", "https://api.openai.com.example.com/v1", "https://notapi.openai.com/v1"]
)
def test_of_other_hosts_nothing_is_known(base_url: str) -> None:
    traits = traits_for("gpt-5", base_url)

    assert traits == Traits()
    assert not traits.facts.assumption


def test_nothing_is_assumed_of_a_deployment_of_azure_that_does_not_name_its_model() -> None:
    azure = "https://company.openai.azure.com/openai/v1"

    assert traits_for("our-chat", azure).token_limit == "as_written"
    assert traits_for("gpt-5", azure).token_limit == "max_completion_tokens"


def test_openai_neither_takes_reasoning_back_nor_answers_in_think_tags() -> None:
    traits = traits_for("gpt-5", OPENAI)

    assert not traits.replay_reasoning
    assert not traits.think_tags


def test_mistral_refuses_reasoning_fields_that_come_back() -> None:
    assert not traits_for("magistral-medium-latest", "https://api.mistral.ai/v1").replay_reasoning
    assert traits_for("deepseek-flash", "https://api.deepseek.com").replay_reasoning


def test_groq_takes_reasoning_back_under_its_own_name_and_from_reasoning_models_only() -> None:
    base_url = "https://api.groq.com/openai/v1"

    assert traits_for("openai/gpt-oss-120b", base_url).reasoning_field == "reasoning"
    assert traits_for("openai/gpt-oss-120b", base_url).replay_reasoning
    assert not traits_for("llama-3.3-70b-versatile", base_url).replay_reasoning


# What a model accepts.


def test_facts_come_from_the_model_over_its_provider() -> None:
    facts = claude("claude-opus-5-20260701")

    assert facts.model_known
    assert facts.get("thinking.style") == "adaptive"
    assert facts.get("thinking.disable_with") == {"type": "disabled"}
    assert facts.get("thinking.levels") == ("low", "medium", "high", "xhigh", "max")
    assert facts.get("max_output") == 128000
    assert facts.get("seed") is False
    assert facts.source
    assert facts.as_of == "2026-11-20"
    assert facts.confidence == "high"
    assert not facts.assumption


def test_of_an_unknown_model_only_what_holds_for_its_provider_is_assumed() -> None:
    facts = claude("claude-next-7")

    assert not facts.model_known
    assert facts.get("seed") is False
    assert facts.get("sampling.temperature") is None
    assert not facts.refuses("sampling.temperature", 0.5)
    assert facts.assumption == (
        "no row of the capability table names claude-next-7; what holds for anthropic is assumed"
    )


def test_a_fact_that_does_not_exist_is_a_mistake_of_the_one_who_asks() -> None:
    with pytest.raises(KeyError, match=r"thinking\.stile"):
        claude("claude-opus-5").get("thinking.stile")


def test_what_was_given_out_can_be_changed_without_harm() -> None:
    claude("claude-opus-5").get("thinking.disable_with")["type"] = "enabled"

    assert claude("claude-opus-5").get("thinking.disable_with") == {"type": "disabled"}


@pytest.mark.parametrize(
    "model, key, value, refused",
    [
        ("claude-opus-5", "sampling.temperature", 0.5, True),
        ("claude-opus-5", "sampling.temperature", 1, False),
        ("claude-opus-5", "sampling.temperature", None, False),
        ("claude-opus-5", "sampling.top_p", 1, True),
        ("claude-sonnet-4-5", "sampling.temperature", 0.5, False),
        ("claude-sonnet-4-5", "sampling.temperature", 1.5, True),
        ("claude-sonnet-4-5", "sampling.temperature", "warm", False),
        ("claude-sonnet-4-5", "sampling.top_p", 0.1, False),
        ("claude-opus-5-5", "forced_tool_choice", True, True),
        ("claude-next-7", "forced_tool_choice", True, False),
    ],
)
def test_refusals_depend_on_the_value(model: str, key: str, value: Any, refused: bool) -> None:
    assert claude(model).refuses(key, value) is refused


def test_without_a_value_any_but_the_default_is_meant() -> None:
    assert claude("claude-opus-5").refuses("sampling.temperature")
    assert not claude("claude-sonnet-4-5").refuses("sampling.temperature")


def test_what_is_ignored_is_not_refused() -> None:
    facts = traits_for("deepseek-flash", "https://api.deepseek.com").facts

    assert facts.ignores("sampling.temperature")
    assert not facts.refuses("sampling.temperature", 0.5)
    assert facts.reason("sampling.temperature") == "deepseek-flash takes it without effect"


def test_a_rejection_is_a_refusal() -> None:
    facts = claude("claude-sonnet-4-5").under(params=["temperature", "top_p"])

    assert facts.refuses("request")
    assert facts.refuses("later_system")
    assert facts.reason("later_system") == "claude-sonnet-4-5 refuses it"
    assert claude("claude-sonnet-5").ignores("later_system")


def test_what_is_certain_is_stated_by_a_config_or_by_a_good_row_of_the_model() -> None:
    assert claude("claude-opus-5").certain("prefill")
    assert not claude("claude-mythos-preview").certain("prefill")
    assert not claude("claude-next-7").certain("prefill")
    assert claude("claude-next-7", prefill=False).certain("prefill")


def test_a_number_is_the_one_value_that_is_taken() -> None:
    kimi = traits_for("kimi-k2.6", "https://api.moonshot.ai/v1").facts.under(thinking=False)

    assert not kimi.refuses("sampling.temperature", 0.6)
    assert kimi.refuses("sampling.temperature", 1)
    assert claude("x", **{"sampling.temperature": 0.6}).reason("sampling.temperature") == "x takes nothing but 0.6"


def test_a_row_of_no_model_is_asked_in_vain_for_a_fact_under_another_name() -> None:
    with pytest.raises(KeyError):
        Facts().refuses("temperature", 0)


def test_reasons_are_words_for_people() -> None:
    facts = claude("claude-opus-5")
    thinking = claude("claude-sonnet-4-5").under(thinking="budget")

    assert facts.reason("sampling.temperature") == "claude-opus-5 takes nothing but the default, 1"
    assert facts.reason("sampling.top_p") == "claude-opus-5 refuses it"
    assert claude("claude-sonnet-4-5").reason("sampling.temperature") == "claude-sonnet-4-5 takes it from 0 to 1"
    assert thinking.reason("sampling.temperature").startswith("claude-sonnet-4-5: temperature other than 1 is refused")


# Conditions of the finished request.


def test_thinking_takes_sampling_away() -> None:
    facts = claude("claude-sonnet-4-5")

    assert not facts.under().refuses("sampling.temperature", 0)
    assert not facts.under(thinking=False).refuses("sampling.temperature", 0)
    assert facts.under(thinking=True).refuses("sampling.temperature", 0)


def test_a_budget_and_a_forced_tool_exclude_each_other() -> None:
    named = {"type": "function", "function": {"name": "weather"}}

    def asked(model: str, thinking: Any, tool_choice: Any) -> Any:
        return claude(model).under(thinking=thinking, tools=True, tool_choice=tool_choice).get("request")

    assert asked("claude-sonnet-4-5", True, named) == "rejected"
    assert asked("claude-sonnet-4-5", "budget", "required") == "rejected"
    assert asked("claude-sonnet-4-5", "budget", "auto") is None
    assert asked("claude-sonnet-4-5", False, "required") is None
    assert asked("claude-sonnet-4-6", "on", "required") is None
    assert asked("claude-sonnet-4-6", "budget", "any") == "rejected"


def test_parameters_may_exclude_each_other() -> None:
    facts = claude("claude-sonnet-4-5")

    assert facts.under(params=["temperature"]).get("request") is None
    assert facts.under(params=["top_p", "temperature"]).get("request") == "rejected"
    assert "only one of" in facts.under(params=["top_p", "temperature"]).reason("request")


def test_effort_that_is_not_set_is_the_default_of_the_model() -> None:
    reasons, does_not = (traits_for(model, OPENAI).facts for model in ("gpt-5.6-sol", "gpt-5.4"))

    assert reasons.under(endpoint="chat", tools=True).get("request") == "rejected"
    assert reasons.under(endpoint="chat", tools=True, effort="none").get("request") is None
    assert does_not.under(endpoint="chat", tools=True).get("request") is None
    assert not does_not.under().refuses("sampling.temperature", 0)
    assert does_not.under(effort="low").refuses("sampling.temperature", 0)


def test_an_endpoint_has_its_own_names() -> None:
    facts = traits_for("gpt-5.4", OPENAI).facts

    assert facts.under(endpoint="chat").get("max_tokens_name") == "max_completion_tokens"
    assert facts.under(endpoint="responses").get("max_tokens_name") == "max_output_tokens"


@pytest.mark.parametrize(
    "base_url, responses, own_parts",
    [
        (OPENAI, True, ""),
        ("https://example-resource.openai.azure.com/openai/v1", True, ""),
        ("https://api.x.ai/v1", True, ""),
        ("https://generativelanguage.googleapis.com/v1beta/openai", False, "google"),
        ("https://europe-west1-aiplatform.googleapis.com/v1", False, "google"),
        ("https://api.mistral.ai/v1", False, ""),
        ("http://localhost:8000/v1", False, ""),
    ],
)
def test_hosts_have_facts_of_their_own(base_url: str, responses: bool, own_parts: str) -> None:
    traits = traits_for("some-model", base_url)

    assert (traits.responses, traits.own_parts) == (responses, own_parts)


def test_a_config_wins_over_what_is_known_of_its_host() -> None:
    assert not traits_for("gpt-5.5", OPENAI, overrides={"wire.responses": False}).responses
    assert traits_for("gpt-5.5", "http://localhost:8000/v1", overrides={"wire": {"responses": True}}).responses


def test_platforms_differ() -> None:
    vertex = traits_for("gemini-2.5-pro", "https://europe-west1-aiplatform.googleapis.com/v1", provider="gemini").facts
    gemini = traits_for("gemini-2.5-pro", "https://generativelanguage.googleapis.com", provider="gemini").facts

    assert gemini.under().get("logprobs") is False
    assert vertex.under().get("logprobs") is True
    assert claude("claude-opus-5").get("later_system") == "kept"
    foundry = traits_for("claude-opus-5", "https://x.services.ai.azure.com/anthropic", provider="anthropic")
    assert foundry.facts.get("later_system") == "rejected"


def test_a_row_of_the_platform_itself_is_taken_as_it_is() -> None:
    vertex = "https://europe-west1-aiplatform.googleapis.com/v1"

    facts = traits_for("text-embedding-005", vertex, provider="gemini").facts

    assert facts.get("retired_on") == "2027-04-01"
    assert not traits_for("text-embedding-005", "https://example.com", provider="gemini").facts.model_known


def test_names_of_platforms_are_understood() -> None:
    bedrock = "https://bedrock-runtime.us-east-1.amazonaws.com"

    facts = traits_for("us.anthropic.claude-opus-5-v1:0", bedrock, provider="anthropic").facts

    assert facts.get("thinking.style") == "adaptive"


# Retirement.


@pytest.mark.parametrize(
    "provider, model, today, said",
    [
        ("openai", "gpt-4", date(2026, 11, 20), "gpt-4 was retired on 2026-10-23"),
        ("openai", "gpt-5-mini", date(2026, 12, 10), ""),
        ("openai", "gpt-5-mini", date(2026, 12, 11), "gpt-5-mini was retired on 2026-12-11"),
        ("openai", "gpt-4o-audio-preview", date(2027, 1, 1), ""),
        ("gemini", "gemini-2.5-pro", date(2026, 11, 30), ""),
        (
            "gemini",
            "gemini-2.5-pro",
            date(2026, 12, 1),
            "gemini-2.5-pro answers from gemini-3.8-flash since 2026-12-01",
        ),
        ("xai", "grok-3", date(2026, 11, 20), "grok-3 answers from grok-4.3 since 2026-05-15"),
        ("xai", "grok-latest", date(2026, 11, 20), ""),
        ("anthropic", "claude-opus-5", date(2026, 11, 20), ""),
    ],
)
def test_a_model_that_is_gone_or_answers_from_another_says_so(
    provider: str, model: str, today: date, said: str
) -> None:
    assert traits_for(model, "https://example.com", provider=provider).facts.retirement(today) == said


def test_a_platform_with_dates_of_its_own_is_not_judged_by_those_of_the_provider() -> None:
    bedrock = "https://bedrock-runtime.us-east-1.amazonaws.com"

    facts = traits_for("anthropic.claude-opus-4-1", bedrock, provider="anthropic").facts

    assert facts.model_known
    assert not facts.retirement(AS_OF)


# What a config says over the table.


@pytest.mark.parametrize(
    "overrides",
    [{"sampling": {"temperature": True}}, {"sampling.temperature": True}],
)
def test_a_config_wins_over_the_table(overrides: dict[str, Any]) -> None:
    facts = claude("claude-opus-5", **overrides)

    assert not facts.refuses("sampling.temperature", 0)
    assert facts.refuses("sampling.top_p", 0.5)


def test_a_config_wins_over_conditions_too() -> None:
    facts = claude("claude-sonnet-4-5", **{"sampling.temperature": True, "request": None})

    asked = facts.under(thinking="budget", tool_choice="required", params=["temperature", "top_p"])

    assert not asked.refuses("sampling.temperature", 0)
    assert asked.get("request") is None


def test_null_in_a_config_means_that_nobody_knows() -> None:
    assert claude("claude-opus-5", prefill=None).get("prefill") is None


def test_a_config_may_take_the_row_of_another_model() -> None:
    facts = claude("our-claude", like="claude-opus-5", prefill=True)

    assert facts.model == "our-claude"
    assert facts.model_known
    assert facts.get("thinking.style") == "adaptive"
    assert facts.get("prefill") is True


def test_a_model_behind_a_gateway_may_be_like_one_of_any_provider() -> None:
    traits = traits_for("prod", "http://gateway/v1", overrides={"like": "gpt-5"})

    assert traits.token_limit == "max_completion_tokens"
    assert traits.facts.provider == "openai"


def test_overrides_alone_are_facts_of_a_host_that_nobody_knows() -> None:
    traits = traits_for(
        "prod", "http://gateway/v1", overrides={"max_tokens_name": "max_tokens", "wire.think_tags": False}
    )

    assert traits.token_limit == "max_tokens"
    assert not traits.think_tags


@pytest.mark.parametrize(
    "like, provider, said",
    [
        ("claud-opus-5-5", "anthropic", "names 'claud-opus-5-5'; did you mean 'claude-opus-5-5'?"),
        ("zzz", None, "names 'zzz'"),
    ],
)
def test_a_like_that_no_row_names_is_an_error(like: str, provider: str | None, said: str) -> None:
    with pytest.raises(ConfigError, match=r"capabilities\.like") as caught:
        traits_for("x", "http://gateway/v1", provider=provider, overrides={"like": like})

    assert str(caught.value).endswith(said)


@pytest.mark.parametrize(
    "given, path, said",
    [
        ({"samplng": {"temperature": True}}, ("samplng",), "unknown key; known are like, status"),
        ({"sampling": {"temprature": True}}, ("sampling", "temprature"), 'did you mean "sampling.temperature"?'),
        ({"thinking.styl": "none"}, ("thinking.styl",), 'did you mean "thinking.style"?'),
        ({"sampling": True}, ("sampling",), "must be an object"),
        ({"stop": "no"}, ("stop",), 'must be true, false, "ignored"'),
        ({"max_output": True}, ("max_output",), "must be a whole number, or null"),
        ({"later_system": "yes"}, ("later_system",), "must be one of kept, ignored, rejected, or null"),
        ({"retired_on": "soon"}, ("retired_on",), "must be a date"),
        ({"like": 5}, ("like",), "must be the name of a model"),
        ({"inputs": "text"}, ("inputs",), "must be a list of texts"),
    ],
)
def test_mistakes_in_a_config_are_named_with_what_was_meant(
    given: dict[str, Any], path: tuple[str, ...], said: str
) -> None:
    [(place, message)] = mistakes(given)

    assert place == path
    assert said in message


@pytest.mark.parametrize(
    "name, pattern, fits",
    [
        ("gpt-5", "gpt-5", True),
        ("gpt-5-mini", "gpt-5", False),
        ("gpt-5-mini", "gpt-5*", True),
        ("gpt-5", "gpt-5-*", False),
        ("o3-deep-research-1", "o*-deep-research*", True),
        ("gpt-tts", "gpt-*-tts*", False),
        ("gpt--tts", "gpt-*-tts*", True),
        ("aba", "ab*ba", False),
        ("abba", "ab*ba", True),
        ("a-x-b", "*-x-*", True),
        ("a-b", "*-x-*", False),
        ("a.b", "a?b", False),
        ("", "*", True),
    ],
)
def test_patterns_know_one_star(name: str, pattern: str, fits: bool) -> None:
    assert _matches(name, pattern) is fits


def test_only_the_file_of_the_provider_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(rows_of_models, "_read", lambda name: read.append(name) or _read(name))

    traits_for("claude-opus-5", ANTHROPIC, provider="anthropic")
    traits_for("gpt-5", "http://localhost:8000/v1")

    assert read == ["hosts", "anthropic", "hosts"]


# The rows themselves.


@pytest.mark.parametrize("provider, row", ROWS)
def test_every_row_names_its_source_and_date_and_only_known_facts(provider: str, row: dict[str, Any]) -> None:
    names = {"match", "kind", "platform", "facts", "conditions", "notes", "source", "as_of", "confidence"}

    assert row["source"]
    assert date.fromisoformat(row["as_of"]) <= AS_OF
    assert row["confidence"] in ("high", "medium", "low")
    assert row.get("kind", "chat") in ("chat", "embedding", "image", "other", "default", "overlay")
    assert row.keys() <= names
    assert not list(mistakes(row["facts"]))
    for condition in row.get("conditions", ()):
        assert condition.keys() == {"when", "set", "why"}
        assert condition["when"].keys() <= set(CONDITIONS)
        assert not list(mistakes(condition["set"]))
        assert flat(condition["set"]).keys() <= KEYS.keys()


@pytest.mark.parametrize("provider, row", ROWS)
def test_every_name_finds_its_own_row(provider: str, row: dict[str, Any]) -> None:
    if row.get("kind") in ("default", "overlay"):
        return
    for name in row["match"]:
        rows = [other for other in table(provider) if other.get("kind") not in ("default", "overlay")]
        exact = [other for other in rows if name in other["match"]]
        assert exact == [row], name
        if "*" in name:
            example = name.replace("*", "0")
            fitting = [other for other in rows if any(fnmatchcase(example, pattern) for pattern in other["match"])]
            assert fitting[0] == row, f"{example} is claimed by {fitting[0]['match']}"


@pytest.mark.parametrize("provider, row", [row for row in ROWS if row.values[1].get("kind") == "other"])
def test_a_stop_row_keeps_what_is_no_chat_model_from_the_families(provider: str, row: dict[str, Any]) -> None:
    for name in row["match"]:
        facts = traits_for(name.replace("*", "x"), "https://example.com", provider=provider).facts
        assert facts.kind == "other"
        assert not facts.values


@pytest.mark.parametrize("provider, row", ROWS)
def test_a_date_that_has_passed_carries_a_status(provider: str, row: dict[str, Any]) -> None:
    gone = row["facts"].get("retired_on")

    if gone and gone <= AS_OF.isoformat():
        assert row["facts"]["status"] in ("retired", "redirected", "disputed")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_is_reached_by_a_host_or_by_a_model_class(provider: str) -> None:
    hosts = json.loads((FOLDER / "hosts.json").read_text(encoding="utf-8"))

    assert provider in {"anthropic", "gemini", "bedrock"} | {known.get("provider") for known in hosts}


def test_every_fact_stands_in_the_documentation() -> None:
    page = (Path(__file__).parent.parent / "docs" / "capabilities.md").read_text(encoding="utf-8")

    assert [key for key in KEYS if f"| `{key}` |" not in page] == []
