"""Every feature and quirk of the chat wire, one folder of plain JSON each, in tests/cases/openai_chat.

`case.json` says what the folder covers and what is asked. Beside it stand what must go out (`request.json`), or what
comes in (`reply.json`, `reply.txt`, `stream.sse`) and what must be read from it (`expected.json`), or an answer that
is no success together with the error that it means (`error.json`). What is expected is a part of what is read: keys
that a file does not name are not looked at, except in `request.json`, which is the whole body.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from pydantic import BaseModel, Field

from modelwrap.capabilities import Traits, traits_for
from modelwrap.errors import CallError
from modelwrap.models.messages import messages_from
from modelwrap.types import JSON, Change, ChatReply
from modelwrap.wire import openai_chat, sse
from modelwrap.wire.assembly import Assembly
from modelwrap.wire.http import Endpoint, WireCall
from modelwrap.wire.structured import response_format_of
from modelwrap.wire.usage import token_usage

CASES = Path(__file__).parents[1] / "cases" / "openai_chat"
FOLDERS = sorted(path for path in CASES.iterdir() if path.is_dir())


class Rivers(BaseModel):
    names: list[str] = Field(min_length=1)
    longest: str | None = None


MADE: dict[str, Callable[[Path, Any], Any]] = {
    "$bytes": lambda folder, value: base64.b64decode(value),
    "$path": lambda folder, value: folder / value,
    "$file_url": lambda folder, value: (folder / value).as_uri(),
    "$pil": lambda folder, value: PIL.Image.new(value, (2, 2)),
    "$class": lambda folder, value: {"Rivers": Rivers}[value],
    "$reply": lambda folder, value: ChatReply.model_validate(value),
}
"""What JSON cannot hold, made from a dict with this one key."""


class Case:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.given: dict[str, Any] = json.loads((folder / "case.json").read_text(encoding="utf-8"))
        base_url = self.given.get("base_url", "https://api.example.com/v1")
        self.endpoint = Endpoint(base_url)
        model = self.given.get("model", "a-model")
        self.traits: Traits = traits_for(model, base_url, overrides=self.given.get("capabilities"))
        parameters = made(self.given.get("parameters", {}), folder)
        if "response_format" in parameters:
            parameters["response_format"], _ = response_format_of(parameters["response_format"])
        changes: list[Change] = []
        self.call = WireCall(
            model=model,
            input=messages_from(made(self.given.get("messages", "Hello"), folder), changes),
            parameters=parameters,
            stream=self.given.get("stream", False),
            extra_body=self.given.get("extra_body", {}),
            unsupported=self.given.get("unsupported", "error"),
            changes=changes,
        )

    def json(self, name: str) -> JSON:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    def bytes(self, *names: str) -> bytes:
        return next((self.folder / name).read_bytes() for name in names if (self.folder / name).exists())

    @property
    def changes(self) -> list[str]:
        return [f"{change.kind} {change.what}" for change in self.call.changes]


def made(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [made(item, folder) for item in value]
    if not isinstance(value, dict):
        return value
    name = next(iter(value), "")
    if name in MADE:
        return MADE[name](folder, value[name])
    return {key: made(item, folder) for key, item in value.items()}


def assert_holds(actual: Any, expected: Any, where: str = "", *, exactly: bool = False) -> None:
    """Assert that everything that is expected is there, and with `exactly` nothing else."""
    if isinstance(expected, dict) and "$begins" in expected:
        assert str(actual).startswith(expected["$begins"]), where
    elif isinstance(expected, dict):
        assert isinstance(actual, dict), f"{where}: {actual!r} is no object"
        for name, value in expected.items():
            assert name in actual, f"{where}.{name} is missing"
            assert_holds(actual[name], value, f"{where}.{name}", exactly=exactly)
        assert not exactly or set(actual) == set(expected), where
    elif isinstance(expected, list):
        assert isinstance(actual, list), f"{where}: {actual!r} is no list"
        assert len(actual) == len(expected), f"{where}: {actual!r}"
        for position, (item, value) in enumerate(zip(actual, expected, strict=True)):
            assert_holds(item, value, f"{where}[{position}]", exactly=exactly)
    else:
        assert actual == expected, where


def read(reply: ChatReply, changes: list[str]) -> dict[str, Any]:
    """Lay out everything that a reply says."""
    usage = token_usage(reply.usage)
    counts = {name: getattr(usage, name) for name in (*usage.__dataclass_fields__, "total")}
    meta = {"finish_reason": reply.meta.finish_reason, "request_id": reply.meta.request_id}
    return {
        **reply.model_dump(exclude_unset=False),
        "text": reply.text,
        "tokens": counts,
        "meta": meta,
        "changes": changes,
        "dumped": reply.model_dump(),
    }


def said(error: CallError) -> dict[str, Any]:
    names = ("message", "status", "code", "request_id", "retry_after", "retryable", "body")
    return {"class": type(error).__name__, **{name: getattr(error, name) for name in names}}


async def events_of(body: bytes) -> AsyncIterator[sse.Event]:
    decoder = sse.Decoder()
    for event in (*decoder.feed(body), *decoder.finish()):
        yield event


def read_stream(case: Case) -> dict[str, Any]:
    assembly, end, texts = Assembly(), sse.End(), []

    async def read_all() -> None:
        events = events_of(case.bytes("stream.sse"))
        async for chunk in openai_chat.from_stream(events, case.call, case.traits, end):
            texts.append(chunk.text)
            assembly.add(chunk)

    try:
        asyncio.run(read_all())
    except CallError as error:
        partial = read(assembly.reply(), case.changes) if assembly else None
        return {"error": said(error), "partial": partial, "changes": case.changes}
    return {**read(assembly.reply(), case.changes), "texts": texts, "marked": end.marked}


def with_file(*names: str) -> Any:
    folders = [path for path in FOLDERS if any((path / name).exists() for name in names)]
    return pytest.mark.parametrize("folder", folders, ids=lambda path: path.name)


@with_file("request.json")
def test_what_is_asked_goes_out_as_it_should(folder: Path) -> None:
    case = Case(folder)
    before = json.dumps(case.call.parameters, default=str)

    request = openai_chat.to_request(case.call, case.endpoint, case.traits)

    assert_holds(request.json, case.json("request.json"), exactly=True)
    assert json.loads(request.content) == request.json
    assert request.url == f"{case.given['base_url']}/chat/completions"
    assert case.changes == case.given.get("changes", [])
    assert json.dumps(case.call.parameters, default=str) == before


@with_file("reply.json", "reply.txt")
def test_what_comes_in_one_piece_is_read(folder: Path) -> None:
    case = Case(folder)
    body = case.bytes("reply.json", "reply.txt")
    headers = case.given.get("headers", {})

    try:
        reply = openai_chat.from_response(body, headers, case.call, case.traits)
    except CallError as error:
        seen = {"error": said(error)}
    else:
        seen = read(reply, case.changes)

    assert_holds(seen, case.json("expected.json"))


@with_file("stream.sse")
def test_what_comes_in_pieces_is_read(folder: Path) -> None:
    case = Case(folder)

    seen = read_stream(case)

    assert_holds(seen, case.json("expected.json"))


@with_file("error.json")
def test_what_is_no_success_is_the_right_error(folder: Path) -> None:
    answer = Case(folder).json("error.json")
    body = answer["body"] if isinstance(answer["body"], str) else json.dumps(answer["body"])

    error = openai_chat.from_error(answer["status"], answer.get("headers", {}), body.encode())

    assert_holds(said(error), answer["expected"])


def test_every_case_says_what_it_covers_and_tests_something() -> None:
    covered = [Case(folder).given["covers"] for folder in FOLDERS]

    assert all(sentence.endswith(".") for sentence in covered)
    assert len(set(covered)) == len(covered)
    for folder in FOLDERS:
        names = {path.name for path in folder.iterdir()}
        comes_in = names & {"reply.json", "reply.txt", "stream.sse"}
        assert ("expected.json" in names) == bool(comes_in), folder
        assert comes_in or names & {"request.json", "error.json"}, folder


def test_there_are_enough_cases_and_one_row_for_each_parameter() -> None:
    rows = [case["parameter"] for case in (Case(folder).given for folder in FOLDERS) if "parameter" in case]

    assert len(FOLDERS) >= 60
    assert len(set(rows)) == len(rows)
    assert all("sent_as" in case for case in (Case(folder).given for folder in FOLDERS) if "parameter" in case)
