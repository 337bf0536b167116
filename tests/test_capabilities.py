"""What the table says of models and hosts."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest

from modelwrap.capabilities import Traits, traits_for

OPENAI = "https://api.openai.com/v1"


def rows() -> list[dict[str, Any]]:
    table = json.loads(files("modelwrap").joinpath("data/capabilities.json").read_text(encoding="utf-8"))
    providers = table["providers"].values()
    return [*providers, *(row for provider in providers for row in provider["models"])]


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
    "base_url", ["http://localhost:8000/v1", "https://api.openai.com.example.com/v1", "https://notapi.openai.com/v1"]
)
def test_other_hosts_get_what_was_written(base_url: str) -> None:
    assert traits_for("gpt-5", base_url) == Traits()


def test_openai_neither_takes_reasoning_back_nor_answers_in_think_tags() -> None:
    traits = traits_for("gpt-5", OPENAI)

    assert not traits.replay_reasoning
    assert not traits.think_tags


def test_mistral_refuses_reasoning_fields_that_come_back() -> None:
    assert not traits_for("magistral-medium-latest", "https://api.mistral.ai/v1").replay_reasoning
    assert traits_for("deepseek-reasoner", "https://api.deepseek.com/v1").replay_reasoning


def test_every_row_names_its_source_and_date_and_only_known_traits() -> None:
    for row in rows():
        assert row["source"]
        assert row["as_of"] >= "2026"
        assert Traits(**row["traits"]) is not None
        assert row.get("match") or row.get("hosts")


def test_no_pattern_is_claimed_by_an_earlier_row() -> None:
    table = json.loads(files("modelwrap").joinpath("data/capabilities.json").read_text(encoding="utf-8"))

    for provider in table["providers"].values():
        for row in provider["models"]:
            expected = {**provider["traits"], **row["traits"]}
            for pattern in row["match"]:
                traits = traits_for(pattern.replace("*", "x"), f"https://{provider['hosts'][0]}/v1")
                assert traits == Traits(**expected), pattern
