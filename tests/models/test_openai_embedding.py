"""Embedding models as people call them: what they take, and many texts over several requests."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import numpy as np
import pytest

import modelwrap
from modelwrap.errors import BadRequest, InvalidResponse, UnsupportedParameter
from modelwrap.testing import FaultServer
from modelwrap.types import Reply
from tests.colours import COLOURS, Colour
from tests.loopback import Answer, Asked, Loopback, error_answer, json_answer

CONCURRENT = COLOURS[1]


def load(base_url: str, **config: Any) -> modelwrap.Model:
    config = {"config_name": "e", "model_type": "openai_embedding", "model": "m", **config}
    return modelwrap.load({**config, "client_args": {"base_url": base_url, **config.get("client_args", {})}})["e"]


def vectors(asked: Asked) -> Answer:
    """Answer each text with its length and its place among those of the request."""
    given = asked.body["input"]
    texts = given if isinstance(given, list) and not isinstance(given[0], int) else [given]
    data = [
        {"object": "embedding", "index": place, "embedding": [float(len(text)), float(place)]}
        for place, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
    return json_answer({"object": "list", "data": data[::-1], "model": "m-1", "usage": usage})


@pytest.mark.parametrize(
    "given, sent",
    [
        ("Rhine", "Rhine"),
        (["Rhine", "Elbe"], ["Rhine", "Elbe"]),
        (("Rhine", "Elbe"), ["Rhine", "Elbe"]),
        ([1, 2, 3], [1, 2, 3]),
        ([[1, 2], [3]], [[1, 2], [3]]),
        ({"role": "user", "content": "Rhine"}, "Rhine"),
        ([{"role": "user", "content": "Rhine"}], ["Rhine"]),
        (
            [
                {"role": "user", "content": [{"type": "text", "text": "Rhine"}, "and Elbe"]},
                {"role": "assistant", "content": "Yes."},
            ],
            ["Rhine\nand Elbe", "Yes."],
        ),
    ],
)
def test_texts_tokens_and_messages_are_taken(colour: Colour, server: Loopback, given: Any, sent: Any) -> None:
    server.script(vectors)

    reply: Reply = colour.call(load(server.base_url), given)

    assert server.asked[0].path == "/v1/embeddings"
    assert server.asked[0].body == {"model": "m", "input": sent}
    assert reply.embeddings is not None
    assert len(reply.embeddings) == (len(sent) if isinstance(sent[0], (list, str)) and sent != "Rhine" else 1)
    assert (reply.text, reply.image_urls, reply.meta.attempts) == (None, None, 1)


@pytest.mark.parametrize(
    "given, words",
    [
        ([], "the list is empty"),
        (7, "must be text or a list of tokens, not int"),
        ([{"role": "user", "content": None}], r"messages\[0\].content: must be text"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.org/a.png"}}]}],
            "must be",
        ),
    ],
)
def test_what_is_no_text_is_refused_before_anything_is_sent(
    colour: Colour, server: Loopback, given: Any, words: str
) -> None:
    with pytest.raises(BadRequest, match=words):
        colour.call(load(server.base_url), given)

    assert server.asked == []


def test_many_texts_go_out_in_several_requests_and_come_back_as_one_reply(colour: Colour, server: Loopback) -> None:
    server.script(vectors)
    model = load(server.base_url, capabilities={"embedding": {"max_inputs": 10}})
    texts = ["x" * length for length in range(1, 96)]

    reply: Any = colour.call(model, texts)

    assert [vector[0] for vector in reply.embeddings] == [float(len(text)) for text in texts]
    assert [item.index for item in reply.data] == list(range(95))
    assert sorted(len(asked.body["input"]) for asked in server.asked) == [5, *[10] * 9]
    assert (reply.usage.prompt_tokens, reply.meta.usage.total, reply.meta.attempts) == (95, 95, 10)
    assert len(reply.raw) == 10


def test_requests_are_split_by_tokens_too(server: Loopback) -> None:
    server.script(vectors)
    model = load(server.base_url, capabilities={"embedding": {"max_tokens_per_request": 10}})

    reply = model(["é" * 3, "abcd", [1, 2, 3], "x" * 50])

    assert [len(asked.body["input"]) for asked in server.asked] == [2, 1, 1]
    assert reply.embeddings is not None


def test_openai_s_own_limits_are_kept_to(server: Loopback) -> None:
    server.script(vectors)
    model = load(server.base_url, model="text-embedding-3-small", capabilities={"like": "text-embedding-3-small"})

    body = model.explain(["x"] * 3000).body

    assert (len(body["input"]), body["encoding_format"]) == (2048, "base64")


def test_what_was_answered_is_not_asked_again_when_another_request_fails(colour: Colour, server: Loopback) -> None:
    failed: list[Any] = []

    def answer(asked: Asked) -> Answer:
        if asked.body["input"] == ["c"] and not failed:
            failed.append(asked)
            return error_answer(503, "busy", retry_after="0")
        return vectors(asked)

    server.script(answer)
    model = load(server.base_url, capabilities={"embedding": {"max_inputs": 1}})

    if colour.name == "blocking":
        reply: Reply = colour.call(model, ["a", "b", "c", "d"])
        sent = [asked.body["input"][0] for asked in server.asked]
        assert sent == ["a", "b", "c", "c", "d"]
    else:
        # At the same time: those that were under way when the third failed may have to be asked again.
        reply = colour.call(model, ["a", "b", "c", "d"])
    assert reply.embeddings == [[1.0, 0.0]] * 4


def test_more_requests_may_fail_once_than_one_may_fail_in_a_row(colour: Colour, server: Loopback) -> None:
    failed: set[str] = set()

    def answer(asked: Asked) -> Answer:
        (text,) = asked.body["input"]
        if text in "bdfhj" and text not in failed:
            failed.add(text)
            return error_answer(503, "busy", retry_after="0.01")
        return vectors(asked)

    server.script(answer)
    model = load(server.base_url, capabilities={"embedding": {"max_inputs": 1}})

    reply: Reply = colour.call(model, list("abcdefghijk"), max_retries=1)

    assert len(failed) == 5
    assert len(reply.embeddings or ()) == 11
    assert reply.meta.attempts == len(server.asked)


def test_a_server_that_takes_few_at_a_time_is_asked_again_for_the_others_alone(server: Loopback) -> None:
    under_way, lock = [0], threading.Lock()

    def answer(asked: Asked) -> Answer:
        with lock:
            if under_way[0] >= 4:
                return error_answer(429, "too many at once", retry_after="0.05")
            under_way[0] += 1
        time.sleep(0.04)
        with lock:
            under_way[0] -= 1
        return vectors(asked)

    server.script(answer)
    model = load(server.base_url, capabilities={"embedding": {"max_inputs": 1}})

    reply: Reply = CONCURRENT.call(model, [str(number) for number in range(16)])

    answered = [attempt for attempt in reply.meta.history if attempt.outcome == "ok"]
    assert len(answered) == len(reply.embeddings or ()) == 16


@pytest.mark.parametrize("wrong", ["fewer", "mixed", "nan"])
def test_wrong_vectors_are_an_error(colour: Colour, wrong: str) -> None:
    with FaultServer() as faulty:
        url = faulty.url("wrong_embeddings", wrong=wrong)
        with pytest.raises(InvalidResponse, match="embeddings"):
            colour.call(load(url), ["a", "b"])


def test_another_order_is_put_right(colour: Colour) -> None:
    with FaultServer() as faulty:
        reply: Reply = colour.call(load(faulty.url("wrong_embeddings", wrong="order")), ["a", "b"])

    assert reply.embeddings == [[0.0, 0.5], [1.0, 0.5]]


def test_vectors_come_as_an_array_on_request(server: Loopback) -> None:
    server.script(vectors)

    reply: Any = load(server.base_url)(["a", "bcd"])

    assert reply.numpy().dtype == np.float32
    assert reply.numpy().tolist() == [[1.0, 0.0], [3.0, 1.0]]


def test_vectors_do_not_come_in_pieces(colour: Colour, server: Loopback) -> None:
    with pytest.raises(UnsupportedParameter, match="one piece"):
        colour.stream(load(server.base_url), "a")

    assert server.asked == []


def test_a_key_of_agentscope_s_era_makes_the_same_model(server: Loopback) -> None:
    server.script(vectors)

    reply: Reply = load(server.base_url, model_type="OpenAIEmbeddingWrapper", generate_args={"user": "u"})("a")

    assert reply.embeddings == [[1.0, 0.0]]
    assert json.loads(server.asked[0].content)["user"] == "u"
