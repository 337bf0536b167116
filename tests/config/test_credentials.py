from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from modelwrap.config import ModelConfig, check_transport, check_verify, is_placeholder, key_from
from modelwrap.errors import ConfigError, MissingSecret
from modelwrap.secrets import Secret

CANARY = "sk-canary-4Y7"


def config(**keys: Any) -> ModelConfig:
    return ModelConfig(config_name="x", model_type="echo", **keys)


def test_a_key_is_taken_and_never_shown() -> None:
    full = config(
        api_key=CANARY,
        client_args={"proxy": f"http://me:{CANARY}@host", "default_headers": {"X-Api-Key": CANARY, "X-Trace": "on"}},
        generate_args={"extra_headers": {"Authorization": f"Bearer {CANARY}"}},
    )

    assert full.api_key == Secret(CANARY)
    assert full.client_args.default_headers == {"X-Api-Key": Secret(CANARY), "X-Trace": "on"}
    assert full.generate_args["extra_headers"] == {"Authorization": Secret(f"Bearer {CANARY}")}
    for shown in (repr(full), str(full), full.model_dump_json(), repr(copy.deepcopy(full)), repr(vars(full))):
        assert CANARY not in shown
    assert '"X-Api-Key":"***"' in full.model_dump_json()
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(full)


@pytest.mark.parametrize("text", ["EMPTY", "empty", "", "  "])
def test_empty_means_no_key(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)

    assert key_from(config(api_key=text), "OPENAI_API_KEY", True) is None


def test_a_key_in_the_environment_goes_to_the_provider_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {CANARY}\n")

    assert key_from(config(), "OPENAI_API_KEY", True) == Secret(CANARY)
    assert key_from(config(), "OPENAI_API_KEY", False) is None
    assert key_from(config(api_key="own"), "OPENAI_API_KEY", False) == Secret("own")


