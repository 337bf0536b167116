"""OpenAI's own client for Azure as the judge: the same URL, query, header and JSON, by key and by token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

import modelwrap
from tests.judge.test_image_judge import PNG, form
from tests.loopback import Asked, Loopback, chat_answer, json_answer
from tests.models.test_azure import VARIABLES

KEY = "azure-canary-1"
MODEL = "gpt-4.1-mini"
DATED, PREVIEW = "2025-01-01-preview", "preview"
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
HELLO = [{"role": "user", "content": "Hi"}]

CHATS: dict[str, dict[str, Any]] = {
    "plain": {},
    "sampling": {"temperature": 0.5, "top_p": 0.9, "seed": 1},
    "limit": {"max_tokens": 5},
    "tools": {"tools": [WEATHER], "tool_choice": "auto"},
    "format": {"response_format": {"type": "json_object"}},
    "logprobs": {"logprobs": True, "top_logprobs": 2},
    "data sources": {"extra_body": {"data_sources": [{"type": "azure_search", "parameters": {}}]}},
    "query": {"extra_query": {"a": "b"}},
}
# What a client is made of, beside the endpoint and the key.
PLACES: dict[str, dict[str, Any]] = {
    "deployment by the model": {"api_version": DATED},
    "deployment of its own": {"api_version": DATED, "azure_deployment": "prod"},
    "extra query": {"api_version": DATED, "default_query": {"trace": "on"}},
}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def host() -> Iterator[Loopback]:
    host = Loopback()
    yield host
    host.close()


@pytest.fixture
def server(host: Loopback) -> Loopback:
    host.asked.clear()
    host.script(chat_answer())
    return host


def endpoint(server: Loopback) -> str:
    return f"http://127.0.0.1:{server.port}"


def ours(server: Loopback, model_type: str = "azure_openai", **client_args: Any) -> modelwrap.Model:
    who = {} if "azure_ad_token" in client_args else {"api_key": KEY}
    given = {"config_name": "a", "model_type": model_type, "model": MODEL, **who}
    where = {} if "base_url" in client_args else {"azure_endpoint": endpoint(server)}
    return modelwrap.load({**given, "client_args": {**where, **client_args}})["a"]


def theirs(server: Loopback, **arguments: Any) -> openai.AzureOpenAI:
    who = {} if "azure_ad_token" in arguments else {"api_key": KEY}
    where = {} if "base_url" in arguments else {"azure_endpoint": endpoint(server)}
    return openai.AzureOpenAI(max_retries=0, **who, **where, **arguments)


def assert_same(server: Loopback) -> None:
    mine, their = server.asked
    assert mine.path.partition("?")[0] == their.path.partition("?")[0]
    assert query(mine) == query(their)
    assert mine.body == their.body
    for header in ("api-key", "authorization", "content-type"):
        assert mine.headers.get(header) == their.headers.get(header), header


def query(asked: Asked) -> list[str]:
    return sorted(asked.path.partition("?")[2].split("&"))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", CHATS)
def test_both_send_the_same_chat(name: str, place: str, server: Loopback) -> None:
    parameters, arguments = CHATS[name], PLACES[place]

    reply = ours(server, **arguments)(HELLO, **parameters)
    with theirs(server, **arguments) as client:
        their_reply = client.chat.completions.create(model=MODEL, messages=HELLO, **parameters)

    assert_same(server)
    assert reply.text == their_reply.choices[0].message.content


def test_both_stream_the_same_way(server: Loopback) -> None:
    model = ours(server, api_version=DATED)

    list(model.stream(HELLO))
    with theirs(server, api_version=DATED) as client:
        options: Any = {"include_usage": True}
        list(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True, stream_options=options))

    assert_same(server)


@pytest.mark.parametrize("version", [DATED, PREVIEW])
def test_both_log_in_with_a_token_the_same_way(version: str, server: Loopback) -> None:
    base_url = {"base_url": f"{endpoint(server)}/openai/v1"} if version == PREVIEW else {}

    ours(server, api_version=version, azure_ad_token="token-1", **base_url)(HELLO)
    with theirs(server, api_version=version, azure_ad_token="token-1", **base_url) as client:
        client.chat.completions.create(model=MODEL, messages=HELLO)

    mine, their = server.asked
    assert mine.headers["authorization"] == their.headers["authorization"] == "Bearer token-1"
    if version == DATED:
        assert_same(server)
    else:
        # Their client puts the deployment into the path of v1, too, where Azure has none.
        assert mine.body == their.body
        assert query(mine) == query(their)
        assert mine.path.startswith("/openai/v1/chat/completions")


def test_the_path_of_all_is_that_of_their_plain_client(server: Loopback) -> None:
    ours(server)(HELLO)
    with openai.OpenAI(base_url=f"{endpoint(server)}/openai/v1/", api_key=KEY, max_retries=0) as client:
        client.chat.completions.create(model=MODEL, messages=HELLO)

    mine, their = server.asked
    assert (mine.path, mine.body) == (their.path, their.body)
    # Azure takes the key under either name.
    assert f"Bearer {mine.headers['api-key']}" == their.headers["authorization"]


@pytest.mark.parametrize("place", PLACES)
def test_both_ask_for_vectors_in_the_same_way(place: str, server: Loopback) -> None:
    server.script(json_answer({"data": [{"index": 0, "embedding": [1.0], "object": "embedding"}], "model": "m"}))

    ours(server, "azure_openai_embedding", **PLACES[place])("Hi", encoding_format="float")
    with theirs(server, **PLACES[place]) as client:
        client.embeddings.create(model=MODEL, input="Hi", encoding_format="float")

    assert_same(server)


@pytest.mark.parametrize("place", PLACES)
def test_both_ask_for_images_in_the_same_way(place: str, server: Loopback) -> None:
    server.script(json_answer({"created": 1, "data": [{"b64_json": "iVBOAAAA"}]}))

    ours(server, "azure_openai_dall_e", **PLACES[place])("A cat.", n=1)
    with theirs(server, **PLACES[place]) as client:
        client.images.generate(model=MODEL, prompt="A cat.", n=1)

    assert_same(server)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_both_edit_images_in_the_same_way(place: str, several: bool, server: Loopback) -> None:
    server.script(json_answer({"created": 1, "data": [{"b64_json": "iVBOAAAA"}]}))
    file, listed = ("image.png", PNG, "image/png"), ("image0.png", PNG, "image/png")

    model = ours(server, "azure_openai_dall_e", **PLACES[place])
    model("Red.", image=[PNG] if several else PNG, mask=PNG, n=2)
    with theirs(server, **PLACES[place]) as client:
        mask = ("mask.png", PNG, "image/png")
        client.images.edit(model=MODEL, prompt="Red.", image=[listed] if several else file, mask=mask, n=2)

    mine, their = server.asked
    assert (mine.path.partition("?")[0], query(mine)) == (their.path.partition("?")[0], query(their))
    assert mine.headers["api-key"] == their.headers["api-key"]
    assert form(mine) == form(their)


@pytest.mark.parametrize("place", ["deployment by the model", "deployment of its own"])
def test_both_ask_for_responses_in_the_same_way(place: str, server: Loopback) -> None:
    item = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "So.", "annotations": []}],
    }
    body = {"id": "r", "object": "response", "created_at": 1, "model": MODEL, "status": "completed", "output": [item]}
    server.script(json_answer(body))
    deployment = PLACES[place].get("azure_deployment", MODEL)
    config = {"config_name": "a", "model_type": "azure_openai", "model": MODEL, "api_key": KEY, "api": "responses"}

    given = {**config, "client_args": {"azure_endpoint": endpoint(server), **PLACES[place]}}
    modelwrap.load(given)["a"](HELLO)
    with theirs(server, **PLACES[place]) as client:
        client.responses.create(model=deployment, input=server.asked[0].body["input"], store=False)

    mine, their = server.asked
    assert mine.path == their.path
    assert {name: mine.body.get(name) for name in their.body} == their.body
    assert mine.headers["api-key"] == their.headers["api-key"]
