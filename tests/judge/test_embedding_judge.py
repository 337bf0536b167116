"""OpenAI's own client as the judge of embeddings: it sends what we send, and reads what we read."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from typing import Any

import openai
import pytest

import modelwrap
from tests.loopback import Answer, Asked, Loopback, json_answer

MODEL = "text-embedding-3-small"
KEY = "sk-canary-1"

CALLS: dict[str, tuple[Any, dict[str, Any]]] = {
    "a text": ("Rhine", {}),
    "texts": (["Rhine", "Elbe 🌊"], {}),
    "tokens": ([9906, 1917], {}),
    "lists of tokens": ([[9906], [1917, 0]], {}),
    "dimensions": ("Rhine", {"dimensions": 2}),
    "numbers": ("Rhine", {"encoding_format": "float"}),
    "base64": ("Rhine", {"encoding_format": "base64"}),
    "a user": ("Rhine", {"user": "u1"}),
    "extra body": ("Rhine", {"extra_body": {"truncate": True}}),
    "extra query": ("Rhine", {"extra_query": {"a": "b"}}),
    "extra headers": ("Rhine", {"extra_headers": {"x-a": "b"}}),
}


@pytest.fixture(scope="module")
def host() -> Iterator[Loopback]:
    host = Loopback()
    yield host
    host.close()


@pytest.fixture
def server(host: Loopback) -> Loopback:
    host.asked.clear()
    host.script(answer)
    return host


@pytest.fixture(scope="module")
def theirs(host: Loopback) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=KEY, base_url=host.base_url, organization="org", max_retries=0) as client:
        yield client


def answer(asked: Asked) -> Answer:
    given = asked.body["input"]
    texts = 1 if isinstance(given, str) or isinstance(given[0], int) else len(given)
    data = [{"object": "embedding", "index": place, "embedding": written(asked, place)} for place in range(texts)]
    usage = {"prompt_tokens": 3, "total_tokens": 3}
    return json_answer({"object": "list", "data": data, "model": MODEL, "usage": usage})


def written(asked: Asked, place: int) -> Any:
    vector = [0.1, float(place)]
    if asked.body.get("encoding_format") == "base64":
        return base64.b64encode(struct.pack("<2f", *vector)).decode()
    return vector


def ours(server: Loopback) -> modelwrap.Model:
    config = {
        "config_name": "e",
        "model_type": "openai_embedding",
        "model": MODEL,
        "api_key": KEY,
        "organization": "org",
        # On loopback nobody can tell whose model this is.
        "capabilities": {"like": MODEL},
    }
    return modelwrap.load({**config, "client_args": {"base_url": server.base_url}})["e"]


@pytest.mark.parametrize("name", CALLS)
def test_both_send_the_same_and_read_the_same(name: str, server: Loopback, theirs: openai.OpenAI) -> None:
    given, parameters = CALLS[name]

    reply: Any = ours(server)(given, **parameters)
    their_reply = theirs.embeddings.create(model=MODEL, input=given, **parameters)

    mine, their = server.asked
    assert mine.body == their.body
    assert mine.path == their.path
    for header in ("authorization", "openai-organization", "content-type", "accept", "x-a"):
        assert mine.headers.get(header) == their.headers.get(header)
    if parameters.get("encoding_format") != "base64":
        # Who asks their client for base64 gets base64; here vectors are always numbers.
        for mine_read, their_read in zip(reply.embeddings, their_reply.data, strict=True):
            assert mine_read == pytest.approx(their_read.embedding)
    assert [item.index for item in reply.data] == [item.index for item in their_reply.data]
    assert reply.usage.total_tokens == their_reply.usage.total_tokens
    assert reply.model == their_reply.model


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_both_know_an_error(status: int, server: Loopback, theirs: openai.OpenAI) -> None:
    server.script(json_answer({"error": {"message": "No.", "type": "x", "code": None}}, status))

    with pytest.raises(modelwrap.CallError) as mine:
        ours(server)("Rhine", max_retries=0)
    with pytest.raises(openai.APIStatusError) as their:
        theirs.embeddings.create(model=MODEL, input="Rhine")

    assert mine.value.status == their.value.status_code == status
    assert mine.value.retryable == (status == 429 or status >= 500)
