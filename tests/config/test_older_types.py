"""AgentScope's files of every era, written from its keys: each loads, and calls a stand-in for its service."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest

import modelwrap
from modelwrap import runtime as runtimes
from modelwrap.errors import ConfigError, ModelwrapWarning
from tests.loopback import Asked, Loopback
from tests.stand_in import Elsewhere, StandIn

CHAT, VECTORS = "/v1/chat/completions", "/v1/embeddings"
OF_DASHSCOPE, OF_ZHIPU = "/compatible-mode/v1", "/api/paas/v4"
OPTIONS = {"options": {"temperature": 0, "num_predict": 9}}
WANX = "/api/v1/services/aigc/text2image/image-synthesis"
USUAL_OF_POST = {"headers": {}, "max_length": 2048, "timeout": 30, "max_retries": 3, "retry_interval": 1}

Row: TypeAlias = tuple[dict[str, Any], tuple[str, dict[str, Any]]]


def hosted(model_type: str, path: str, body: Mapping[str, Any] | None = None, **keys: Any) -> Row:
    """Give a config of a type with a model and a key, and where it goes with what; the model always goes along."""
    config = {"model_type": model_type, "config_name": "it", "model_name": "m", "api_key": "sk-4Y7", **keys}
    return config, (path, {"model": config["model_name"], **(body or {})})


def posted(model_type: str, path: str, body: Mapping[str, Any], **keys: Any) -> Row:
    """Give a config of a service that takes a POST, which is asked "Hi"."""
    config = {"model_type": model_type, "config_name": "it", "api_url": f"http://127.0.0.1:8000{path}", **keys}
    return config, (path, {"inputs": "Hi", **body})


def of_january_2024(row: Row) -> Row:
    """Tell a config by the names of the first files, which had none for the model."""
    config, expected = row
    first = {"model_type": "type", "config_name": "name"}
    return {first.get(key, key): value for key, value in config.items() if key != "model_name"}, expected


HOSTED: dict[str, Row] = {
    "openai, January 2024": of_january_2024(
        hosted("openai", CHAT, {"model": "it", "seed": 1}, organization="org", generate_args={"seed": 1})
    ),
    "openai_chat, 0.0.1": hosted("openai_chat", CHAT),
    "a class of 0.0.1": hosted("OpenAIChatWrapper", CHAT),
    "openai_embedding, 0.0.1": hosted("openai_embedding", VECTORS),
    "FastChat, 0.0.1": hosted(
        "openai_chat",
        CHAT,
        {"temperature": 0.5},
        api_key="EMPTY",
        client_args={"base_url": "http://127.0.0.1:8000/v1/"},
        generate_args={"temperature": 0.5},
    ),
    "tongyi_chat, 0.0.1": hosted("tongyi_chat", f"{OF_DASHSCOPE}/chat/completions"),
    "dashscope_chat, 0.1.6": hosted(
        "dashscope_chat",
        f"{OF_DASHSCOPE}/chat/completions",
        {"temperature": 0.5},
        generate_args={"temperature": 0.5},
        stream=False,
    ),
    "dashscope_multimodal, 0.1.0": hosted("dashscope_multimodal", f"{OF_DASHSCOPE}/chat/completions"),
    "dashscope_text_embedding, 0.1.0": hosted("DashScopeTextEmbeddingWrapper", f"{OF_DASHSCOPE}/embeddings"),
    "dashscope_image_synthesis, 0.1.0": hosted(
        "dashscope_image_synthesis",
        WANX,
        {"input": {"prompt": "Hi"}, "parameters": {"n": 1, "size": "1024*1024"}},
        generate_args={"n": 1, "size": "1024*1024"},
    ),
    "zhipuai_chat, 0.1.0": hosted("zhipuai_chat", f"{OF_ZHIPU}/chat/completions"),
    "zhipuai_embedding, 0.1.0": hosted("zhipuai_embedding", f"{OF_ZHIPU}/embeddings"),
    "ollama_chat, 0.1.0": hosted(
        "ollama_chat", CHAT, {"temperature": 0, "max_tokens": 9}, host="http://gpu-1:11434", **OPTIONS
    ),
    "ollama_generate, 0.0.4": hosted("ollama_generate", "/v1/completions", {"prompt": "Hi"}, options=None),
    "ollama_embedding, 0.0.4": hosted("ollama_embedding", VECTORS),
    "yi_chat, 0.1.0": hosted(
        "yi_chat",
        CHAT,
        {"max_tokens": 512, "top_p": 0.9, "temperature": 0.3},
        max_tokens=512,
        top_p=0.9,
        temperature=0.3,
        stream=False,
    ),
    "litellm_chat, a host": hosted("litellm_chat", "/openai/v1/chat/completions", {"model": "m"}, model_name="groq/m"),
    "litellm_chat, OpenAI": hosted("litellm_chat", CHAT),
    "litellm_chat, Claude": hosted("litellm_chat", "/v1/messages", {"model": "m"}, model_name="anthropic/m"),
    "gemini_chat, 0.0.3": hosted("gemini_chat", "/v1beta/models/m:generateContent", {"model": None}),
    "anthropic_chat, 0.1.6": hosted("anthropic_chat", "/v1/messages"),
    "post_api, January 2024": of_january_2024(
        posted("post_api", "/llm/", {"max_length": 4096}, json_args={"max_length": 4096}, **USUAL_OF_POST)
    ),
    "post_api_chat, 0.0.1": posted(
        "post_api_chat", "/llm/", {"model": "m"}, json_args={"model": "m"}, messages_key="inputs", **USUAL_OF_POST
    ),
    "post_api_dall_e, 0.0.1": posted("post_api_dalle", "/images", {}),
    "post_api_embedding, 0.1.0": posted("post_api_embedding", "/vectors", {}),
}


def called(path: Path, server: Loopback) -> Asked:
    """Load a file without a warning, call its model, and give the first request."""
    server.script(StandIn())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (model,) = modelwrap.load(path).values()
    with runtimes.played_by(lambda runtime: Elsewhere(runtime, server.base_url)):
        reply = model("Hi", stream=False)
    assert reply.text or reply.image_urls or reply.embeddings
    return server.asked[0]


@pytest.mark.parametrize("row", HOSTED.values(), ids=HOSTED)
def test_a_file_of_any_era_loads_and_calls(row: Row, tmp_path: Path, server: Loopback) -> None:
    config, (where, body) = row
    path = tmp_path / "model_config.json"
    path.write_text(json.dumps([config]))

    asked = called(path, server)

    assert asked.path == where
    assert {name: asked.body.get(name) for name in body} == body


def load(**config: Any) -> modelwrap.Model:
    return modelwrap.load({"config_name": "it", "model_name": "m", **config})["it"]


def test_what_is_lost_on_the_way_is_told_once_in_words_that_help() -> None:
    with pytest.warns(ModelwrapWarning) as caught:
        load(model_type="ollama_chat", keep_alive="5m", options={"num_ctx": 8192, "top_p": 0.5})

    assert [str(warning.message).partition(" over its own route only")[0] for warning in caught] == [
        'model_configs "it": keep_alive: Ollama takes how long a model stays loaded',
        'model_configs "it": options.num_ctx: Ollama takes this option',
    ]


def test_a_host_of_litellms_that_nobody_knows_is_named() -> None:
    with pytest.raises(ConfigError, match=r"model_name: nothing here is known of LiteLLM's 'sagemaker' as a host"):
        load(model_type="litellm_chat", model_name="sagemaker/endpoint")


def test_a_prefix_of_litellms_that_says_too_little_names_the_type_that_is_meant() -> None:
    with pytest.raises(ConfigError, match=r'write "azure_openai" with its azure_endpoint'):
        load(model_type="litellm_chat", model_name="azure/my-deployment")


def test_the_key_of_an_older_type_comes_from_its_hosts_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-4Y7-of-the-host")

    chat, images = load(model_type="dashscope_chat"), load(model_type="dashscope_image_synthesis")

    assert chat.explain("Hi").headers["authorization"] == images.explain("Hi").headers["authorization"] == "***"


def test_what_a_newer_file_says_stays_as_it_is() -> None:
    options = {"generate_args": {"temperature": 1}, "options": {"temperature": 0}}

    assert load(model_type="ollama_chat", **options).explain("Hi").body["temperature"] == 1


def test_a_type_that_somebody_registered_goes_before_an_older_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from modelwrap import registry
    from tests.echo import Echo

    monkeypatch.setattr(registry, "_targets", dict(registry._targets))
    registry.register("yi_chat", Echo)

    assert isinstance(load(model_type="yi_chat").model, Echo)  # type: ignore[attr-defined] # below the retry
