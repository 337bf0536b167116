"""AgentScope's files of every era, written from its keys: each loads, and calls a stand-in for its service."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

import modelwrap
from modelwrap import runtime as runtimes
from modelwrap.errors import ConfigError, ModelwrapWarning
from tests.loopback import Asked, Loopback
from tests.stand_in import Elsewhere, StandIn

HOSTED = {
    "openai, January 2024": (
        {"type": "openai", "name": "gpt", "api_key": "sk-4Y7", "organization": "org", "generate_args": {"seed": 1}},
        ("/v1/chat/completions", {"model": "gpt", "seed": 1}),
    ),
    "openai_chat, 0.0.1": (
        {"model_type": "openai_chat", "config_name": "gpt", "model_name": "gpt-5.4", "api_key": "sk-4Y7"},
        ("/v1/chat/completions", {"model": "gpt-5.4"}),
    ),
    "a class of 0.0.1": (
        {"model_type": "OpenAIChatWrapper", "config_name": "gpt", "model_name": "gpt-5.4", "api_key": "sk-4Y7"},
        ("/v1/chat/completions", {"model": "gpt-5.4"}),
    ),
    "openai_embedding, 0.0.1": (
        {
            "model_type": "openai_embedding",
            "config_name": "e",
            "model_name": "text-embedding-3-small",
            "api_key": "sk-4Y7",
        },
        ("/v1/embeddings", {"model": "text-embedding-3-small"}),
    ),
    "FastChat, 0.0.1": (
        {
            "model_type": "openai_chat",
            "config_name": "fs",
            "model_name": "llama-2",
            "api_key": "EMPTY",
            "client_args": {"base_url": "http://127.0.0.1:8000/v1/"},
            "generate_args": {"temperature": 0.5},
        },
        ("/v1/chat/completions", {"model": "llama-2", "temperature": 0.5}),
    ),
    "tongyi_chat, 0.0.1": (
        {"model_type": "tongyi_chat", "config_name": "qwen", "model_name": "qwen-max", "api_key": "sk-4Y7"},
        ("/compatible-mode/v1/chat/completions", {"model": "qwen-max"}),
    ),
    "dashscope_chat, 0.1.6": (
        {
            "model_type": "dashscope_chat",
            "config_name": "qwen",
            "model_name": "qwen-max",
            "api_key": "sk-4Y7",
            "generate_args": {"temperature": 0.5},
            "stream": False,
        },
        ("/compatible-mode/v1/chat/completions", {"model": "qwen-max", "temperature": 0.5}),
    ),
    "dashscope_multimodal, 0.1.0": (
        {"model_type": "dashscope_multimodal", "config_name": "vl", "model_name": "qwen-vl-plus", "api_key": "sk-4Y7"},
        ("/compatible-mode/v1/chat/completions", {"model": "qwen-vl-plus"}),
    ),
    "dashscope_text_embedding, 0.1.0": (
        {
            "model_type": "DashScopeTextEmbeddingWrapper",
            "config_name": "e",
            "model_name": "text-embedding-v3",
            "api_key": "sk-4Y7",
        },
        ("/compatible-mode/v1/embeddings", {"model": "text-embedding-v3"}),
    ),
    "dashscope_image_synthesis, 0.1.0": (
        {
            "model_type": "dashscope_image_synthesis",
            "config_name": "wanx",
            "model_name": "wanx-v1",
            "api_key": "sk-4Y7",
            "generate_args": {"n": 1, "size": "1024*1024"},
        },
        (
            "/api/v1/services/aigc/text2image/image-synthesis",
            {"model": "wanx-v1", "input": {"prompt": "Hi"}, "parameters": {"n": 1, "size": "1024*1024"}},
        ),
    ),
    "zhipuai_chat, 0.1.0": (
        {"model_type": "zhipuai_chat", "config_name": "glm", "model_name": "glm-5", "api_key": "sk-4Y7"},
        ("/api/paas/v4/chat/completions", {"model": "glm-5"}),
    ),
    "zhipuai_embedding, 0.1.0": (
        {"model_type": "zhipuai_embedding", "config_name": "e", "model_name": "embedding-3", "api_key": "sk-4Y7"},
        ("/api/paas/v4/embeddings", {"model": "embedding-3"}),
    ),
    "ollama_chat, 0.1.0": (
        {
            "model_type": "ollama_chat",
            "config_name": "llama",
            "model_name": "llama3.2",
            "host": "http://gpu-1:11434",
            "options": {"temperature": 0, "num_predict": 9},
        },
        ("/v1/chat/completions", {"model": "llama3.2", "temperature": 0, "max_tokens": 9}),
    ),
    "ollama_generate, 0.0.4": (
        {"model_type": "ollama_generate", "config_name": "llama", "model_name": "llama3.2", "options": None},
        ("/v1/completions", {"model": "llama3.2", "prompt": "Hi"}),
    ),
    "ollama_embedding, 0.0.4": (
        {"model_type": "ollama_embedding", "config_name": "e", "model_name": "nomic-embed-text"},
        ("/v1/embeddings", {"model": "nomic-embed-text"}),
    ),
    "yi_chat, 0.1.0": (
        {
            "model_type": "yi_chat",
            "config_name": "yi",
            "model_name": "yi-large",
            "api_key": "sk-4Y7",
            "max_tokens": 512,
            "top_p": 0.9,
            "temperature": 0.3,
            "stream": False,
        },
        ("/v1/chat/completions", {"model": "yi-large", "max_tokens": 512, "top_p": 0.9, "temperature": 0.3}),
    ),
    "litellm_chat, a host": (
        {
            "model_type": "litellm_chat",
            "config_name": "lite",
            "model_name": "groq/llama-3.1-8b-instant",
            "api_key": "k3y",
        },
        ("/openai/v1/chat/completions", {"model": "llama-3.1-8b-instant"}),
    ),
    "litellm_chat, OpenAI": (
        {"model_type": "litellm_chat", "config_name": "lite", "model_name": "gpt-5.4", "api_key": "sk-4Y7"},
        ("/v1/chat/completions", {"model": "gpt-5.4"}),
    ),
    "litellm_chat, Claude": (
        {
            "model_type": "litellm_chat",
            "config_name": "lite",
            "model_name": "anthropic/claude-opus-5",
            "api_key": "k3y",
        },
        ("/v1/messages", {"model": "claude-opus-5"}),
    ),
    "gemini_chat, 0.0.3": (
        {"model_type": "gemini_chat", "config_name": "g", "model_name": "gemini-3.5-flash", "api_key": "k3y"},
        ("/v1beta/models/gemini-3.5-flash:generateContent", {}),
    ),
    "anthropic_chat, 0.1.6": (
        {"model_type": "anthropic_chat", "config_name": "c", "model_name": "claude-opus-5", "api_key": "k3y"},
        ("/v1/messages", {"model": "claude-opus-5"}),
    ),
    "post_api, January 2024": (
        {
            "type": "post_api",
            "name": "flask",
            "api_url": "http://127.0.0.1:8000/llm/",
            "headers": {},
            "max_length": 2048,
            "timeout": 30,
            "json_args": {"max_length": 4096, "temperature": 0.5},
        },
        ("/llm/", {"inputs": "Hi", "max_length": 4096, "temperature": 0.5}),
    ),
    "post_api_chat, 0.0.1": (
        {
            "model_type": "post_api_chat",
            "config_name": "flask",
            "api_url": "http://127.0.0.1:8000/llm/",
            "json_args": {"model": "m"},
            "max_retries": 3,
            "messages_key": "inputs",
            "retry_interval": 1,
        },
        ("/llm/", {"inputs": "Hi", "model": "m"}),
    ),
    "post_api_dall_e, 0.0.1": (
        {"model_type": "post_api_dalle", "config_name": "d", "api_url": "http://127.0.0.1:8000/images"},
        ("/images", {"inputs": "Hi"}),
    ),
    "post_api_embedding, 0.1.0": (
        {"model_type": "post_api_embedding", "config_name": "e", "api_url": "http://127.0.0.1:8000/vectors"},
        ("/vectors", {"inputs": "Hi"}),
    ),
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


@pytest.mark.parametrize("config, expected", HOSTED.values(), ids=HOSTED)
def test_a_file_of_any_era_loads_and_calls(
    config: dict[str, Any], expected: tuple[str, dict[str, Any]], tmp_path: Path, server: Loopback
) -> None:
    path = tmp_path / "model_config.json"
    path.write_text(json.dumps([config]))

    asked = called(path, server)

    assert asked.path == expected[0]
    assert {name: asked.body.get(name) for name in expected[1]} == expected[1]


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
