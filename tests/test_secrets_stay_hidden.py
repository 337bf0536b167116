"""A key that is known to no test but these goes in, and is looked for wherever something comes out."""

from __future__ import annotations

import base64
import copy
import dataclasses
import json
import logging
import pickle
import socket
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

import modelwrap
from modelwrap import testing
from modelwrap.cli import main
from modelwrap.errors import chain
from modelwrap.secrets import Secret
from tests.colours import COLOURS, WAYS, Colour
from tests.hidden import frames_when_cancelled
from tests.loopback import Answer, Loopback, chat_answer, chunk, error_answer, event, stream_answer
from tests.raw_port import a_port

CANARY = "sk-canary/Zq3+7 9x"
FORMS = [
    CANARY,
    quote(CANARY),
    quote(CANARY, safe=""),
    quote_plus(CANARY),
    quote(CANARY, safe="").replace("%2F", "%2f").replace("%2B", "%2b"),
    base64.b64encode(CANARY.encode()).decode().rstrip("="),
    json.dumps(CANARY)[1:-1].replace("/", "\\/"),
    CANARY[3:],
]
ECHO = "; ".join(FORMS[:-1])
"""What a careless server says: the key, in every form in which it may have come by."""


def found_in(text: str) -> list[str]:
    return [form for form in FORMS if form in text]


class Listener(logging.Handler):
    """Write down everything that any library says, and what it said it with."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        raised = traceback.format_exception(*record.exc_info) if record.exc_info else []
        self.heard += [record.getMessage(), repr(vars(record)), *raised]


@pytest.fixture
def log() -> Iterator[Listener]:
    listener = Listener()
    names = ["", "modelwrap", "httpx2", "httpcore2", "aiohttp", "asyncio", "urllib3"]
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    loggers[0].addHandler(listener)
    yield listener
    loggers[0].removeHandler(listener)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every retry come at once."""
    monkeypatch.setattr("random.uniform", lambda least, most: least)


Config = Callable[[Loopback], dict[str, Any]]


def openai_at(server: Loopback) -> dict[str, Any]:
    return {
        "config_name": "gpt",
        "model_type": "openai",
        "api_key": CANARY,
        "client_args": {"base_url": server.base_url, "max_retries": 1, "default_headers": {"X-Api-Key": CANARY}},
    }


def post_api_at(server: Loopback) -> dict[str, Any]:
    return {
        "config_name": "gpt",
        "model_type": "post_api",
        "api_url": server.base_url,
        "headers": {"Authorization": f"Bearer {CANARY}", "Cookie": f"session={CANARY}"},
        "json_args": {"access_token": CANARY, "max_tokens": 7, "tokenizer": "plain"},
        "max_retries": 2,
    }


def azure_like_at(server: Loopback) -> dict[str, Any]:
    """Carry no bearer, but a header of the provider's own and a login at a proxy."""
    config = openai_at(server)
    config["client_args"] |= {"proxy": f"http://user:{quote(CANARY, safe='')}@127.0.0.1:{server.port}"}
    return {**config, "client_args": {**config["client_args"], "default_headers": {"api-key": CANARY}}}


def azure_at(server: Loopback) -> dict[str, Any]:
    """Carry a token, and the key of a gateway beside it."""
    client_args = {
        "azure_endpoint": f"http://127.0.0.1:{server.port}",
        "azure_ad_token": CANARY,
        "api_version": "2024-10-21",
        "default_headers": {"Ocp-Apim-Subscription-Key": CANARY},
        "max_retries": 1,
    }
    return {"config_name": "gpt", "model_type": "azure_openai", "model": "gpt-4o", "client_args": client_args}


def claude_at(server: Loopback) -> dict[str, Any]:
    config = {**openai_at(server), "config_name": "gpt", "model_type": "claude", "model": "claude-opus-5"}
    config["client_args"]["default_headers"] = {"Proxy-Authorization": f"Basic {CANARY}"}
    return config


def responses_at(server: Loopback) -> dict[str, Any]:
    return {**openai_at(server), "api": "responses"}


def openai_sdk_at(server: Loopback) -> dict[str, Any]:
    return {**openai_at(server), "model": "gpt-4o", "transport": "sdk"}


CONFIGS: list[Config] = [openai_at, post_api_at, azure_like_at, azure_at, claude_at, responses_at, openai_sdk_at]

