from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from modelwrap.config import ClientArgs, Limits, ModelConfig
from modelwrap.secrets import Secret
from modelwrap.wire.http import Connection, Timeouts


def test_a_config_needs_a_name_and_a_type_only() -> None:
    config = ModelConfig(config_name="gpt-4", model_type="openai")

    assert config.model == "gpt-4"
    assert config.client_args == ClientArgs()
    assert (config.unsupported, config.allow_http, config.stream, config.api_key) == ("error", False, False, None)


@pytest.mark.parametrize(
    "timeout, expected",
    [
        (30, Timeouts(total=30)),
        ("2.5", Timeouts(total=2.5)),
        ({"connect": 1, "idle": 5.5}, Timeouts(connect=1, idle=5.5)),
        ({}, Timeouts()),
    ],
)
def test_a_timeout_is_seconds_in_all_or_limits_by_name(timeout: Any, expected: Timeouts) -> None:
    args = ClientArgs.model_validate({"timeout": timeout})

    assert args.timeouts() == expected


def test_limits_lie_over_the_model_types_own() -> None:
    args = ClientArgs.model_validate({"timeout": {"idle": 5}})

    assert args.timeouts(Timeouts(total=30)) == Timeouts(idle=5, total=30)


@pytest.mark.parametrize("timeout", [0, -1, True, "soon", float("nan"), float("inf"), {"connect": 0}, {"read": 5}, []])
def test_a_timeout_that_is_none_is_refused(timeout: Any) -> None:
    with pytest.raises(ValidationError):
        ClientArgs.model_validate({"timeout": timeout})


def test_flags_and_numbers_may_come_as_text_from_variables() -> None:
    args = ClientArgs.model_validate({"max_retries": "3", "verify": "false"})

    assert (args.max_retries, args.verify) == (3, False)


def test_certificates_are_trusted_from_a_file_that_is_there(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("certificates")

    args = ClientArgs.model_validate({"verify": str(bundle), "proxy": "http://host:1"})

    assert args.connection("https://api.example.com") == Connection(Secret("http://host:1"), str(bundle))
    for wrong in (str(tmp_path / "other.pem"), 5):
        with pytest.raises(ValidationError):
            ClientArgs.model_validate({"verify": wrong})


def test_no_proxy_at_all_can_be_asked_for() -> None:
    args = ClientArgs.model_validate({"proxy": False})

    assert args.connection("https://api.example.com").proxy == Secret("")


@pytest.mark.parametrize("proxy", ["host:3128", "http://", "http://host:99999", "http://host:x", "http://[::1"])
def test_a_proxy_that_is_none_is_refused(proxy: str) -> None:
    with pytest.raises(ValidationError):
        ClientArgs.model_validate({"proxy": proxy})


def test_an_empty_proxy_is_the_same_as_none_given() -> None:
    assert ClientArgs.model_validate({"proxy": ""}).connection("https://api.example.com") == Connection()


@pytest.mark.parametrize("part", [ModelConfig, ClientArgs, Limits])
def test_every_key_is_described(part: type[BaseModel]) -> None:
    assert [name for name, field in part.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    "query, words",
    [
        ({"api_key": "canary"}, "a credential does not belong in a URL"),
        ({"a": [1]}, "must be a text or a number"),
        ({"a": True}, "must be a text or a number"),
    ],
)
def test_a_query_of_every_call_is_checked_with_the_config(query: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ModelConfig(config_name="gpt", model_type="openai", generate_args={"extra_query": query})

    (found,) = caught.value.errors()
    assert words in found["msg"]
    assert "canary" not in str(caught.value)
