"""Every recorded call to Azure: from the resource, the deployment and the version comes the URL that was asked."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

import modelwrap

_VARIABLE = "MODELWRAP_RECORDINGS"
_TYPES = {
    "chat/completions": ("azure_openai", {"api": "chat"}),
    "responses": ("azure_openai", {"api": "responses"}),
    "embeddings": ("azure_openai_embedding", {}),
    "images/generations": ("azure_openai_dall_e", {}),
}
_URL = re.compile(
    r"(?P<endpoint>https://[^/]+)/+openai/(?:v1|(?:deployments/(?P<deployment>[^/]+)/)?)/?(?P<operation>[a-z/]+)"
    r"(?:\?api-version=(?P<version>.*))?"
)


def _recorded() -> list[Any]:
    folder = os.environ.get(_VARIABLE)
    if folder is None:
        reason = f"set {_VARIABLE} to a folder of recorded traffic to run this"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="none")]
    if not Path(folder).is_dir():
        raise NotADirectoryError(f"{_VARIABLE}: {folder} is no folder")
    found = []
    for path in sorted(Path(folder).glob("**/*.json")):
        item = json.loads(path.read_text(encoding="utf-8"))
        requests = [recorded["request"] for recorded in item["interactions"]]
        if item["provider"] == "azure_openai":
            found += [pytest.param(one, id=f"{item['id']}-{number}") for number, one in enumerate(requests)]
    return found


@pytest.mark.parametrize("recorded", _recorded())
def test_recorded_url_is_made_of_what_a_config_says(recorded: Any) -> None:
    url = recorded["url"]
    parts = _URL.fullmatch(url)
    if parts is None or parts["operation"] not in _TYPES:
        # Azure's own model inference and what is older than chat have no type here.
        assert re.search(r"/models/|/(legacy_)?completions\b|/engines/|/audio/|/files|/models", url), url
        return
    model_type, keys = _TYPES[parts["operation"]]
    deployment = parts["deployment"] or (recorded["body"] or {}).get("model") or "some"
    arguments = {"azure_endpoint": parts["endpoint"], "api_version": parts["version"]}
    config = {"config_name": "a", "model_type": model_type, "model": deployment, "api_key": "some-key", **keys}

    model = modelwrap.load({**config, "client_args": {name: value for name, value in arguments.items() if value}})["a"]

    assert model.explain("Hi").url == re.sub("(?<!:)//+", "/", url)
