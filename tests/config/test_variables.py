from __future__ import annotations

from typing import Any

import pytest

from modelwrap.config.variables import expanded
from modelwrap.errors import ConfigError, MissingSecret
from modelwrap.jsonc import Path


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST", "gpu-1")
    monkeypatch.setenv("NOTHING", "")
    monkeypatch.setenv("NESTED", "${HOST}")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    monkeypatch.delenv("OPENAI_KEY", raising=False)


def expand(value: Any) -> tuple[Any, dict[Path, ConfigError]]:
    found: dict[Path, ConfigError] = {}
    return expanded(value, found.__setitem__), found


@pytest.mark.parametrize(
    "text, result",
    [
        ("${HOST}", "gpu-1"),
        ("http://${HOST}:${PORT:-8000}/v1", "http://gpu-1:8000/v1"),
        ("${HOST:-other}", "gpu-1"),
        ("${NOTHING}", ""),
        ("${NOTHING:-default}", "default"),
        ("${UNSET_FOR_SURE:-}", ""),
        ("${UNSET_FOR_SURE:-a:-b $ c}", "a:-b $ c"),
        ("$${HOST}", "${HOST}"),
        ("$$${HOST}", "$${HOST}"),
        ("$HOST {HOST} $", "$HOST {HOST} $"),
        ("${NESTED}", "${HOST}"),
    ],
)
def test_variables_are_replaced_once(text: str, result: str) -> None:
    assert expand(text) == (result, {})


def test_variables_stand_in_values_at_any_depth_and_not_in_keys() -> None:
    value = {"${HOST}": ["${HOST}", 1, {"a": "${HOST}"}], "b": ("${HOST}",)}

    assert expand(value) == ({"${HOST}": ["gpu-1", 1, {"a": "gpu-1"}], "b": ["gpu-1"]}, {})


@pytest.mark.parametrize("text", ["${", "${}", "${HOST", "${1}", "${HOST-x}", "${A:-${B}}", "${HOST:?}", "${ HOST }"])
def test_what_only_looks_like_a_variable_is_a_mistake(text: str) -> None:
    value, found = expand({"a": text})

    assert value == {"a": text}
    assert "the characters themselves are $${" in str(found["a",])


def test_an_unset_variable_is_answered_with_the_one_that_was_meant() -> None:
    _, found = expand({"api_key": "${OPENAI_KEY}", "model": "${UTTERLY_UNKNOWN_NAME}"})

    assert type(found["api_key",]) is MissingSecret
    assert str(found["api_key",]) == "${OPENAI_KEY} is not set; did you mean OPENAI_API_KEY?"
    assert type(found["model",]) is ConfigError
    assert str(found["model",]) == (
        "${UTTERLY_UNKNOWN_NAME} is not set; set it, or give a default: ${UTTERLY_UNKNOWN_NAME:-…}"
    )


def test_a_count_of_tokens_is_no_secret() -> None:
    _, found = expand({"generate_args": {"max_tokens": "${UTTERLY_UNKNOWN_NAME}"}})

    assert type(found["generate_args", "max_tokens"]) is ConfigError


def test_a_value_without_a_bottom_is_a_mistake() -> None:
    endless: dict[str, Any] = {}
    endless["a"] = endless

    _, found = expand(endless)

    assert str(found["a",]) == "this is nested more than 64 deep"
