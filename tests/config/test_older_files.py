"""The configs that AgentScope's documentation printed, in their forms: each loads, or says how to mend it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

import modelwrap
from modelwrap import runtime as runtimes
from modelwrap.errors import ConfigError, ModelwrapWarning
from tests.loopback import Loopback
from tests.stand_in import Elsewhere, StandIn

OPENAI_FORMS = {
    "a server of FastChat or vLLM, old names": """{
        "type": "openai",
        "name": "org/chat-7b",
        "api_key": "EMPTY",
        "client_args": {"base_url": "http://127.0.0.1:8000/v1/"},
        "generate_args": {"temperature": 0.5}
    }""",
    "the same, later names": """{
        "config_name": "org/chat-7b",
        "model_type": "openai",
        "api_key": "EMPTY",
        "client_args": {"base_url": "http://127.0.0.1:8000/v1/"},
        "generate_args": {"temperature": 0.5}
    }""",
}
POST_FORMS = {
    "a Flask server, old names": """{
        "type": "post_api",
        "name": "flask-7b",
        "api_url": "http://127.0.0.1:8000/llm/",
        "json_args": {"max_length": 4096, "temperature": 0.5}
    }""",
    "the same, later names": """{
        "model_type": "post_api",
        "config_name": "flask-7b",
        "api_url": "http://127.0.0.1:8000/llm/",
        "json_args": {"max_length": 4096, "temperature": 0.5}
    }""",
}
HOSTED = """[
    {
        "config_name": "gpt-cold",
        "model_type": "openai",
        "model": "gpt-4",
        "api_key": "xxx",
        "organization": "xxx",
        "generate_args": {"temperature": 0.0}
    },
    {
        "config_name": "pictures-square",
        "model_type": "openai_dall_e",
        "model": "dall-e-3",
        "api_key": "xxx",
        "organization": "xxx",
        "generate_args": {"size": "1024x1024"}
    },
    // More models go here
]"""
SINGLE_QUOTES = """{
    "type": "post_api",
    "name": 'small',
    "headers": {
        "Authorization": "Bearer {YOUR_API_TOKEN}"
    }
    "api_url": "https://inference.example.com/models/small"
}"""
NO_COMMA = SINGLE_QUOTES.replace("'", '"')
MENDED = NO_COMMA.replace('}\n    "api_url', '},\n    "api_url')


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model_config.json"


@pytest.mark.parametrize("text", OPENAI_FORMS.values(), ids=OPENAI_FORMS)
def test_a_compatible_server_loads(text: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    path.write_text(text)

    explained = modelwrap.load(path)["org/chat-7b"].explain("Hi")

    assert explained.url == "http://127.0.0.1:8000/v1/chat/completions"
    assert explained.body["model"] == "org/chat-7b"
    assert explained.body["temperature"] == 0.5
    assert "authorization" not in explained.headers


@pytest.mark.parametrize("text", POST_FORMS.values(), ids=POST_FORMS)
def test_a_server_that_takes_a_post_loads(text: str, path: Path) -> None:
    path.write_text(text)

    explained = modelwrap.load(path)["flask-7b"].explain("Hi")

    assert explained.url == "http://127.0.0.1:8000/llm/"
    assert explained.body == {"inputs": "Hi", "max_length": 4096, "temperature": 0.5}


def test_a_list_with_a_comment_and_a_trailing_comma_loads_and_warns_of_placeholders_and_of_models_that_are_gone(
    path: Path,
) -> None:
    path.write_text(HOSTED)

    with pytest.warns(ModelwrapWarning) as caught:
        models = modelwrap.load(path)

    assert [str(warning.message).partition(": a placeholder")[0] for warning in caught] == [
        f"{path}:6:20: [0].api_key",
        f"{path}:5:18: [0].model: gpt-4 was retired on 2026-10-23",
        f"{path}:14:20: [1].api_key",
        f"{path}:13:18: [1].model: dall-e-3 was retired on 2026-05-12",
    ]
    assert models["gpt-cold"].explain("Hi").body["model"] == "gpt-4"
    assert models["pictures-square"].explain("A cat").body["size"] == "1024x1024"


@pytest.mark.parametrize(
    "text, expected",
    [
        (
            SINGLE_QUOTES,
            """:3:13: a string stands in double quotes, not in single ones: write "text"
        "name": 'small',
                ^""",
        ),
        (NO_COMMA, ":6:6: a comma is missing here, after the value\n        }\n         ^"),
    ],
    ids=["single quotes", "a missing comma"],
)
def test_a_broken_file_says_how_to_mend_it(text: str, expected: str, path: Path) -> None:
    path.write_text(text)

    with pytest.raises(ConfigError) as caught:
        modelwrap.load(path)

    assert str(caught.value) == f"{path}{expected}"


def test_the_mended_file_loads(path: Path) -> None:
    path.write_text(MENDED)

    with pytest.warns(ModelwrapWarning, match="headers.Authorization: a placeholder stands here"):
        models = modelwrap.load(path)

    assert models["small"].explain("Hi").headers["authorization"] == "***"


@pytest.mark.parametrize(
    "text, count",
    [*((text, 1) for text in (*OPENAI_FORMS.values(), *POST_FORMS.values())), (HOSTED, 2), (MENDED, 1)],
)
def test_every_form_calls_a_stand_in_for_its_service(text: str, count: int, path: Path, server: Loopback) -> None:
    path.write_text(text)
    server.script(StandIn())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelwrapWarning)  # of placeholders, and of models that are gone
        models = modelwrap.load(path)

    with runtimes.played_by(lambda runtime: Elsewhere(runtime, server.base_url)):
        replies = [model("A river") for model in models.values()]

    assert len(server.asked) == len(replies) == count
    assert all(reply.text or reply.image_urls for reply in replies)


def post_api(**keys: Any) -> modelwrap.Model:
    config = {"model_type": "post_api", "config_name": "it", "api_url": "http://127.0.0.1:8000/llm/", **keys}
    return modelwrap.load(config)["it"]


def test_every_key_of_a_post_model_loads() -> None:
    model = post_api(
        headers=None,
        max_length=-1,
        timeout=30,
        json_args=None,
        post_args={"timeout": 5, "params": {"tenant": "a"}, "verify": False},
        max_retries=4,
        messages_key="prompt",
        retry_interval=0,
    )

    assert model.explain("Hi").url == "http://127.0.0.1:8000/llm/?tenant=a"
    assert model.explain("Hi").body == {"prompt": "Hi"}
    assert (model.timeouts.total, model.max_retries) == (5, 3)
    assert post_api(post_args=None).timeouts.total == 30
    assert post_api(post_args={"timeout": 5}, client_args={"timeout": 7}).timeouts.total == 7


def test_what_a_post_model_does_not_read_is_warned_of() -> None:
    unread = {
        "post_args": {"cert": "client.pem"},
        "organization": "org",
        "client_args": {"base_url": "http://127.0.0.1", "project": "p"},
    }

    with pytest.warns(ModelwrapWarning) as caught:
        post_api(**unread)

    assert [str(warning.message) for warning in caught] == [
        f'model_configs "it": {key}: is not read by this model type; take it out'
        for key in ("post_args.cert", "client_args.base_url", "client_args.project", "organization")
    ]


def test_what_would_stand_in_the_place_of_the_messages_is_warned_of() -> None:
    with pytest.warns(ModelwrapWarning) as caught:
        model = post_api(messages_key="prompt", json_args={"prompt": "x", "max_tokens": 3})

    assert [str(warning.message) for warning in caught] == [
        'model_configs "it": json_args.prompt: never goes out: the messages stand there; see messages_key'
    ]
    assert model.explain("Hi").body == {"prompt": "Hi", "max_tokens": 3}


@pytest.mark.parametrize(
    "name",
    [
        *("openai", "openai_chat", "OpenAIChatWrapper", "openai_dall_e", "OpenAIDALLEWrapper"),
        *("post_api", "post_api_chat", "post_api_dall_e", "post_api_dalle"),
        *("PostAPIModelWrapperBase", "PostAPIChatWrapper", "PostAPIDALLEWrapper"),
    ],
)
def test_every_name_that_a_type_has_had_loads(name: str) -> None:
    config = {"model_type": name, "config_name": "it", "api_key": "k3y-value"}
    address = {"api_url": "http://127.0.0.1:8000/llm/"} if name.lower().startswith("post") else {}

    assert modelwrap.load({**config, **address})["it"].explain("Hi").method == "POST"
