"""Services of every shape, as folders of JSON: what they are asked, what they answer, and what is read from it.

`case.json` says what the folder covers, and holds keys of the config, the input and the parameters of the call.
`request.json` is the whole JSON that goes out; `reply.json`, `reply.txt` or `stream.txt` what comes back; of that
`expected.json` is a part of what is read, or `error.json` of the error that it means.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import modelwrap
from modelwrap.errors import CallError
from modelwrap.types import ChatChunk, Reply
from tests.colours import Colour
from tests.loopback import Answer, Loopback
from tests.wire.cases import CASES, assert_holds

FOLDERS = sorted(path for path in (CASES / "post_api").iterdir() if path.is_dir())


def given(folder: Path, name: str) -> Any:
    path = folder / name
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def answer_of(folder: Path, case: dict[str, Any]) -> Answer:
    names = ("reply.json", "reply.txt", "stream.txt")
    body = next(((folder / name).read_bytes() for name in names if (folder / name).exists()), b'{"text": "fine"}')
    # In halves, which cut through lines and letters.
    half = len(body) // 2
    headers = case.get("headers", {"content-type": "application/json"})
    return Answer(case.get("status", 200), headers, [piece for piece in (body[:half], body[half:]) if piece])


def told(reply: Reply) -> dict[str, Any]:
    return {
        **reply.model_dump(),
        "text": reply.text,
        "image_urls": reply.image_urls,
        "embeddings": reply.embeddings,
    }


def said(error: CallError) -> dict[str, Any]:
    names = ("message", "status", "retry_after", "retryable")
    partial = error.partial.text if error.partial else None
    return {"class": type(error).__name__, "partial": partial, **{name: getattr(error, name) for name in names}}


def asked(colour: Colour, model: modelwrap.Model, case: dict[str, Any]) -> dict[str, Any]:
    """Call a model as a case says, and lay out what becomes of it."""
    chunks: list[ChatChunk] = []
    try:
        if case.get("stream"):
            chunks, reply = colour.stream(model, case.get("input", "Hi"), **case.get("parameters", {}))
        else:
            reply = colour.call(model, case.get("input", "Hi"), **case.get("parameters", {}))
    except CallError as error:
        return {"error": said(error)}
    return {**told(reply), "texts": [chunk.text for chunk in chunks]}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_service_is_asked_and_read_as_its_case_says(folder: Path, colour: Colour, server: Loopback) -> None:
    case = given(folder, "case.json")
    server.script(answer_of(folder, case))
    config = {"config_name": "it", "model_type": "post_api", "max_retries": 1, **case.get("config", {})}
    model = modelwrap.load({**config, "api_url": f"http://127.0.0.1:{server.port}/llm"})["it"]

    outcome = asked(colour, model, case)

    if (request := given(folder, "request.json")) is not None:
        assert server.asked[0].body == request
    if (error := given(folder, "error.json")) is not None:
        assert_holds(outcome, {"error": error})
    else:
        assert "error" not in outcome, outcome
        assert_holds(outcome, given(folder, "expected.json") or {})


def test_every_case_is_told_and_tests_something() -> None:
    covered = [given(folder, "case.json")["covers"] for folder in FOLDERS]

    assert all(sentence.endswith(".") for sentence in covered)
    assert len(set(covered)) == len(covered)
    for folder in FOLDERS:
        names = {path.name for path in folder.iterdir()}
        assert names & {"request.json", "expected.json", "error.json"}, folder
        assert ("expected.json" in names or "error.json" in names) or not names & {"reply.json", "reply.txt"}, folder
