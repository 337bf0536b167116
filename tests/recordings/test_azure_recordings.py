"""Every recorded call to Azure: from resource, deployment and version comes the URL, from the call the JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import modelwrap
from modelwrap.errors import BadRequest
from tests.recordings.folder import recorded_or_skipped
from tests.recordings.reader import Interaction

_TYPES = {
    "chat/completions": ("azure_openai", {"api": "chat"}),
    "responses": ("azure_openai", {"api": "responses"}),
    "embeddings": ("azure_openai_embedding", {}),
    "images/generations": ("azure_openai_dall_e", {}),
}
_URL = re.compile(
    r"(?P<endpoint>https://[^/]+(?:/models(?=/))?)/+(?:openai/(?:v1|(?:deployments/(?P<deployment>[^/]+)/)?)/?)?"
    r"(?P<operation>[a-z/]+)(?:\?api-version=(?P<version>.*))?"
)
# What has no name of its own here: a stream is another door, and what it counts is asked for by itself.
_OF_STREAMS = ("stream", "stream_options")


def _interactions(folder: Path) -> Iterator[Interaction]:
    for path in sorted(folder.glob("**/*.json")):
        item = json.loads(path.read_text(encoding="utf-8"))
        if item["provider"] == "azure_openai":
            for number, recorded in enumerate(item["interactions"]):
                yield Interaction(item["id"], number, item["provider"], recorded["request"], recorded["response"])


@pytest.mark.parametrize("recorded", recorded_or_skipped(_interactions))
def test_recorded_url_is_made_of_what_a_config_says(recorded: Interaction) -> None:
    url = recorded.request["url"]
    parts = _URL.fullmatch(url)
    if parts is None or parts["operation"] not in _TYPES:
        # What is older than chat has no type here.
        assert re.search(r"/(legacy_)?completions\b|/engines/|/audio/|/files|/models$", url), url
        return
    model_type, keys = _TYPES[parts["operation"]]
    body = recorded.request["body"] or {}
    arguments = {
        "azure_endpoint": parts["endpoint"],
        "azure_deployment": parts["deployment"],
        "api_version": parts["version"],
    }
    model_name = body.get("model") or parts["deployment"] or "some"
    config = {"config_name": "a", "model_type": model_type, "model": model_name, "api_key": "some-key", **keys}

    model = modelwrap.load({**config, "client_args": {name: value for name, value in arguments.items() if value}})["a"]

    assert model.explain("Hi").url == re.sub("(?<!:)//+", "/", url)
    if parts["operation"] == "chat/completions":
        expected = {name: value for name, value in body.items() if name not in _OF_STREAMS}
        parameters = {name: value for name, value in expected.items() if name not in ("model", "messages")}
        if "not_valid_base64" in json.dumps(body):
            # What the server was asked for its refusal is refused before.
            with pytest.raises(BadRequest, match="no base64"):
                model.explain(body["messages"])
            return
        assert model.explain(body["messages"], **parameters).body == {**expected, "model": model_name}
