"""The configs that AgentScope's documentation printed, in their forms: each loads, or says how to mend it."""

from __future__ import annotations

from pathlib import Path

import pytest

import modelwrap
from modelwrap.errors import ConfigError, ModelwrapWarning

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


def test_a_list_with_a_comment_and_a_trailing_comma_loads_and_warns_of_each_placeholder(path: Path) -> None:
    path.write_text(HOSTED)

    with pytest.warns(ModelwrapWarning) as caught:
        models = modelwrap.load(path)

    assert [str(warning.message).partition(": a placeholder")[0] for warning in caught] == [
        f"{path}:6:20: [0].api_key",
        f"{path}:14:20: [1].api_key",
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
    path.write_text(NO_COMMA.replace('}\n    "api_url', '},\n    "api_url'))

    with pytest.warns(ModelwrapWarning, match="headers.Authorization: a placeholder stands here"):
        models = modelwrap.load(path)

    assert models["small"].explain("Hi").headers["authorization"] == "***"
