from __future__ import annotations

import json
from typing import Any

import pytest

from modelwrap.capabilities import Traits, traits_for
from modelwrap.errors import BadRequest, InvalidResponse, RateLimited, UnsupportedParameter
from modelwrap.wire import gemini_embedding
from modelwrap.wire.embeddings import joined
from modelwrap.wire.http import Endpoint, HttpRequest, WireCall

BASE = "https://generativelanguage.googleapis.com/v1beta"
VERTEX = "https://aiplatform.googleapis.com/v1beta1/projects/p/locations/global/publishers/google"


def request(given: Any, model: str = "gemini-embedding-001", base: str = BASE, **parameters: Any) -> HttpRequest:
    call = WireCall(model, given, parameters)
    return gemini_embedding.to_request(call, Endpoint(base), traits_for(model, base, provider="gemini"))


def read(body: Any, given: Any = ("a", "b"), **parameters: Any) -> Any:
    call = WireCall("gemini-embedding-001", list(given) if isinstance(given, tuple) else given, parameters)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return gemini_embedding.from_response(data, {"x-request-id": "req_1"}, call, Traits())


def test_a_list_is_one_request_with_a_content_for_each_text() -> None:
    made = request(["a", "b"], dimensions=256, task_type="RETRIEVAL_QUERY", encoding_format="float")

    assert made.url == f"{BASE}/models/gemini-embedding-001:batchEmbedContents"
    assert made.json == {
        "requests": [
            {
                "model": "models/gemini-embedding-001",
                "content": {"parts": [{"text": text}]},
                "outputDimensionality": 256,
                "taskType": "RETRIEVAL_QUERY",
            }
            for text in ("a", "b")
        ]
    }


def test_a_text_alone_is_a_content_alone() -> None:
    made = request("a", title="A")

    assert made.url == f"{BASE}/models/gemini-embedding-001:embedContent"
    assert made.json == {"content": {"parts": [{"text": "a"}]}, "title": "A"}


def test_vertex_has_instances_for_its_older_models() -> None:
    made = request(["a", "b"], "text-embedding-005", VERTEX, dimensions=256, task_type="RETRIEVAL_QUERY")

    assert made.url == f"{VERTEX}/models/text-embedding-005:predict"
    assert made.json == {
        "instances": [{"content": text, "task_type": "RETRIEVAL_QUERY"} for text in ("a", "b")],
        "parameters": {"outputDimensionality": 256},
    }


def test_vertex_takes_one_content_for_its_newer_models() -> None:
    made = request(["a"], "gemini-embedding-2", VERTEX, dimensions=256)

    assert made.url == f"{VERTEX}/models/gemini-embedding-2:embedContent"
    assert made.json == {
        "content": {"parts": [{"text": "a"}]},
        "embedContentConfig": {"outputDimensionality": 256},
    }


def test_a_picture_may_stand_beside_a_text() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}

    made = request([["a", image], {"parts": [{"text": "b"}]}], "gemini-embedding-2")

    contents = [item["content"] for item in made.json["requests"]]
    assert contents == [
        {"parts": [{"text": "a"}, {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}]},
        {"parts": [{"text": "b"}]},
    ]


def test_a_task_without_effect_is_told() -> None:
    call = WireCall("gemini-embedding-2", ["a"], {"task_type": "RETRIEVAL_QUERY"})
    traits = traits_for("gemini-embedding-2", BASE, provider="gemini")

    made = gemini_embedding.to_request(call, Endpoint(BASE), traits)

    assert made.json["requests"][0]["taskType"] == "RETRIEVAL_QUERY"
    assert [(change.kind, change.what) for change in call.changes] == [("ignored", "task_type")]


@pytest.mark.parametrize("given", [[], [""], [7], "", None, {"role": "user", "content": "x"}])
def test_nothing_to_embed_is_refused(given: Any) -> None:
    with pytest.raises(BadRequest, match=r"^input"):
        request(given)


def test_what_gemini_cannot_do_is_refused() -> None:
    with pytest.raises(UnsupportedParameter):
        request(["a"], encoding_format="base64")


