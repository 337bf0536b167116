"""OpenAI's own client as the judge of images: it sends what we send, file by file, and reads what we read."""

from __future__ import annotations

import base64
import email
import email.policy
from collections.abc import Iterator
from typing import Any

import openai
import pytest

import modelwrap
from tests.loopback import Answer, Asked, Loopback, event, json_answer

MODEL = "some-image-model"
KEY = "sk-canary-1"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
FILE = ("image.png", PNG, "image/png")
MASK = ("mask.png", PNG, "image/png")
JPEG = b"\xff\xd8\xff\xe0 of a kind"
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"}}

# Variations are.
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")

# How the call is made here, which operation it is there, and the arguments that it has there.
CALLS: dict[str, tuple[Any, dict[str, Any], str, dict[str, Any]]] = {
    "words": ("A cat.", {}, "generate", {"prompt": "A cat."}),
    "a message": ([{"role": "user", "content": "A cat."}], {}, "generate", {"prompt": "A cat."}),
    "parameters": (
        "A cat.",
        {"n": 2, "size": "1024x1024", "quality": "low", "background": "opaque", "moderation": "low", "user": "u"},
        "generate",
        {
            "prompt": "A cat.",
            "n": 2,
            "size": "1024x1024",
            "quality": "low",
            "background": "opaque",
            "moderation": "low",
            "user": "u",
        },
    ),
    "a format": (
        "A cat.",
        {"output_format": "webp", "output_compression": 50},
        "generate",
        {"prompt": "A cat.", "output_format": "webp", "output_compression": 50},
    ),
    "an old model's": (
        "A cat.",
        {"model": "dall-e-3", "style": "vivid", "response_format": "url"},
        "generate",
        {"prompt": "A cat.", "model": "dall-e-3", "style": "vivid", "response_format": "url"},
    ),
    "an object": (
        "A cat.",
        {"svg": {"model": "a", "reasoning": {"effort": "low"}}, "output_format": "svg"},
        "generate",
        {"prompt": "A cat.", "svg": {"model": "a", "reasoning": {"effort": "low"}}, "output_format": "svg"},
    ),
    "extra body": (
        "A cat.",
        {"extra_body": {"steps": 4}},
        "generate",
        {"prompt": "A cat.", "extra_body": {"steps": 4}},
    ),
    "an edit": ("Red.", {"image": PNG}, "edit", {"prompt": "Red.", "image": FILE}),
    "an edit in a message": (
        [{"role": "user", "content": ["Red.", PICTURE]}],
        {},
        "edit",
        {"prompt": "Red.", "image": FILE},
    ),
    "an edit with a mask": (
        "Red.",
        {"image": PNG, "mask": PNG, "n": 2, "input_fidelity": "high"},
        "edit",
        {"prompt": "Red.", "image": FILE, "mask": MASK, "n": 2, "input_fidelity": "high"},
    ),
    "an edit with markup": (
        "Red.",
        {"image": PNG, "markup": PNG},
        "edit",
        {"prompt": "Red.", "image": FILE, "markup": ("markup.png", PNG, "image/png")},
    ),
    "an edit of several": (
        "Both.",
        {"image": [PNG, JPEG]},
        "edit",
        {"prompt": "Both.", "image": [("image0.png", PNG, "image/png"), ("image1.jpeg", JPEG, "image/jpeg")]},
    ),
    "an edit of a list of one": (
        "Red.",
        {"image": [PNG]},
        "edit",
        {"prompt": "Red.", "image": [("image0.png", PNG, "image/png")]},
    ),
    "an edit with an object": (
        "Red.",
        {"image": PNG, "svg": {"model": "a"}, "size": "auto"},
        "edit",
        {"prompt": "Red.", "image": FILE, "svg": {"model": "a"}, "size": "auto"},
    ),
    "a variation": (None, {"image": PNG, "n": 2}, "create_variation", {"image": FILE, "n": 2}),
}
STREAMS = ["words", "an edit"]


