"""Configs of models at a provider: what they say of the model wins over the table, and who is gone is told."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

import modelwrap
from modelwrap.errors import ConfigError, ModelwrapWarning
from modelwrap.models import hosted


def config(**keys: Any) -> dict[str, Any]:
    return {"config_name": "m", "model_type": "openai", "model": "gpt-5.5", "api_key": "some-key-of-mine", **keys}


def test_what_a_config_says_of_a_model_wins_over_the_table() -> None:
    model = modelwrap.load(config(unsupported="drop", capabilities={"sampling": {"temperature": [0, 1]}}))["m"]

    explained = model.explain("Hi", temperature=0.5, top_p=0.5)

    assert explained.body["temperature"] == 0.5
    assert "top_p" not in explained.body
    assert [str(change) for change in explained.changes] == ["top_p: dropped, gpt-5.5 refuses it"]


def test_what_is_left_out_is_warned_of_where_the_config_wants_that() -> None:
    model = modelwrap.load(config(unsupported="warn"))["m"]

    with pytest.warns(ModelwrapWarning, match="m: stop: dropped, gpt-5.5 refuses it"):
        model.explain("Hi", stop=["."])


def test_a_guess_about_a_model_that_no_row_names_is_told() -> None:
    model = modelwrap.load(config(model="gpt-9"))["m"]

    changed, unchanged = model.explain("Hi", max_tokens=5), model.explain("Hi", max_completion_tokens=5)

    assert [(change.kind, change.what) for change in changed.changes] == [
        ("defaulted", "model"),
        ("renamed", "max_tokens"),
    ]
    assert unchanged.changes == ()


def test_what_a_config_states_is_no_guess() -> None:
    capabilities = {"max_tokens_name": "max_completion_tokens"}
    at_openai = modelwrap.load(config(model="gpt-9", capabilities=capabilities))["m"]
    elsewhere = modelwrap.load(
        config(model="x", capabilities=capabilities, client_args={"base_url": "http://localhost:8000/v1"})
    )["m"]

    for model in (at_openai, elsewhere):
        assert [change.kind for change in model.explain("Hi", max_tokens=5).changes] == ["renamed"]


def test_every_mistake_in_capabilities_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    path.write_text(
        """{"config_name": "m", "model_type": "openai", "capabilities": {
            "sampling": {"temprature": true},
            "thinking.styl": "none",
            "stop": "no"
        }}"""
    )

    with pytest.raises(ConfigError) as caught:
        modelwrap.load(path)

    said = str(caught.value)
    assert f'{path}:2:40: capabilities.sampling.temprature: unknown key; did you mean "sampling.temperature"?' in said
    assert f'{path}:3:30: capabilities.thinking.styl: unknown key; did you mean "thinking.style"?' in said
    assert f"{path}:4:21: capabilities.stop: must be true, false," in said


def test_a_like_that_no_row_names_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    path.write_text(
        """{"config_name": "m", "model_type": "openai", "api_key": "some-key-of-mine",
            "capabilities": {"like": "gpt5.5"}}"""
    )

    with pytest.raises(ConfigError, match=r"models\.json:2:38: capabilities\.like: .*did you mean 'gpt-5\.5'\?"):
        modelwrap.load(path)


@pytest.mark.parametrize("model_type", ["openai", "openai_completion", "openai_dall_e"])
def test_a_model_that_is_gone_loads_with_one_warning(model_type: str) -> None:
    with pytest.warns(ModelwrapWarning, match="gpt-4 was retired on 2026-10-23") as caught:
        modelwrap.load(config(model_type=model_type, model="gpt-4"))

    assert len(caught) == 1


def test_a_model_is_gone_from_its_date_on(monkeypatch: pytest.MonkeyPatch) -> None:
    modelwrap.load(config(model="gpt-4.1"))
    monkeypatch.setattr(hosted, "today", lambda: date(2027, 1, 14))

    with pytest.warns(ModelwrapWarning, match="gpt-4.1 was retired on 2027-01-14"):
        modelwrap.load(config(model="gpt-4.1"))


def test_a_config_may_say_that_a_model_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    model = modelwrap.load(config(model="gpt-4", capabilities={"status": None, "retired_on": None}))["m"]

    assert model.explain("Hi").body["model"] == "gpt-4"


def test_a_model_of_that_name_elsewhere_is_not_judged() -> None:
    model = modelwrap.load(config(model="gpt-4", client_args={"base_url": "http://localhost:8000/v1"}))["m"]

    assert model.explain("Hi").changes == ()
