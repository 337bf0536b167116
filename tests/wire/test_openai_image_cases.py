"""Every feature and quirk of the wire of images, one folder each in tests/cases/openai_image."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
from pathlib import Path
from typing import Any

import pytest

from modelwrap.errors import CallError
from modelwrap.models.call import Call
from modelwrap.models.openai_dall_e import read_asked
from modelwrap.runtime.base import Deadline
from modelwrap.secrets import reveal
from modelwrap.types import ImageChunk, ImageReply
from modelwrap.wire import multipart, openai_image, sse
from modelwrap.wire.http import HttpRequest, Timeouts
from modelwrap.wire.openai_image import ImageAssembly
from tests.wire.cases import (
    Case,
    assert_every_case_is_told_and_tests_something,
    assert_holds,
    events_of,
    folders,
    said,
    with_file,
)

WIRE = "openai_image"


def request_of(case: Case) -> HttpRequest:
    call = Call(case.call.input, case.call.parameters, Timeouts(), Deadline(5.0), 0, lasting=case.call.changes)
    case.call.input = read_asked(call)
    return openai_image.to_request(case.call, case.endpoint, case.traits)


def form_of(request: HttpRequest) -> list[list[Any]]:
    """Read a form by a parser of somebody else's: name, file name, type and text, or the size of a file."""
    head = f"Content-Type: {reveal(request.headers['content-type'])}\r\n\r\n".encode()
    message = email.message_from_bytes(head + request.content, policy=email.policy.HTTP)
    found = []
    for part in message.iter_parts():  # type: ignore[attr-defined] # the policy makes these messages
        content = part.get_payload(decode=True)
        filename = part.get_filename()
        name = part.get_param("name", header="content-disposition")
        kind = part.get_content_type() if filename else None
        found.append([name, filename, kind, len(content) if filename else content.decode()])
    return found


@with_file(WIRE, "request.json")
def test_what_is_asked_goes_out_as_it_should(folder: Path) -> None:
    case = Case(folder)
    expected = case.json("request.json")

    request = request_of(case)

    assert request.url == f"{case.endpoint.base_url}{expected['path']}"
    assert case.changes == case.given.get("changes", [])
    if "form" in expected:
        assert form_of(request) == expected["form"]
    else:
        assert reveal(request.headers["content-type"]) == "application/json"
        assert_holds(request.json, expected["json"], exactly=True)
        assert json.loads(request.content) == request.json


@with_file(WIRE, "refused.json")
def test_what_cannot_go_out_is_refused_here(folder: Path) -> None:
    case = Case(folder)

    with pytest.raises(CallError) as caught:
        request_of(case)

    assert_holds(said(caught.value), case.json("refused.json"))
    assert not caught.value.sent


@with_file(WIRE, "reply.json", "reply.txt")
def test_what_comes_in_one_piece_is_read(folder: Path) -> None:
    case = Case(folder)
    body = case.bytes("reply.json", "reply.txt")

    try:
        reply = openai_image.from_response(body, case.given.get("headers", {}), case.call, case.traits)
    except CallError as error:
        seen = {"error": said(error)}
    else:
        seen = read(reply, case)
        assert reply.raw == json.loads(body)

    assert_holds(seen, case.json("expected.json"))


@with_file(WIRE, "stream.sse")
def test_what_comes_in_pieces_is_read(folder: Path) -> None:
    case = Case(folder)

    assert_holds(read_stream(case), case.json("expected.json"))


@with_file(WIRE, "error.json")
def test_what_is_no_success_is_the_right_error(folder: Path) -> None:
    answer = Case(folder).json("error.json")

    error = openai_image.from_error(answer["status"], {}, json.dumps(answer["body"]).encode())

    assert_holds(said(error), answer["expected"])


def test_every_case_says_what_it_covers_and_tests_something() -> None:
    assert_every_case_is_told_and_tests_something(WIRE)
    assert len(folders(WIRE)) >= 40


def read(reply: ImageReply, case: Case) -> dict[str, Any]:
    usage = reply.meta.usage
    return {
        "image_urls": reply.image_urls,
        "sizes": [len(image.content) if image.content else None for image in reply.data],
        "tokens": usage and [usage.prompt, usage.completion, usage.total],
        "request_id": reply.meta.request_id,
        "dumped": reply.model_dump(),
        "changes": case.changes,
    }


def read_stream(case: Case) -> dict[str, Any]:
    assembly, end, pieces = ImageAssembly(), sse.End(), []

    async def read_all() -> None:
        events = events_of(case.bytes("stream.sse"))
        async for chunk in openai_image.from_stream(events, case.call, case.traits, end):
            assert isinstance(chunk, ImageChunk)
            assert chunk.image_urls or chunk.usage
            pieces.append(chunk.partial)
            assembly.add(chunk)

    try:
        asyncio.run(read_all())
    except CallError as error:
        return {"error": said(error), "pieces": pieces}
    return {**read(assembly.reply(), case), "pieces": pieces, "marked": end.marked}


# Forms.


def test_the_same_form_is_always_the_same_bytes() -> None:
    parts = [*multipart.fields({"n": 1}), multipart.Part("image", b"\x00\r\n--", "a.png", "image/png")]

    assert multipart.to_form(parts) == multipart.to_form(list(parts))
    assert multipart.to_form(parts) != multipart.to_form(parts[:1])


def test_names_in_a_form_cannot_forge_its_lines() -> None:
    part = multipart.Part('a"b\r\nX: 1', b"c", 'd"\r\n.png')

    assert part.head.count(b"\r\n") == 2
    assert b'name="a%22b%0D%0AX: 1"; filename="d%22%0D%0A.png"' in part.head