@pytest.fixture(scope="module")
def host() -> Iterator[Loopback]:
    host = Loopback()
    yield host
    host.close()


@pytest.fixture
def server(host: Loopback) -> Loopback:
    host.asked.clear()
    host.script(json_answer({"created": 1, "data": [{"b64_json": "iVBOAAAA"}]}))
    return host


@pytest.fixture(scope="module")
def theirs(host: Loopback) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=KEY, base_url=host.base_url, max_retries=0) as client:
        yield client


def ours(server: Loopback, **config: Any) -> modelwrap.Model:
    given = {"config_name": "i", "model_type": "openai_dall_e", "model": MODEL, "api_key": KEY, **config}
    return modelwrap.load({**given, "client_args": {"base_url": server.base_url}})["i"]


def form(asked: Asked) -> list[Any]:
    head = f"Content-Type: {asked.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + asked.content, policy=email.policy.HTTP)
    return sorted(
        (
            part.get_param("name", header="content-disposition"),
            part.get_filename() or "",
            part.get_content_type() if part.get_filename() else "",
            part.get_payload(decode=True),
        )
        for part in message.iter_parts()  # type: ignore[attr-defined] # the policy makes these messages
    )


def assert_same(mine: Asked, their: Asked) -> None:
    assert mine.path == their.path
    assert mine.body == their.body
    for header in ("authorization", "accept"):
        assert mine.headers[header].replace("text/event-stream", "application/json") == their.headers[header]
    kinds = [asked.headers["content-type"].partition(";")[0] for asked in (mine, their)]
    assert kinds[0] == kinds[1]
    if mine.body is None:
        assert form(mine) == form(their)


@pytest.mark.parametrize("transport", ["http", "sdk"])
@pytest.mark.parametrize("name", CALLS)
def test_both_send_the_same_and_read_the_same(
    name: str, transport: str, server: Loopback, theirs: openai.OpenAI
) -> None:
    given, parameters, operation, own = CALLS[name]

    reply: Any = ours(server, transport=transport)(given, **parameters)
    their_reply = getattr(theirs.images, operation)(**{"model": MODEL, **own})

    mine, their = server.asked
    assert_same(mine, their)
    assert [image.b64_json for image in reply.data] == [image.b64_json for image in their_reply.data]
    assert reply.created == their_reply.created


@pytest.mark.parametrize("name", STREAMS)
def test_both_stream_the_same(name: str, server: Loopback, theirs: openai.OpenAI) -> None:
    given, parameters, operation, own = CALLS[name]
    kind = "image_edit" if operation == "edit" else "image_generation"
    pieces: list[bytes | float] = [
        event({"type": f"{kind}.partial_image", "b64_json": "iVBOAAAA", "partial_image_index": 0}),
        event({"type": f"{kind}.completed", "b64_json": "iVBOBBBB", "usage": {"total_tokens": 3}}),
    ]
    server.script(Answer(200, {"content-type": "text/event-stream"}, pieces))

    chunks = list(ours(server).stream(given, partial_images=1, **parameters))
    their_events = list(getattr(theirs.images, operation)(**{"model": MODEL, **own}, stream=True, partial_images=1))

    assert_same(*server.asked)
    read: list[Any] = chunks
    assert [(chunk.type, chunk.b64_json) for chunk in read] == [(one.type, one.b64_json) for one in their_events]


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_both_know_an_error(status: int, server: Loopback, theirs: openai.OpenAI) -> None:
    server.script(json_answer({"error": {"message": "No.", "type": "x", "code": None}}, status))

    with pytest.raises(modelwrap.CallError) as mine:
        ours(server)("A cat.", max_retries=0)
    with pytest.raises(openai.APIStatusError) as their:
        theirs.images.generate(model=MODEL, prompt="A cat.")

    assert mine.value.status == their.value.status_code == status
