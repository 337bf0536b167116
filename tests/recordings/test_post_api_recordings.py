"""Recorded inference APIs of Hugging Face and Ollama, read through configs, and held against what stands in them."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import modelwrap
from modelwrap import errors
from modelwrap.models.post_api import PostAPI
from tests.loopback import Answer, Loopback
from tests.recordings.folder import recorded_or_skipped

_CLASSES: dict[int, type[errors.CallError]] = {
    400: errors.BadRequest,
    401: errors.AuthenticationFailed,
    404: errors.NotFound,
    422: errors.BadRequest,
    500: errors.ServerFailed,
    503: errors.Overloaded,
}

_TEXTS = ("generated_text", "summary_text", "translation_text")
_CONFIGS: list[tuple[str, dict[str, Any]]] = [
    (r"/chat/completions$", {"model_type": "post_api_chat", "messages_key": "messages"}),
    (r"/images/generations$", {"model_type": "post_api_dall_e", "messages_key": "prompt"}),
    (r"/api/chat$", {"model_type": "post_api_chat", "messages_key": "messages", "parameters_key": "options"}),
    (r"/api/generate$", {"model_type": "post_api", "messages_key": "prompt", "parameters_key": "options"}),
    (r"/api/embeddings$", {"model_type": "post_api_embedding", "messages_key": "prompt"}),
    (r"/api/embed$", {"model_type": "post_api_embedding", "messages_key": "input"}),
]


@dataclass(frozen=True)
class Recorded:
    id: str
    operation: str
    request: dict[str, Any]
    response: dict[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        """Say which config speaks to this service."""
        kinds = {"embedding": "post_api_embedding", "image": "post_api_dall_e"}
        usual = {"model_type": kinds.get(self.operation, "post_api"), "parameters_key": "parameters"}
        if self.operation == "embedding":
            usual["pooling"] = "mean"
        url = self.request["url"].partition("?")[0]
        return next((config for pattern, config in _CONFIGS if re.search(pattern, url)), usual)

    @property
    def body(self) -> bytes:
        body = self.response["body"]
        if isinstance(body, dict) and "__bytes_base64__" in body:
            return b64decode(body["__bytes_base64__"])
        return (body if isinstance(body, str) else json.dumps(body)).encode()


def _interactions(folder: Path) -> Iterator[Recorded]:
    for path in sorted(folder.glob("**/*.json")):
        item = json.loads(path.read_text("utf-8"))
        native = item["provider"] == "openai_compatible:ollama" and item["operation"] != "chat"
        if item["provider"] != "huggingface" and not native:
            continue
        for number, recorded in enumerate(item["interactions"]):
            url = recorded["request"]["url"]
            if recorded["request"]["method"] == "POST" and (not native or "/api/" in url):
                yield Recorded(f"{item['id']}-{number}", item["operation"], recorded["request"], recorded["response"])


def asked_of(body: dict[str, Any], config: dict[str, Any]) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Take a recorded request apart: what was asked, with which parameters, and what always stands beside them."""
    key = config.get("messages_key", "inputs")
    inside = body.get(config.get("parameters_key", ""))
    # A model among the parameters is one of the config's words: in a call it names the model that is asked.
    parameters = inside if isinstance(inside, dict) and "model" not in inside else {}
    beside = {name: value for name, value in body.items() if name != key and value is not parameters}
    return body.get(key), parameters, beside


def texts_in(value: Any) -> list[str]:
    """Read by hand what an answer in one piece says."""
    if isinstance(value, list):
        return [text for item in value for text in texts_in(item)]
    if "choices" in value:
        return [choice["message"].get("content") or "" for choice in value["choices"]]
    found = next((value[name] for name in (*_TEXTS, "response") if name in value), None)
    return [value["message"]["content"] if found is None else found]


def streamed_text(body: str) -> str:
    """Read by hand what an answer in pieces says."""
    said = ""
    for line in body.splitlines():
        data = line.removeprefix("data:").strip()
        if not data.startswith("{"):
            continue
        piece = json.loads(data)
        if "token" in piece:
            said += "" if piece["token"]["special"] else piece["token"]["text"]
        elif "choices" in piece:
            said += "".join(choice["delta"].get("content") or "" for choice in piece["choices"])
        else:
            said += piece.get("response") or (piece.get("message") or {}).get("content") or ""
    return said


