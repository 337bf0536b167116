"""JSON that was written to do harm: what the network's reader and the config's reader make of each document."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import modelwrap
from modelwrap.capabilities import Traits
from modelwrap.errors import CallError, ConfigError, InvalidResponse
from modelwrap.jsonc import parse
from modelwrap.wire import openai_chat, sse
from modelwrap.wire.body import loads
from modelwrap.wire.http import WireCall

REFUSED = object()

# Bytes, what a server's answer of them is worth, and what a config of them is worth.
DOCUMENTS: dict[str, tuple[bytes, object, object]] = {
    "NaN": (b"[NaN]", [math.nan], REFUSED),
    "Infinity": (b"[-Infinity]", [-math.inf], REFUSED),
    "a number beyond all floats": (b"[1e400]", [math.inf], REFUSED),
    "a key twice": (b'{"a": 1, "a": 2}', {"a": 2}, REFUSED),
    "arrays without end": (b"[" * 100_000, REFUSED, REFUSED),
    "arrays that end, but deep": (b"[" * 100_000 + b"]" * 100_000, REFUSED, REFUSED),
    "objects without end": (b'{"a":' * 100_000, REFUSED, REFUSED),
    "digits without end": (b"[" + b"9" * 100_000 + b"]", REFUSED, REFUSED),
    "places without end": (b"[0." + b"9" * 100_000 + b"]", [1.0], REFUSED),
    "an exponent without end": (b"[1e" + b"9" * 100_000 + b"]", [math.inf], REFUSED),
    "half a surrogate pair, escaped": (rb'["\ud800"]', REFUSED, REFUSED),
    "halves in the wrong order": (rb'["\udc00\ud800"]', REFUSED, REFUSED),
    "half a surrogate pair, encoded": (b'["\xed\xa0\x80"]', REFUSED, REFUSED),
    "no UTF-8": (b'["\xff\xfe"]', REFUSED, REFUSED),
    "an overlong encoding": (b'["\xc0\xaf"]', REFUSED, REFUSED),
    "a cut character": (b'["\xe2\x82', REFUSED, REFUSED),
    "UTF-16": ('["a"]'.encode("utf-16"), REFUSED, REFUSED),
    "UTF-32": ('["a"]'.encode("utf-32"), REFUSED, REFUSED),
    "a byte order mark": (b'\xef\xbb\xbf["a"]', ["a"], ["a"]),
    "two byte order marks": (b'\xef\xbb\xbf\xef\xbb\xbf["a"]', REFUSED, REFUSED),
    "nothing": (b"", REFUSED, REFUSED),
    "only blanks": (b" \t\r\n", REFUSED, REFUSED),
    "a cut object": (b'{"a": [1, 2', REFUSED, REFUSED),
    "something behind the end": (b'{"a": 1} {"b": 2}', REFUSED, REFUSED),
    "a control character": (b'["\x01"]', REFUSED, REFUSED),
    "a NUL": (b'["a\0b"]', REFUSED, REFUSED),
    "an escaped NUL": (rb'["a\u0000b"]', ["a\0b"], ["a\0b"]),
    "a broken escape": (rb'["\x41"]', REFUSED, REFUSED),
    "a backslash at the end": (b'["\\', REFUSED, REFUSED),
    "single quotes": (b"{'a': 1}", REFUSED, REFUSED),
    "a key without quotes": (b"{a: 1}", REFUSED, REFUSED),
    "a leading zero": (b"[01]", REFUSED, REFUSED),
    "a plus sign": (b"[+1]", REFUSED, REFUSED),
    "hexadecimal": (b"[0x10]", REFUSED, REFUSED),
    "digits of another script": ("[١]".encode(), REFUSED, REFUSED),
    "words of Python": (b"[None, True]", REFUSED, REFUSED),
    "a comment": (b'["a"] // b', REFUSED, ["a"]),
    "a trailing comma": (b'["a",]', REFUSED, ["a"]),
    "a comment without end": (b'["a"] /* ' + b"*" * 100_000, REFUSED, REFUSED),
    "quotes without end": (b'["' + b'\\"' * 50_000, REFUSED, REFUSED),
    "a long string": (b'["' + b"a" * 1_000_000 + b'"]', ["a" * 1_000_000], ["a" * 1_000_000]),
    "a prototype": (b'{"__proto__": {"a": 1}, "__class__": 1}', {"__proto__": {"a": 1}, "__class__": 1}, ...),
}


def same(value: object, expected: object) -> bool:
    """Compare, and take NaN for equal to itself."""
    return repr(value) == repr(expected)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_an_answer_is_read_or_refused(name: str) -> None:
    data, expected, _ = DOCUMENTS[name]
    started = time.process_time()

    try:
        value: object = loads(data)
    except InvalidResponse as error:
        assert len(error.body or "") < 3000
        assert len(str(error)) < 3000
        value = REFUSED

    assert same(value, expected)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_stream_with_it_ends_in_a_known_error_or_well(name: str) -> None:
    data = DOCUMENTS[name][0]

    async def events() -> AsyncIterator[sse.Event]:
        decoder = sse.Decoder()
        for event in (
            decoder.feed(b"data: " + data.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n\n") + decoder.finish()
        ):
            yield event

    async def read() -> str:
        try:
            async for _ in openai_chat.from_stream(events(), WireCall("m", [], {}), Traits(), sse.End()):
                pass
        except CallError as error:
            return str(error)
        return "read"

    assert len(asyncio.run(read())) < 3000


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_config_is_read_or_refused_with_its_place(name: str) -> None:
    data, read, expected = DOCUMENTS[name]
    started = time.process_time()

    try:
        value: object = parse(data, "models.json").value
    except ConfigError as error:
        assert str(error).startswith("models.json:")
        assert len(str(error)) < 3000
        value = REFUSED

    assert same(value, read if expected is ... else expected)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_file_of_it_never_becomes_a_model(name: str, tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    path.write_bytes(DOCUMENTS[name][0])

    with pytest.raises(ConfigError) as caught:
        modelwrap.load(path)

    assert str(path) in str(caught.value)
