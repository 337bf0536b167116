"""Answers that go wrong after their head: what had come is kept, and what went wrong is told."""

from __future__ import annotations

import socket
import ssl
import struct
import time

import pytest

from modelwrap.errors import CallError, InvalidResponse
from modelwrap.runtime import failures
from modelwrap.runtime.base import Deadline, Runtime
from modelwrap.wire.http import HttpRequest, Timeouts
from tests.colours import Colour
from tests.raw_port import a_port, a_port_that_answers

CHUNKS = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
UNTIL_THE_END = b"HTTP/1.1 200 OK\r\n\r\n"


async def read_late(runtime: Runtime, url: str) -> tuple[bytes, str]:
    """Take long over the first piece; give all that came, and how it ended."""
    request = HttpRequest("POST", url, timeouts=Timeouts(idle=2, total=3))
    response = await runtime.send(request, Deadline(3, runtime.now))
    came = b""
    try:
        async for part in response.stream():
            came += part
            await runtime.sleep(0.15)
    except CallError as error:
        return came, type(error).__name__
    return came, "the end"


def hang_up_hard(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("head", [CHUNKS, b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n"], ids=["chunks", "length"])
def test_what_came_before_a_cut_is_read_however_late(colour: Colour, head: bytes) -> None:
    pieces = [b"3\r\none\r\n", b"3\r\ntwo\r\n"] if head == CHUNKS else [b"one", b"two"]

    with a_port_that_answers(head + pieces[0], pieces[1], then_wait=0.03) as url:
        came, end = colour.run(read_late(colour.runtime(), url))

    assert (came, end) == (b"onetwo", "ConnectionFailed")


def test_a_reset_is_no_end_of_a_body_without_length(colour: Colour) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(UNTIL_THE_END + b"half")
        time.sleep(0.05)
        hang_up_hard(connection)

    with a_port(serve) as port:
        came, end = colour.run(read_late(colour.runtime(), f"http://127.0.0.1:{port}/"))

    assert end == "ConnectionFailed"
    assert came in (b"half", b"")  # the system may throw away what nobody took before a reset


@pytest.mark.parametrize("cut", [b"", b"2", b"2\r", b"2\r\n", b"2\r\n{", b"2\r\n{}\r\n", b"2\r\n{}\r\n0\r\nx: y"])
def test_chunks_may_be_cut_anywhere(colour: Colour, cut: bytes) -> None:
    with a_port_that_answers(CHUNKS + cut) as url:
        _, end = colour.run(read_late(colour.runtime(), url))

    assert end == "ConnectionFailed"


async def fetch(runtime: Runtime, request: HttpRequest) -> bytes:
    response = await runtime.send(request, Deadline(request.timeouts.total, runtime.now))
    return await response.read()


def test_a_chunk_that_is_none_is_told_at_once_wherever_it_comes(colour: Colour) -> None:
    pieces = [CHUNKS, b"2\r\n{}\r\n", b"zz\r\n"]
    started = time.monotonic()

    with (
        a_port_that_answers(*pieces, then_wait=0.03, hang_up=False) as url,
        pytest.raises(InvalidResponse, match="not HTTP"),
    ):
        colour.run(fetch(colour.runtime(), HttpRequest("POST", url, timeouts=Timeouts(idle=5, total=5))))

    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        CHUNKS + b"2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    ],
    ids=["length", "chunks", "after another head"],
)
@pytest.mark.parametrize("behind", [b"x", b"\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"])
def test_an_answer_is_read_whatever_stands_behind_it(colour: Colour, answer: bytes, behind: bytes) -> None:
    with a_port_that_answers(answer + behind) as url:
        body = colour.run(fetch(colour.runtime(), HttpRequest("POST", url, timeouts=Timeouts(total=3))))

    assert body == b"{}"


def test_an_answer_without_a_body_is_read_whatever_stands_behind_it(colour: Colour) -> None:
    with a_port_that_answers(b"HTTP/1.1 204 No Content\r\n\r\nx") as url:
        body = colour.run(fetch(colour.runtime(), HttpRequest("POST", url, timeouts=Timeouts(total=3))))

    assert body == b""


def test_the_numbers_of_tls_are_none_of_the_system() -> None:
    broken = ssl.SSLError(1, "decryption failed")
    broken.reason = "DECRYPTION_FAILED"

    assert failures.cut(broken, "decryption failed").message == "the connection was cut: decryption failed"