SCENES: dict[str, Answer] = {
    "ok": chat_answer(),
    "ok, echoed": chat_answer("Hello", refusal=None, x_key=ECHO),
    "ok in pieces": stream_answer("Hel", "lo"),
    "400": error_answer(400, ECHO),
    "401": error_answer(401, f"Incorrect API key provided: {CANARY}", code=CANARY),
    "429": error_answer(429, ECHO, retry_after="999"),
    "500": error_answer(500, ECHO),
    "503 as a page": Answer(503, {}, [f"<html>{ECHO}</html>".encode()]),
    "redirect": Answer(307, {"location": f"http://127.0.0.1:1/?key={FORMS[2]}"}, [ECHO.encode()]),
    "echoed in a header": error_answer(403, "no", x_request_id=CANARY),
    "timeout": Answer(200, {}, [0.6]),
    "timeout in the body": Answer(200, {"content-length": "9999"}, [ECHO.encode(), 0.6]),
    "cut before the answer": Answer(raw=True),
    "cut in the body": Answer(200, {"content-length": "9999"}, [ECHO.encode()], cut=True),
    "cut in pieces": Answer(200, {}, [ECHO.encode()], cut=True),
    "no JSON": Answer(200, {}, [f"<html>{ECHO}</html>".encode()]),
    "no UTF-8": Answer(200, {}, [f'{{"{ECHO}'.encode() + b"\xff"]),
    "no gzip": Answer(200, {"content-encoding": "gzip"}, [ECHO.encode()]),
    "no HTTP": Answer(pieces=[f"key {ECHO}\r\n\r\n".encode()], raw=True),
    "cut stream": stream_answer("Hel", cut=True),
    "error in a stream": stream_answer(
        before=[event(chunk("Hel")), event({"error": {"message": ECHO, "code": 500}})], cut=True
    ),
    "no JSON in a stream": stream_answer(before=[event(chunk("Hel")), event(ECHO.encode())], cut=True),
}

# The reply is the model's, and says what the model says.
REPLY_ECHOES = ("ok, echoed",)

# The client's own debug log quotes what it was sent, of a head that is broken or that repeats what we sent.
LOG_ECHOES = ("no HTTP", "echoed in a header", "redirect")


@pytest.mark.parametrize(
    "colour", [*COLOURS, pytest.param(WAYS[-1], marks=pytest.mark.prove)], ids=lambda way: way.client
)
@pytest.mark.parametrize(
    "config",
    [*CONFIGS[:-1], pytest.param(CONFIGS[-1], marks=pytest.mark.prove)],
    ids=lambda config: config.__name__.removesuffix("_at"),
)
@pytest.mark.parametrize("scene", SCENES)
def test_no_sink_shows_a_key(
    colour: Colour, server: Loopback, log: Listener, tmp_path: Path, config: Config, scene: str
) -> None:
    server.script(SCENES[scene])
    models = modelwrap.load(config(server))
    model = models["gpt"]
    recording = tmp_path / "recording.json"
    sinks: dict[str, str] = {}

    try:
        with testing.record(recording):
            if scene.endswith(("stream", "pieces")) and config is not post_api_at:
                _, reply = colour.stream(model, timeout=0.3 if "timeout" in scene else 5)
            else:
                reply = colour.call(model, "Hi", timeout=0.3 if "timeout" in scene else 5)
        if scene not in REPLY_ECHOES:
            sinks["reply"] = repr(reply) + "".join(texts_in(reply))
        sinks["meta"] = repr(reply.meta) + "".join(texts_in(reply.meta))
    except modelwrap.CallError as error:
        sinks |= {
            "str": str(error),
            "repr": repr(error),
            "vars": repr(vars(error)) + "".join(texts_in(error)),
            "causes": "".join(text for cause in chain(error) for text in [str(cause), repr(cause), *texts_in(cause)]),
            "pickle": repr(vars(pickle.loads(pickle.dumps(error)))),
            "pickled": pickle.dumps(error).decode("latin-1"),
            "deepcopy": repr(vars(copy.deepcopy(error))),
            "traceback": traceback.format_exc(),
            "locals": "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format()),
        }

    sinks |= {
        "model": repr(model) + repr(vars(model)) + "".join(texts_in(model)),
        "config": repr(models.config("gpt")) + str(models.config("gpt").model_dump()) + "".join(texts_in(models)),
        "deepcopied config": repr(vars(copy.deepcopy(models.config("gpt")))),
        "config as JSON": models.config("gpt").model_dump_json(),
        "pickled config": pickled(models.config("gpt")),
        "pickled model": pickled(model),
        "explain": str(model.explain("Hi")) + repr(dataclasses.asdict(model.explain("Hi"))),
        "log": "" if scene in LOG_ECHOES else "\n".join(log.heard),
        "recording": "" if scene in REPLY_ECHOES else recording.read_text(encoding="utf-8"),
        "URLs": "\n".join(asked.path for asked in server.asked),
    }
    assert {name: found_in(text) for name, text in sinks.items() if found_in(text)} == {}
    assert log.heard
    # On a busy machine a call may be over before it has begun.
    assert server.asked or "timeout" in scene
    assert all(CANARY in " ".join(asked.headers.values()) for asked in server.asked)