@pytest.mark.parametrize("slip", ["OPENAI_APIKEY", "OPENAI_KEY", "openai_api_key", "OPENIA_API_KEY"])
def test_a_missing_key_is_answered_with_the_variable_that_was_meant(slip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv(slip, CANARY)

    with pytest.raises(MissingSecret) as caught:
        key_from(config(), "OPENAI_API_KEY", True)

    assert str(caught.value) == f"api_key: no api_key, and OPENAI_API_KEY is not set; did you mean {slip}?"


def test_a_key_of_the_environment_that_no_header_can_carry_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary\nsk-canary")

    with pytest.raises(ConfigError) as caught:
        key_from(config(), "OPENAI_API_KEY", True)

    assert str(caught.value).startswith("OPENAI_API_KEY holds a character that no header can carry")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("missing", ["DASHSCOPE_API_KEY", "OPENROUTER_API_KEY", "AZURE_OPENAI_API_KEY"])
def test_a_missing_key_is_not_answered_with_the_key_of_another(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(missing, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)

    with pytest.raises(MissingSecret) as caught:
        key_from(config(), missing, True)

    assert str(caught.value) == f"api_key: no api_key, and {missing} is not set"


@pytest.mark.parametrize(
    "text",
    [
        *("xxx", "XXXX", "sk-xxx", "sk-xxxxxxxxxxxx", "sk-...", "sk-…", "…", "...", "***", "hf_xxx"),
        *("{YOUR_API_TOKEN}", "Bearer {YOUR_API_TOKEN}", "YOUR_API_KEY", "your-api-key", "your key", "<your key>"),
        *("sk-your-key-here", "YOUR_OPENAI_API_KEY", "api_key", "api-key-here", "my-api-key", "[key]", "insert-key"),
        *("changeme", "change_me", "replace-me", "TODO"),
        *("OPENAI_API_KEY", "$OPENAI_API_KEY", "%OPENAI_API_KEY%", "HF_TOKEN", "Bearer $HF_TOKEN"),
    ],
)
def test_a_placeholder_is_known(text: str) -> None:
    assert is_placeholder(text)
    assert config(api_key=text).placeholders


@pytest.mark.parametrize(
    "text",
    [
        "sk-proj-4bxxx9",
        "hf_QwErTy",
        "abc",
        "token-abc123",
        "not-needed",
        "gsk_1x",
        "local",
        "",
        "EMPTY",
        "xai-12345",
        "MY-KEY-1",
    ],
)
def test_a_real_key_is_no_placeholder(text: str) -> None:
    assert not is_placeholder(text)
    assert not config(api_key=text).placeholders


def test_placeholders_are_found_wherever_credentials_stand() -> None:
    found = config(api_key="xxx", organization="xxx", client_args={"default_headers": {"Authorization": "Bearer xxx"}})

    assert found.placeholders == ("api_key", "client_args.default_headers.Authorization", "organization")


@pytest.mark.parametrize(
    "value", ["sk-\ncanary", "sk-canary\x00", "sk-canäry-canary", "sk\tcanary", "sk-“canary”", 5, ["canary"]]
)
def test_what_no_header_can_carry_is_no_key(value: Any) -> None:
    with pytest.raises(ValidationError) as for_key:
        config(api_key=value)
    with pytest.raises(ValidationError) as for_header:
        config(client_args={"default_headers": {"X-Key": value}})

    assert "canary" not in str(for_key.value) + str(for_header.value)


@pytest.mark.parametrize(
    "name, words",
    [
        *((name, "this is no name of a header") for name in ("", "X Key", "X-Käy", "X-Key\r\nX-Other", "X-Key:")),
        *((name, "this header is written by the HTTP client") for name in ("Content-Length", "transfer-encoding")),
    ],
)
def test_a_header_that_no_request_may_have_is_refused_with_the_config(name: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        config(client_args={"default_headers": {name: "river"}})

    (found,) = caught.value.errors()
    assert found["loc"] == ("client_args", "default_headers")
    assert found["msg"] == f"{name!r}: {words}"


@pytest.mark.parametrize("value", ["org\n1", "örg", "org\x00"])
def test_what_goes_out_as_a_header_is_one_though_it_is_no_key(value: str) -> None:
    for keys in ({"organization": value}, {"client_args": {"project": value}}):
        with pytest.raises(ValidationError, match="no header can carry"):
            config(**keys)

    assert config(organization=" org-1\n").organization == "org-1"


@pytest.mark.parametrize(
    "url", ["https://api.example.com/v1", "http://localhost:8000/v1", "http://gpu-1/v1", "http://10.0.0.5/v1"]
)
def test_a_key_may_go_where_nobody_listens(url: str) -> None:
    check_transport(url, has_key=True, allow_http=False, where="client_args.base_url")


def test_a_key_over_plain_http_is_refused_unless_it_is_meant() -> None:
    url = "http://api.example.com/v1"

    check_transport(url, has_key=False, allow_http=False, where="client_args.base_url")
    check_transport(url, has_key=True, allow_http=True, where="client_args.base_url")
    with pytest.raises(ConfigError, match="client_args.base_url: plain http would show the key"):
        check_transport(url, has_key=True, allow_http=False, where="client_args.base_url")


def test_a_credential_in_a_url_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        check_transport(f"https://host/v1?api_key={CANARY}", has_key=True, allow_http=False, where="api_url")

    assert str(caught.value).startswith("api_url: the URL carries a credential (api_key)")
    assert CANARY not in str(caught.value)


def test_certificates_go_unchecked_in_ones_own_network_only() -> None:
    check_verify("https://localhost:8443/v1", False, "client_args.base_url")
    check_verify("https://api.example.com/v1", "ca.pem", "client_args.base_url")
    with pytest.raises(ConfigError, match="give the path of a file with the certificate to trust instead"):
        check_verify("https://api.example.com/v1", False, "client_args.base_url")
    with pytest.raises(ConfigError, match=r"client_args\.verify"):
        config(client_args={"verify": False}).client_args.connection("https://api.example.com/v1")
