"""Amazon's binary event streams."""

from __future__ import annotations

import base64
import json
from zlib import crc32

import pytest

from modelwrap.errors import InvalidResponse, ResponseTooLarge
from modelwrap.wire import aws_events, sse
from modelwrap.wire.aws_events import Decoder
from tests.aws_frames import chunk, exception, frame, header


def events(data: bytes) -> list[tuple[str | None, str]]:
    decoder = sse.Decoder()
    return [(event.event, event.data) for event in (*decoder.feed(Decoder().feed(data)), *decoder.finish())]


START = {"type": "message_start", "message": {"id": "msg_1"}}
DELTA = {"type": "content_block_delta", "delta": {"text": "grüße\n"}}


def test_chunks_are_events() -> None:
    assert events(chunk(START) + chunk(DELTA)) == [
        ("message_start", json.dumps(START)),
        ("content_block_delta", json.dumps(DELTA)),
    ]


def test_bytes_may_be_cut_anywhere() -> None:
    whole = chunk(START) + chunk(DELTA) + exception("throttlingException", "slow down")
    expected = Decoder().feed(whole)

    for at in range(len(whole)):
        decoder = Decoder()
        assert decoder.feed(whole[:at]) + decoder.feed(whole[at:]) == expected
    decoder = Decoder()
    assert b"".join(decoder.feed(bytes([byte])) for byte in whole) == expected


@pytest.mark.parametrize(
    "name, kind, status",
    [
        ("throttlingException", "rate_limit_error", 429),
        ("serviceUnavailableException", "overloaded_error", 503),
        ("modelTimeoutException", "timeout_error", 408),
        ("validationException", "invalid_request_error", 400),
        ("internalServerException", "api_error", 500),
    ],
)
def test_exceptions_are_errors(name: str, kind: str, status: int) -> None:
    ((event, data),) = events(exception(name, "why"))

    assert event == "error"
    assert json.loads(data)["error"] == {"type": kind, "status": status, "message": f"{name}: why"}


def test_an_error_may_stand_in_the_headers() -> None:
    headers = header(":message-type", "error") + header(":error-code", "Broken") + header(":error-message", "pipe")

    ((_, data),) = events(frame(headers, b""))

    assert json.loads(data)["error"] == {"type": "api_error", "status": 500, "message": "Broken: pipe"}


def test_frames_of_other_kinds_and_headers_of_other_types_are_passed_over() -> None:
    odd = b"".join(
        bytes([1]) + b"x" + bytes([kind]) + bytes(size)
        for kind, size in {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 6: 2, 8: 8, 9: 16}.items()
    )

    assert Decoder().feed(frame(header(":event-type", "initial-response"), b"{}")) == b""
    assert events(frame(odd + header(":event-type", "chunk"), chunk_payload("{}"))) == [("message", "{}")]


def chunk_payload(text: str) -> bytes:
    return json.dumps({"bytes": base64.b64encode(text.encode()).decode()}).encode()


def test_what_is_no_json_is_still_told() -> None:
    payload = chunk_payload("two\nlines")

    assert events(frame(header(":event-type", "chunk"), payload)) == [("message", "two\nlines")]
    ((_, data),) = events(
        frame(header(":message-type", "exception") + header(":exception-type", "validationException"), b"plain")
    )
    assert json.loads(data)["error"]["message"] == "validationException: plain"


def test_damage_is_found() -> None:
    whole = chunk(START)

    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        with pytest.raises(InvalidResponse, match="damaged"):
            Decoder().feed(bytes(damaged))


@pytest.mark.parametrize(
    "headers, payload, words",
    [
        (header(":event-type", "chunk"), b"{}", "no bytes in base64"),
        (header(":event-type", "chunk"), b'{"bytes": "?"}', "no bytes in base64"),
        (header(":event-type", "chunk"), b"not JSON", "no bytes in base64"),
        (b"\x05a", b"", "headers that cannot be read"),
        (b"\x01a\x63", b"", "headers that cannot be read"),
    ],
)
def test_nonsense_is_named(headers: bytes, payload: bytes, words: str) -> None:
    with pytest.raises(InvalidResponse, match=words):
        Decoder().feed(frame(headers, payload))


def test_sizes_are_bounded() -> None:
    def prelude(size: int, headers: int) -> bytes:
        numbers = size.to_bytes(4, "big") + headers.to_bytes(4, "big")
        return numbers + crc32(numbers).to_bytes(4, "big")

    with pytest.raises(ResponseTooLarge, match="larger than 16 MiB"):
        Decoder().feed(prelude(2**24 + 1, 0))
    for size, headers in ((15, 0), (0, 0), (20, 8)):
        with pytest.raises(InvalidResponse, match="shorter than its headers"):
            Decoder().feed(prelude(size, headers))
    assert aws_events.CONTENT_TYPE == "application/vnd.amazon.eventstream"