def without_thoughts(text: str) -> str:
    return re.sub(r"^\s*<think>.*?(</think>|\Z)", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("recorded", recorded_or_skipped(_interactions))
def test_a_recorded_service_is_asked_and_read_through_a_config(recorded: Recorded, server: Loopback) -> None:
    headers = {name: value for name, value in recorded.response["headers"].items() if name.lower() == "content-type"}
    server.script(Answer(recorded.response["status"], headers, [recorded.body]))
    asked, parameters, beside = asked_of(recorded.request["body"] or {}, recorded.config)
    streams = bool(beside.pop("stream", False))
    config = {
        "config_name": "it",
        "api_url": f"http://127.0.0.1:{server.port}/",
        "max_retries": 1,
        "json_args": beside,
        "stream_args": {"stream": True},
        **recorded.config,
    }
    model = modelwrap.load(config)["it"]
    outcome: Any
    try:
        outcome = _outcome(model, asked, parameters, streams=streams)
    except errors.CallError as error:
        outcome = error

    if asked is not None and server.asked:
        assert _without_nothing(server.asked[0].body) == _without_nothing(_as_sent(recorded, streams=streams))
    _check(recorded, outcome, streams=streams)


def _outcome(model: modelwrap.Model, asked: Any, parameters: dict[str, Any], *, streams: bool) -> Any:
    if isinstance(asked, list) and asked and isinstance(asked[0], dict) and "role" in asked[0]:
        inner = getattr(model, "model")  # noqa: B009 - what retry wraps
        assert isinstance(inner, PostAPI)
        inner.prompt = "messages"
    # The types of one task take no other input; what they are asked stands among what is sent.
    extra = {"inputs": asked} if isinstance(asked, dict) and getattr(model, "model").kind != "any" else {}  # noqa: B009 - what retry wraps
    given = "unasked" if asked is None or extra else asked
    if streams:
        return model.stream(given, extra_body=extra, **parameters).reply
    return model(given, extra_body=extra, **parameters)


def _as_sent(recorded: Recorded, *, streams: bool) -> dict[str, Any]:
    body: dict[str, Any] = recorded.request["body"]
    return body if streams else {name: value for name, value in body.items() if name != "stream"}


def _without_nothing(body: dict[str, Any]) -> dict[str, Any]:
    """An empty object of parameters says what none says."""
    return {name: value for name, value in body.items() if value not in ({}, None)}


def _check(recorded: Recorded, outcome: Any, *, streams: bool) -> None:
    status, body = recorded.response["status"], recorded.response["body"]
    if status != 200:
        assert isinstance(outcome, _CLASSES[status]), outcome
        told = body.get("error") if isinstance(body, dict) else body
        assert str(told)[:40] in outcome.message
        if isinstance(body, dict) and "estimated_time" in body:
            assert outcome.retry_after == pytest.approx(body["estimated_time"])
    elif streams:
        assert outcome.text == without_thoughts(streamed_text(body))
        assert outcome.choices[0].finish_reason
    else:
        assert not isinstance(outcome, errors.CallError), outcome
        assert outcome.raw == (body if not _is_picture(body) else {"b64_json": body["__bytes_base64__"]})
        _check_whole(recorded, outcome, body)


def _check_whole(recorded: Recorded, outcome: Any, body: Any) -> None:
    if recorded.operation == "image":
        made = body["__bytes_base64__"] if _is_picture(body) else body["data"][0]["b64_json"]
        assert outcome.image_urls[0].endswith(made)
    elif recorded.operation == "embedding" or (isinstance(body, dict) and "embedding" in body):
        assert outcome.embeddings
        assert outcome.embeddings[0]
    elif isinstance(body, list) and not any(name in json.dumps(body) for name in _TEXTS):
        # Labels and masks are no text; they are in `raw`.
        assert outcome.choices == []
    else:
        assert [choice.message.content or "" for choice in outcome.choices] == [
            without_thoughts(text) if "chat" in recorded.config["model_type"] else text for text in texts_in(body)
        ]


def _is_picture(body: Any) -> bool:
    return isinstance(body, dict) and "__bytes_base64__" in body
