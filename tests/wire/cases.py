"""Folders of plain JSON that show each feature and quirk of a wire; every codec's are read in the same way.

`case.json` says what the folder covers and what is asked. Beside it stand what must go out (`request.json`, or
`refused.json` where nothing may), or what comes in (`reply.json`, `reply.txt`, `stream.sse`) and what must be read from
it (`expected.json`), or an answer that is no success together with the error that it means (`error.json`). What is
expected is a part of what is read: keys that a file does not name are not looked at, except in `request.json`, which is
the whole body.
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
from modelwrap.wire import sse
from modelwrap.wire.assembly import Assembly
from modelwrap.wire.http import Endpoint, WireCall
from modelwrap.wire.structured import response_format_of
from modelwrap.wire.usage import token_usage

CASES = Path(__file__).parents[1] / "cases"


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
    def __init__(self, folder: Path, *, provider: str | None = None, strict: bool = True) -> None:
        self.folder = folder
        self.given: dict[str, Any] = json.loads((folder / "case.json").read_text(encoding="utf-8"))
        base_url = self.given.get("base_url", "https://api.example.com/v1")
        self.endpoint = Endpoint(base_url)
        model = self.given.get("model", "a-model")
        overrides = self.given.get("capabilities")
        self.traits: Traits = traits_for(model, base_url, provider=provider, overrides=overrides)
        parameters = made(self.given.get("parameters", {}), folder)
        # That of images is a word.
        if not isinstance(parameters.get("response_format", ""), str):
            parameters["response_format"], _ = response_format_of(parameters["response_format"], strict=strict)
        changes: list[Change] = []
        self.call = WireCall(
            model=model,
            input=made(self.given["input"], folder)
            if "input" in self.given
            else messages_from(made(self.given.get("messages", "Hello"), folder), changes),
            parameters=parameters,
            stream=self.given.get("stream", False),
            extra_body=self.given.get("extra_body", {}),
            unsupported=self.given.get("unsupported", "error"),
            resumes=self.given.get("resumes"),
            changes=changes,
        )

    def json(self, name: str) -> JSON:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    def bytes(self, *names: str) -> bytes:
        return next((self.folder / name).read_bytes() for name in names if (self.folder / name).exists())

    @property
    def changes(self) -> list[str]:
        return [f"{change.kind} {change.what}" for change in self.call.changes]


def folders(wire: str) -> list[Path]:
    return sorted(path for path in (CASES / wire).iterdir() if path.is_dir())


def with_file(wire: str, *names: str) -> Any:
    """Run a test for each folder of a wire that has one of these files."""
    found = [path for path in folders(wire) if any((path / name).exists() for name in names)]
    return pytest.mark.parametrize("folder", found, ids=lambda path: path.name)


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


def read_reply(case: Case, codec: Any) -> dict[str, Any]:
    body = case.bytes("reply.json", "reply.txt")
    try:
        reply = codec.from_response(body, case.given.get("headers", {}), case.call, case.traits)
    except CallError as error:
        partial = read(error.partial, case.changes) if error.partial else None
        return {"error": said(error), "partial": partial, "changes": case.changes}
    return read(reply, case.changes)


async def events_of(body: bytes) -> AsyncIterator[sse.Event]:
    decoder = sse.Decoder()
    for event in (*decoder.feed(body), *decoder.finish()):
        yield event


def read_stream(case: Case, codec: Any) -> dict[str, Any]:
    assembly, end, texts = Assembly(), sse.End(), []

    async def read_all() -> None:
        events = events_of(case.bytes("stream.sse"))
        async for chunk in codec.from_stream(events, case.call, case.traits, end):
            texts.append(chunk.text)
            assembly.add(chunk)

    try:
        asyncio.run(read_all())
    except CallError as error:
        partial = read(assembly.reply(), case.changes) if assembly else None
        return {"error": said(error), "partial": partial, "changes": case.changes}
    return {**read(assembly.reply(), case.changes), "texts": texts, "marked": end.marked, "paused": end.paused}


def assert_every_case_is_told_and_tests_something(wire: str) -> None:
    covered = [json.loads((folder / "case.json").read_text(encoding="utf-8"))["covers"] for folder in folders(wire)]

    assert all(sentence.endswith(".") for sentence in covered)
    assert len(set(covered)) == len(covered)
    for folder in folders(wire):
        names = {path.name for path in folder.iterdir()}
        comes_in = names & {"reply.json", "reply.txt", "stream.sse"}
        assert ("expected.json" in names) == bool(comes_in), folder
        assert comes_in or names & {"request.json", "refused.json", "error.json"}, folder