def test_what_changes_no_vector_is_left_out_and_told() -> None:
    call = WireCall("gemini-embedding-001", "a", {"user": "u1"})

    made = gemini_embedding.to_request(call, Endpoint(BASE), Traits())

    assert made.json == {"content": {"parts": [{"text": "a"}]}}
    assert [(change.kind, change.what) for change in call.changes] == [("dropped", "user")]


@pytest.mark.parametrize(
    "statistics, tokens", [(None, None), ({}, None), ({"token_count": 6.0}, 6), ({"token_count": "6"}, 6)]
)
def test_vertex_counts_in_any_way_or_not_at_all(statistics: Any, tokens: int | None) -> None:
    reply = read({"predictions": [{"embeddings": {"values": [1.0], "statistics": statistics}}]}, "a")

    assert (reply.meta.usage and reply.meta.usage.prompt) == tokens


@pytest.mark.parametrize(
    "body, tokens",
    [
        ({"embeddings": [{"values": [1, 0.5]}, {"values": [0, 1]}]}, None),
        ({"embeddings": [{"values": [1, 0.5]}, {"values": [0, 1]}], "usageMetadata": {"promptTokenCount": 4}}, 4),
        (
            {
                "predictions": [
                    {"embeddings": {"values": values, "statistics": {"token_count": 2}}}
                    for values in ([1, 0.5], [0, 1])
                ]
            },
            4,
        ),
    ],
)
def test_vectors_come_in_the_order_of_the_texts(body: Any, tokens: int | None) -> None:
    reply = read(body)

    assert reply.embeddings == [[1.0, 0.5], [0.0, 1.0]]
    assert reply.model == "gemini-embedding-001"
    assert reply.raw == body
    assert reply.meta.request_id == "req_1"
    assert (reply.meta.usage and reply.meta.usage.prompt) == tokens


@pytest.mark.parametrize(
    "body, words",
    [
        ({"embeddings": [{"values": [1.0]}]}, "2 were to come, 1 came"),
        ({"embeddings": [{"values": [1.0]}, {"values": [1.0, 2.0]}]}, r"\[1\]: has 2 dimensions, and 1 were to come"),
        ({"embeddings": [{"values": [1.0]}, {"values": []}]}, r"\[1\]: is no vector"),
        ({"embeddings": [{"values": [1.0]}, {}]}, r"\[1\]: is no vector"),
        ({"embeddings": [{"values": [1.0]}, {"values": ["x"]}]}, r"\[1\]: holds what is no number"),
        (b'{"embeddings": [{"values": [1.0]}, {"values": [NaN]}]}', r"\[1\]: holds what is no number"),
        ({}, "holds no embeddings"),
        ([], "holds no embeddings"),
    ],
)
def test_vectors_that_are_not_those_of_the_texts_are_an_error(body: Any, words: str) -> None:
    with pytest.raises(InvalidResponse, match=words) as caught:
        read(body)

    assert caught.value.request_id == "req_1"
    assert caught.value.body


def test_vectors_of_another_length_than_asked_for_are_an_error() -> None:
    with pytest.raises(InvalidResponse, match="has 2 dimensions, and 3 were to come"):
        read({"embeddings": [{"values": [1, 2]}, {"values": [1, 2]}]}, dimensions=3)


def test_an_error_under_success_is_what_it_says() -> None:
    with pytest.raises(RateLimited):
        read({"error": {"code": 429, "message": "Quota exceeded.", "status": "RESOURCE_EXHAUSTED"}})


def test_several_answers_are_joined_in_order_and_counted_together() -> None:
    parts = [
        read({"embeddings": [{"values": [float(number)]}], "usageMetadata": {"promptTokenCount": 2}}, ("a",))
        for number in range(3)
    ]

    whole = joined(parts)

    assert whole.embeddings == [[0.0], [1.0], [2.0]]
    assert [item.index for item in whole.data] == [0, 1, 2]
    assert whole.meta.usage is not None
    assert whole.meta.usage.prompt == 6
    assert whole.raw == [part.raw for part in parts]
