"""What is fuzzed: each target takes any bytes, and raises where the library does what it promises never to do."""

from __future__ import annotations

import json
import math
import tempfile
import warnings
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import modelwrap
from modelwrap.capabilities import Traits
from modelwrap.errors import CallError, ConfigError, InvalidResponse, ModelwrapWarning
from modelwrap.models.http import Codec
from modelwrap.runtime.base import run_sync
from modelwrap.wire import claude, openai_chat, openai_completion, openai_image, openai_responses, sse
from modelwrap.wire.assembly import Assembly
from modelwrap.wire.body import loads
from modelwrap.wire.http import WireCall
from modelwrap.wire.post_api import Service
from modelwrap.wire.retry_after import retry_after

_FOLDER = tempfile.TemporaryDirectory(prefix="modelwrap-fuzz-")
_CONFIG = Path(_FOLDER.name) / "models.json"
SERVICES = [Service("any"), Service("chat"), Service("image"), Service("embedding", pooling="mean")]
_NOW = 1_443_543_990.0


def read_events(data: bytes) -> None:
    """Read an event stream in pieces and as a whole; the first two bytes say where it is cut."""
    places, stream = data[:2], data[2:]
    first, second = sorted([*places, 0, 0][:2])
    whole = _events(stream)
    pieces = _events(stream[:first], stream[first:second], stream[second:])
    assert pieces == whole, f"cut at {first} and {second}, the stream is read otherwise"
    if isinstance(whole, list):
        for codec in (claude, openai_chat, openai_completion, openai_responses, SERVICES[0]):
            _assemble(codec, whole)


def read_json(data: bytes) -> None:
    """Read a body as JSON, and by every codec as a reply and as a refusal."""
    try:
        json.dumps(loads(data))
    except InvalidResponse as error:
        assert str(error)
    for codec in (claude, openai_chat, openai_completion, openai_image, openai_responses, *SERVICES):
        try:
            reply = codec.from_response(data, {}, WireCall("m", [], {}), Traits())
        except CallError as error:
            assert str(error)
        else:
            reply.model_dump_json()
        assert str(codec.from_error(429, {}, data))


def read_config(data: bytes) -> None:
    """Load the bytes as a file of configs."""
    _CONFIG.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelwrapWarning)
        try:
            models = modelwrap.load(_CONFIG)
        except ConfigError as error:
            assert str(_CONFIG) in str(error) or "mistakes" in str(error)
        else:
            for model in models.values():
                assert repr(model)


def read_retry_after(data: bytes) -> None:
    """Read headers that ask for a wait; a line break parts seconds from milliseconds."""
    seconds, _, milliseconds = data.decode("latin-1").partition("\n")
    wait = retry_after({"retry-after": seconds, "retry-after-ms": milliseconds}, _NOW)
    assert wait is None or (isinstance(wait, float) and 0 < wait < math.inf), wait


TARGETS: dict[str, Callable[[bytes], None]] = {
    "sse": read_events,
    "json": read_json,
    "config": read_config,
    "retry_after": read_retry_after,
}


def _events(*pieces: bytes) -> list[sse.Event] | str:
    decoder = sse.Decoder()
    try:
        return [event for piece in pieces for event in decoder.feed(piece)] + decoder.finish()
    except InvalidResponse as error:
        return str(error)


def _assemble(codec: Codec, events: list[sse.Event]) -> None:
    """Make a reply of the events, or a known error."""
    assembly = Assembly()

    async def source() -> AsyncIterator[sse.Event]:
        for event in events:
            yield event

    async def read() -> None:
        async for chunk in codec.from_stream(source(), WireCall("m", [], {}), Traits(), sse.End()):
            assembly.add(chunk)

    try:
        run_sync(read())
    except CallError as error:
        assert str(error)
    assembly.reply().model_dump_json()
