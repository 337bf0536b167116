"""Hosts that speak OpenAI's format, by name: each row of the table is in order, and does what it says."""

from __future__ import annotations

from typing import Any

import pytest

import modelwrap
from modelwrap.capabilities import Preset, presets, table
from modelwrap.errors import ConfigError, MissingSecret
from modelwrap.wire.urls import host_of, is_private_host
from tests.colours import Colour
from tests.loopback import Loopback, json_answer

PRESETS = list(presets().values())
HOSTED = [preset for preset in PRESETS if preset.key]
OWN = [preset for preset in PRESETS if not preset.key]

# What people ask for first.
PROMISED = """
vllm sglang lmdeploy fastchat ollama lmstudio llama_cpp_server tgi deepseek groq mistral openrouter together fireworks
xai dashscope zhipuai moonshot yi nvidia huggingface modelscope github perplexity cerebras siliconflow volcengine
"""


def load(preset: str, **keys: Any) -> modelwrap.Model:
    return modelwrap.load({"config_name": "it", "model_type": "openai", "model": "m", "preset": preset, **keys})["it"]


def test_the_hosts_that_people_ask_for_are_there() -> None:
    assert set(PROMISED.split()) <= set(presets())


@pytest.mark.parametrize("preset", HOSTED, ids=lambda preset: preset.name)
def test_a_hosted_preset_gives_address_and_key(preset: Preset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(preset.key, "k3y-of-the-host")

    model = load(preset.name)
    explained = model.explain("Hi")

    assert explained.url == f"{preset.base_url}/chat/completions"
    assert explained.headers["authorization"] == "***"
    assert explained.body["messages"] == [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize("preset", HOSTED, ids=lambda preset: preset.name)
def test_a_hosted_preset_names_the_variable_that_is_missing(preset: Preset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(preset.key, raising=False)

    with pytest.raises(MissingSecret, match=f"no api_key, and {preset.key} is not set"):
        load(preset.name)


@pytest.mark.parametrize("preset", OWN, ids=lambda preset: preset.name)
def test_a_server_of_ones_own_wants_no_key(preset: Preset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-4Y7")

    explained = load(preset.name).explain("Hi")

    assert explained.url == f"{preset.base_url}/chat/completions"
    assert "authorization" not in explained.headers


def test_every_row_is_in_order() -> None:
    rows = [row for row in table.hosts() if "preset" in row]
    names = [row["preset"] for row in rows]

    assert len(names) == len(set(names))
    for row in rows:
        assert row.keys() <= {"preset", "base_url", "key", "hosts", "provider", "platform", "facts"}
        assert table.host(host_of(row["base_url"])) == (row if "key" in row else {})
        assert row["base_url"].startswith("https://") or is_private_host(host_of(row["base_url"]))


def test_a_host_that_the_table_names_gets_its_own_key_without_a_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-4Y7")
    monkeypatch.setenv("GROQ_API_KEY", "gsk-4Y7")
    config = {"config_name": "it", "model_type": "openai", "client_args": {"base_url": "https://api.groq.com/openai"}}

    model = modelwrap.load(config)["it"]

    assert model.model.endpoint.headers["authorization"].reveal() == "Bearer gsk-4Y7"  # type: ignore[attr-defined] # below the retry


def test_the_key_of_a_preset_goes_to_its_own_host_only(monkeypatch: pytest.MonkeyPatch, server: Loopback) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", "k3y-of-the-host")
    server.script(json_answer({"choices": [{"message": {"content": "fine"}}]}))

    reply = load("deepseek", client_args={"base_url": server.base_url})("Hi")

    assert reply.text == "fine"
    assert "authorization" not in server.asked[0].headers


def test_a_preset_that_nobody_knows_is_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(ConfigError, match='preset: unknown; did you mean "deepseek"'):
        load("deepsek")


def test_a_preset_in_the_place_of_a_model_type_is_told_where_it_belongs() -> None:
    with pytest.raises(
        ConfigError, match="model_type: there is no model type 'groq'; it is a preset: write \"openai\""
    ):
        modelwrap.load({"config_name": "it", "model_type": "groq", "model": "m"})


def test_one_row_is_all_that_a_new_host_needs(
    colour: Colour, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {
        "preset": "newcomer",
        "base_url": server.base_url,
        "key": "NEWCOMER_KEY",
        "hosts": ["127.0.0.1"],
        "facts": {"max_tokens_name": "max_completion_tokens", "wire.replay_reasoning": False},
    }
    monkeypatch.setattr(table, "hosts", lambda: [row])
    monkeypatch.setenv("NEWCOMER_KEY", "k3y-of-the-host")
    server.script(json_answer({"choices": [{"message": {"content": "fine"}}]}))
    history = [{"role": "assistant", "content": "Hm.", "reasoning_content": "…"}, {"role": "user", "content": "Hi"}]

    reply = colour.call(load("newcomer"), history, max_tokens=5)

    assert reply.text == "fine"
    assert server.asked[0].headers["authorization"] == "Bearer k3y-of-the-host"
    assert server.asked[0].body == {
        "model": "m",
        "messages": [{"role": "assistant", "content": "Hm."}, {"role": "user", "content": "Hi"}],
        "max_completion_tokens": 5,
    }


def test_the_habits_of_a_preset_hold_wherever_its_server_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"preset": "mine", "base_url": "http://127.0.0.1:1/v1", "facts": {"wire.stream_usage": False}}
    monkeypatch.setattr(table, "hosts", lambda: [row])

    explained = load("mine", client_args={"base_url": "http://gpu-1:9000"}).explain("Hi", stream=True)

    assert explained.url == "http://gpu-1:9000/v1/chat/completions"
    assert "stream_options" not in explained.body
