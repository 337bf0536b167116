"""A key that is known to no test but these goes in, and is looked for wherever something comes out."""

from __future__ import annotations

import asyncio
import base64
import copy
import dataclasses
import io
import json
import logging
import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import modelwrap
from modelwrap import testing
from modelwrap.cli import main
from modelwrap.secrets import Secret
from tests.colours import Colour
from tests.loopback import Answer, Loopback, chat_answer, error_answer, stream_answer

CANARY = "sk-canary/Zq3+7 9x"
FORMS = [
    CANARY,
    quote(CANARY, safe=""),
    base64.b64encode(CANARY.encode()).decode(),
    json.dumps(CANARY)[1:-1],
    CANARY[3:],
]


def found_in(text: str) -> list[str]:
    return [form for form in FORMS if form in text]


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Listen to everything that any library says."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s %(args)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


def config_at(server: Loopback) -> dict[str, Any]:
    return {
        "config_name": "gpt",
        "model_type": "openai",
        "api_key": CANARY,
        "client_args": {"base_url": server.base_url, "max_retries": 1, "default_headers": {"X-Api-Key": CANARY}},
    }


SCENES: dict[str, list[Answer]] = {
    "ok": [chat_answer()],
    "echoed by a 401": [error_answer(401, f"Incorrect API key provided: {CANARY}")],
    "echoed by a 400 in other forms": [error_answer(400, " ".join(FORMS[:3]))],
    "500": [error_answer(500, "broken")],
    "429": [error_answer(429, "slow", retry_after="999")],
    "timeout": [Answer(200, {}, [0.6])],
    "cut before the answer": [Answer(raw=True)],
    "cut body": [Answer(200, {"content-length": "99"}, [b"{"], cut=True)],
    "no JSON": [Answer(200, {}, [f"<html>{CANARY}</html>".encode()])],
    "no HTTP": [Answer(pieces=[f"key {CANARY}\r\n\r\n".encode()], raw=True)],
    "cut stream": [stream_answer("Hel", cut=True)],
}


@pytest.mark.parametrize("scene", SCENES)
def test_no_sink_shows_a_key(colour: Colour, server: Loopback, log: io.StringIO, tmp_path: Path, scene: str) -> None:
    server.script(*SCENES[scene])
    models = modelwrap.load(config_at(server))
    model = models["gpt"]
    recording = tmp_path / "recording.json"
    sinks: dict[str, str] = {}

    try:
        with testing.record(recording):
            if scene == "cut stream":
                colour.stream(model)
            else:
                sinks["reply"] = repr(colour.call(model, "Hi", timeout=0.3 if scene == "timeout" else 5))
    except modelwrap.CallError as error:
        sinks |= {
            "str": str(error),
            "repr": repr(error),
            "vars": repr(vars(error)),
            "pickle": repr(vars(pickle.loads(pickle.dumps(error)))),
            "pickled": pickle.dumps(error).decode("latin-1"),
            "deepcopy": repr(vars(copy.deepcopy(error))),
            "traceback": traceback.format_exc(),
            "locals": "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format()),
        }

    sinks |= {
        "model": repr(model) + repr(vars(model)) + repr(vars(model.model)),  # type: ignore[attr-defined]
        "deepcopied model": repr(vars(copy.deepcopy(models.config("gpt")))),
        "config": repr(models.config("gpt")) + str(models.config("gpt").model_dump()),
        "config as JSON": models.config("gpt").model_dump_json(),
        "explain": str(model.explain("Hi")) + repr(dataclasses.asdict(model.explain("Hi"))),
        # The client's own debug log quotes a status line that it cannot read.
        "log": log.getvalue() if scene != "no HTTP" else "",
        "recording": recording.read_text(encoding="utf-8"),
    }
    assert {name: found_in(text) for name, text in sinks.items() if found_in(text)} == {}
    assert server.asked[0].headers["authorization"] == f"Bearer {CANARY}"


def test_the_program_shows_no_key(server: Loopback, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.script(error_answer(401, f"Incorrect API key provided: {CANARY}"))
    path = tmp_path / "models.json"
    path.write_text(json.dumps(config_at(server)), encoding="utf-8")

    for arguments in (
        ["check"],
        ["models"],
        ["explain", "gpt", "Hi"],
        ["chat", "gpt", "Hi"],
        ["--debug", "chat", "gpt", "Hi"],
    ):
        main(["-c", str(path), *arguments])
    shown = capsys.readouterr()

    assert found_in(shown.out + shown.err) == []
    assert "Incorrect API key" in shown.err


@pytest.mark.parametrize(
    "broken",
    [
        '[{"config_name": "a", "model_type": "openai", "api_key": "KEY" "model": "m"}]',
        '[{"config_name": "a", "model_type": "openai", "api_key": "KEY]',
        '[{"config_name": "a", "model_type": "openai", "api_key": \'KEY\'}]',
        '[{"config_name": "a", "model_type": "openai", "api_key": ["KEY"]}]',
        '[{"config_name": "a", "model_type": "openai", "apikey": "KEY"}]',
        '[{"config_name": "a", "model_type": "opnai", "api_key": "KEY"}]',
        '[{"config_name": "a", "model_type": "openai", "client_args": {"default_headers": {"X": 1, "X-Key": "KEY"}}}]',
        '[{"config_name": "a", "model_type": "openai", "client_args": {"proxy": "http://u:KEY@host:1", "verify": 1}}]',
        '[{"config_name": "a", "model_type": "openai", "client_args": {"base_url": "https://u:KEY@host/v1"}}]',
    ],
)
def test_no_config_error_shows_a_key(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "models.json"
    path.write_text(broken.replace("KEY", "canary-3x7Qz"), encoding="utf-8")

    with pytest.raises(modelwrap.ConfigError) as caught:
        modelwrap.load(path)

    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(vars(caught.value))
    assert "canary-3x7Qz" not in shown


def test_a_key_with_a_newline_is_refused_without_being_shown(colour: Colour) -> None:
    from modelwrap.models.openai import OpenAI
    from modelwrap.wire.http import Endpoint

    model = OpenAI("gpt", "m", Endpoint("http://127.0.0.1:1/v1", {"authorization": Secret(f"Bearer {CANARY}\n")}))

    with pytest.raises(modelwrap.BadRequest, match="header authorization") as caught:
        colour.call(model)

    everything = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert found_in("".join(everything.format())) == []


def test_a_cancelled_call_shows_no_key(server: Loopback) -> None:
    server.script(Answer(200, {}, [0.2]))
    model = modelwrap.load(config_at(server))["gpt"]

    async def cancelled() -> str:
        task = asyncio.create_task(model.acall("Hi"))
        await asyncio.sleep(0.05)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError as error:
            return "".join(traceback.format_exception(error))
        return "not cancelled"

    shown = asyncio.run(cancelled())

    assert "CancelledError" in shown
    assert found_in(shown) == []