def texts_in(thing: object, seen: set[int] | None = None) -> Iterator[str]:
    """Give every text that can be reached from an object by its attributes and items; a Secret gives none.

    Nor is looked into what a vendor's client keeps to itself, which is its key in plain text.
    """
    seen = set() if seen is None else seen
    if type(thing).__module__.partition(".")[0] == "openai":
        return
    if id(thing) in seen or isinstance(thing, (Secret, type, ModuleType, FunctionType)):
        return
    seen.add(id(thing))
    if isinstance(thing, (str, bytes, bytearray)):
        yield thing if isinstance(thing, str) else thing.decode("latin-1")
        return
    inside: list[object] = [getattr(thing, "__dict__", None)]
    inside += [getattr(thing, name, None) for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    if isinstance(thing, Mapping):
        inside += [*thing.keys(), *thing.values()]
    elif isinstance(thing, (list, tuple, set, frozenset)):
        inside += thing
    for item in inside:
        yield from texts_in(item, seen)


def pickled(thing: object) -> str:
    """Give what pickling gives away; refusing is fine."""
    try:
        return pickle.dumps(thing).decode("latin-1")
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        return str(error)


@pytest.mark.parametrize(
    "scene", ["ok in pieces", "401", "500", "timeout", "redirect", "cut in the body", "cut stream"]
)
def test_the_program_shows_no_key(
    server: Loopback, tmp_path: Path, capsys: pytest.CaptureFixture[str], scene: str
) -> None:
    server.script(SCENES[scene])
    config = openai_at(server)
    config["client_args"]["timeout"] = 0.3 if scene == "timeout" else 5
    path = tmp_path / "models.json"
    path.write_text(json.dumps(config), encoding="utf-8")

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
    assert ("gpt" in shown.err) == (scene != "ok in pieces")


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


@pytest.mark.parametrize(
    "credential",
    [
        {"tools": [{"type": "mcp", "server_url": "https://x.invalid", "authorization": CANARY}]},
        {"tools": [{"type": "mcp", "headers": {"X-Api-Key": CANARY}}]},
        {"mcp_servers": [{"type": "url", "authorization_token": CANARY}]},
        {"extra_body": {"search": {"parameters": [{"authentication": {"api_key": CANARY}}]}}},
        {"extra_body": {"token": CANARY}},
    ],
)
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_credential_among_the_parameters_is_shown_nowhere(
    server: Loopback, tmp_path: Path, credential: dict[str, Any], api: str
) -> None:
    server.script(error_answer(400, f"the tool refused {CANARY}"))
    config = {**openai_at(server), "api_key": "EMPTY", "api": api, "generate_args": credential}
    config["client_args"].pop("default_headers")
    models = modelwrap.load(config)
    recording = tmp_path / "recording.json"

    with pytest.raises(modelwrap.BadRequest) as caught, testing.record(recording):
        models["gpt"]("Hi")

    explanation = models["gpt"].explain("Hi")
    config_of = models.config("gpt")
    shown = [
        str(caught.value),
        str(caught.value.body),
        repr(explanation),
        str(explanation),
        recording.read_text("utf-8"),
    ]
    shown += [repr(config_of), str(config_of), config_of.model_dump_json(), repr(vars(models)["_built"])]
    assert [found_in(text) for text in shown if found_in(text)] == []
    assert "***" in str(explanation)
    assert CANARY in json.dumps(server.asked[0].body)


@pytest.mark.parametrize("way", WAYS[1:], ids=lambda way: way.client)
@pytest.mark.parametrize(
    "config, prompt",
    [(openai_at, "Hi"), (openai_at, "Hi" * 2**22), (post_api_at, "Hi")],
    ids=["in a header, waiting", "in a header, sending", "in the body, waiting"],
)
def test_no_frame_of_a_cancelled_call_shows_a_key(config: Config, prompt: str, way: Colour) -> None:
    done = threading.Event()

    def say_nothing(connection: socket.socket) -> None:
        done.wait(5)

    with a_port(say_nothing) as port:
        deaf: Any = SimpleNamespace(base_url=f"http://127.0.0.1:{port}/v1", port=port)
        shown = way.run(frames_when_cancelled(modelwrap.load(config(deaf))["gpt"].acall(prompt)))
        done.set()

    assert f"<HttpRequest POST http://127.0.0.1:{port}/v1" in shown
    assert found_in(shown) == []
