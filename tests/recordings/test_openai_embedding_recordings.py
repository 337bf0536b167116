"""Every recorded call for embeddings in OpenAI's format, held against a reading that shares no code with the codec."""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelwrap import errors
from modelwrap.capabilities import Traits, traits_for
from modelwrap.types import EmbeddingReply
from modelwrap.wire import openai_embedding
from modelwrap.wire.http import Endpoint, WireCall
from tests.recordings.folder import recorded_or_skipped
from tests.recordings.reader import Interaction

_CLASS_OF_WORDS = (
    (r"too large|maximum context length|too long|longer than", errors.ContextTooLong),
    (r"model.* (does not|doesn't) exist|invalid model|model.* not found", errors.NotFound),
    (r"incorrect api key", errors.AuthenticationFailed),
    (r"unsupported|unknown|extra inputs|not support", errors.UnsupportedParameter),
)
_CLASSES: dict[int, type[errors.CallError]] = {
    400: errors.BadRequest,
    401: errors.AuthenticationFailed,
    403: errors.PermissionDenied,
    404: errors.NotFound,
    422: errors.BadRequest,
    429: errors.RateLimited,
    500: errors.ServerFailed,
    501: errors.ServerFailed,
    503: errors.Overloaded,
}


def _interactions(folder: Path) -> Iterator[Interaction]:
    for path in sorted(folder.glob("**/*.json")):
        item = json.loads(path.read_text(encoding="utf-8"))
        if item["operation"] != "embedding" or not item["provider"].startswith(("openai", "azure_openai")):
            continue
        for number, recorded in enumerate(item["interactions"]):
            # Ollama's own format stands beside OpenAI's on the same server.
            if "/api/embed" not in recorded["request"]["url"]:
                yield Interaction(item["id"], number, item["provider"], recorded["request"], recorded["response"])


RECORDED = recorded_or_skipped(_interactions)


def _only(*, ok: bool) -> Any:
    found = [one for one in RECORDED if one.values[0] is None or (one.values[0].status == 200) is ok]
    return pytest.mark.parametrize("recorded", found)


@_only(ok=True)
def test_recorded_vectors_are_read_with_nothing_lost(recorded: Interaction) -> None:
    body = recorded.response["body"]

    reply = _read(recorded)

    if not isinstance(reply, EmbeddingReply):
        # The one thing that is told where others look away: the length that was asked for did not come.
        assert len(_vectors(recorded)[0]) != recorded.request["body"]["dimensions"]
        assert "were to come" in reply.message
        return
    assert reply.embeddings == _vectors(recorded)
    assert reply.raw == body
    dumped = reply.model_dump()
    for name in body.keys() - {"data"}:
        assert dumped[name] == _without_nulls(body[name]) or dumped[name] == body[name]
    for item, sent in zip(dumped["data"], body["data"], strict=True):
        assert {**item, "embedding": 0} == {**sent, "embedding": 0}
    counted = body.get("usage", {}).get("prompt_tokens")
    assert (reply.meta.usage and reply.meta.usage.prompt) == counted


@pytest.mark.parametrize("recorded", RECORDED)
def test_recorded_request_goes_out_as_it_was(recorded: Interaction) -> None:
    body = recorded.request["body"]
    if body is None:
        return
    traits = _traits(recorded)
    parameters = {name: value for name, value in body.items() if name not in ("model", "input")}
    call = WireCall(body.get("model", ""), body["input"], parameters)

    try:
        request = openai_embedding.to_request(call, Endpoint(_base(recorded), query=_query(recorded)), traits)
    except errors.UnsupportedParameter as error:
        assert error.code == "dimensions"
        assert traits.facts.get("embedding.dimensions_param") is False
        return

    added = {} if "encoding_format" in body else _default_encoding(traits)
    assert request.json == {**body, **added}
    assert json.loads(request.content) == request.json
    assert request.url == recorded.request["url"]


@_only(ok=False)
def test_recorded_error_becomes_its_class(recorded: Interaction) -> None:
    error = openai_embedding.from_error(recorded.status, recorded.headers, recorded.body)

    by_words = (kind for words, kind in _CLASS_OF_WORDS if re.search(words, error.message, re.IGNORECASE))
    said = next(by_words, errors.CallError) if recorded.status in (400, 422, 500) else errors.CallError
    assert type(error) in (said, _CLASSES[recorded.status])
    assert said is not errors.ContextTooLong or type(error) is said
    assert error.message


def _read(recorded: Interaction) -> EmbeddingReply | errors.InvalidResponse:
    body = recorded.request["body"] or {"input": ["?"] * len(recorded.response["body"]["data"])}
    parameters = {name: value for name, value in body.items() if name in ("dimensions", "encoding_format")}
    call = WireCall(body.get("model", ""), body["input"], parameters)
    try:
        return openai_embedding.from_response(recorded.body, recorded.headers, call, _traits(recorded))
    except errors.InvalidResponse as error:
        return error


def _traits(recorded: Interaction) -> Traits:
    return traits_for((recorded.request["body"] or {}).get("model", ""), recorded.request["url"])


def _default_encoding(traits: Traits) -> dict[str, str]:
    takes_base64 = "base64" in (traits.facts.get("embedding.encoding") or ())
    return {"encoding_format": "base64"} if takes_base64 else {}


def _base(recorded: Interaction) -> str:
    return str(recorded.request["url"]).partition("?")[0].removesuffix("/embeddings")


def _query(recorded: Interaction) -> dict[str, str]:
    query = str(recorded.request["url"]).partition("?")[2]
    return dict(pair.split("=", 1) for pair in query.split("&") if pair)


def _vectors(recorded: Interaction) -> list[list[float]]:
    items = sorted(recorded.response["body"]["data"], key=lambda item: item["index"])
    return [_vector(item["embedding"], "perplexity" in recorded.provider) for item in items]


def _vector(value: Any, bytes_only: bool) -> list[float]:
    if isinstance(value, list):
        return [float(number) for number in value]
    data = base64.b64decode(value)
    if bytes_only:
        return [float(byte - 256 if byte > 127 else byte) for byte in data]
    return [number for (number,) in struct.iter_unpack("<f", data)]


def _without_nulls(value: Any) -> Any:
    return {name: item for name, item in value.items() if item is not None} if isinstance(value, dict) else value
