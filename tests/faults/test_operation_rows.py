"""The rows of the table that vectors, images and Azure have of their own, or where something else goes out."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

import modelwrap
from modelwrap.testing import FaultServer
from tests.colours import WAYS, Colour

KEY = "operation-canary-key"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
CHAT = "Name three rivers."
TEXTS = ["Rhine", "Elbe"]

# The type, what is asked, and the parameters of the call.
OPERATIONS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "azure chat": ("azure_openai", CHAT, {}),
    "azure vectors": ("azure_openai_embedding", TEXTS, {}),
    "azure images": ("azure_openai_dall_e", "A cat.", {}),
    "vectors": ("openai_embedding", TEXTS, {}),
    "images": ("openai_dall_e", "A cat.", {}),
    "an edit": ("openai_dall_e", "Red.", {"image": PNG}),
}
PAID = {"azure images", "images", "an edit"}

# Faults, the error that each is, whether another try may help, and whether it may where an image would be paid twice.
FAILING: list[tuple[str, dict[str, Any], str, bool, bool]] = [
    ("html_page", {}, "InvalidResponse", False, False),
    ("body", {"text": "null"}, "InvalidResponse", False, False),
    ("body", {"text": '"text"'}, "InvalidResponse", False, False),
    ("body", {"text": '{"data": "none"}'}, "InvalidResponse", False, False),
    ("body", {"text": '{"data": [3]}'}, "InvalidResponse", False, False),
    ("error_as_success", {}, "RateLimited", True, True),
    ("empty_body", {}, "InvalidResponse", True, False),
    ("broken_json", {}, "InvalidResponse", True, False),
    ("deep_json", {}, "InvalidResponse", False, False),
    ("bad_utf8", {}, "InvalidResponse", True, False),
    ("cut_body", {}, "ConnectionFailed", True, False),
    ("cut_gzip", {}, "InvalidResponse", True, False),
    ("status", {"code": 400}, "BadRequest", False, False),
    ("status", {"code": 401}, "AuthenticationFailed", False, False),
    ("status", {"code": 403}, "PermissionDenied", False, False),
    ("status", {"code": 404}, "NotFound", False, False),
    ("status", {"code": 503}, "Overloaded", True, True),
    ("bad_gateway", {}, "ServerFailed", True, True),
    ("retry_after", {}, "RateLimited", True, True),
    ("quota_exhausted", {}, "QuotaExhausted", False, False),
    ("echoed_key", {}, "AuthenticationFailed", False, False),
    ("filtered", {}, "ContentFiltered", False, False),
    ("close_before_headers", {}, "ConnectionFailed", True, False),
    ("reset_before_headers", {}, "ConnectionFailed", True, False),
    ("connection_refused", {}, "ConnectionFailed", True, True),
]


@pytest.fixture(params=WAYS, ids=lambda way: way.client)
def way(request: pytest.FixtureRequest) -> Colour:
    way: Colour = request.param
    return way


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


def load(url: str, model_type: str, **config: Any) -> modelwrap.Model:
    given = {"config_name": "m", "model_type": model_type, "model": "m", "api_key": KEY, **config}
    return modelwrap.load({**given, "client_args": {"base_url": url, "timeout": 20}})["m"]


def fails(way: Colour, url: str, operation: str) -> modelwrap.CallError:
    model_type, given, parameters = OPERATIONS[operation]
    with pytest.raises(modelwrap.CallError) as caught:
        way.call(load(url, model_type), given, max_retries=0, **parameters)
    assert KEY not in str(caught.value) + repr(vars(caught.value))
    return caught.value


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_redirect_is_followed(way: Colour, server: FaultServer, operation: str) -> None:
    elsewhere = server.url("good")
    targets = [(code, elsewhere) for code in (301, 302, 303, 307, 308)]
    odd = ["file:///etc/passwd", elsewhere.replace("http://", "http://user:word@"), "//", ""]

    before = server.seen("good").connections

    for code, target in [*targets, *((307, target) for target in odd)]:
        error = fails(way, server.url("redirect", code=code, to=target), operation)
        assert (type(error).__name__, error.attempts) == ("RedirectRefused", 1)

    assert server.seen("good").connections == before


@pytest.mark.parametrize("operation", OPERATIONS)
def test_where_nothing_goes_wrong_there_is_an_answer(way: Colour, server: FaultServer, operation: str) -> None:
    model_type, given, parameters = OPERATIONS[operation]

    reply: Any = way.call(load(server.url("good"), model_type), given, **parameters)

    assert reply.text or reply.image_urls or reply.embeddings


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_failure_has_its_class_and_says_whether_to_try_again(
    way: Colour, server: FaultServer, operation: str
) -> None:
    seen, expected = [], []
    for fault, options, kind, retryable, retryable_if_paid in FAILING:
        error = fails(way, server.url(fault, **options), operation)
        seen.append((fault, options, type(error).__name__, error.retryable, error.attempts))
        expected.append((fault, options, kind, retryable_if_paid if operation in PAID else retryable, 1))

    assert seen == expected


@pytest.mark.parametrize("model_type", ["openai_embedding", "azure_openai_embedding"])
@pytest.mark.parametrize("wrong", ["fewer", "mixed", "nan"])
def test_vectors_that_cannot_be_trusted_are_none(way: Colour, server: FaultServer, model_type: str, wrong: str) -> None:
    model = load(server.url("wrong_embeddings", wrong=wrong), model_type)

    with pytest.raises(modelwrap.InvalidResponse, match="embeddings"):
        way.call(model, TEXTS)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_no_number_that_is_none_comes_through(way: Colour, server: FaultServer, number: float, place: int) -> None:
    vector = [0.5, 0.5]
    vector[place] = number
    data = [{"index": 0, "embedding": [0.5, 0.5]}, {"index": 1, "embedding": vector}]

    with pytest.raises(modelwrap.InvalidResponse, match=r"embeddings\[1\]: holds what is no number"):
        way.call(load(server.url("body", text=json.dumps({"data": data})), "openai_embedding"), TEXTS)
