"""The bytes of a request are the same whichever client sends them, and none of them is the client's own idea."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from asyncio import selector_events
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import pytest

from modelwrap.errors import BadRequest, CallError, InvalidResponse, TimedOut
from modelwrap.runtime import aiohttp_backend
from modelwrap.runtime.base import Deadline, Runtime
from modelwrap.secrets import Secret
from modelwrap.wire.http import HttpRequest, Timeouts
from tests.colours import Colour
from tests.raw_port import a_port

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nset-cookie: session=1\r\n\r\n{}"


class Ear:
    """Take one request after another off a connection, and answer each."""

    def __init__(self, requests: int = 1, answer: bytes = OK) -> None:
        self.heard: list[bytes] = []
        self._requests = requests
        self._answer = answer

    def __call__(self, connection: socket.socket) -> None:
        for _ in range(self._requests):
            data = b""
            while b"\r\n\r\n" not in data:
                data += connection.recv(65536)
            head, _, body = data.partition(b"\r\n\r\n")
            lines = [line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:]]
            while len(body) < int(dict(lines).get(b"content-length", b"0")):
                body += connection.recv(1 << 20)
            self.heard.append(head + b"\r\n\r\n" + body)
            connection.sendall(self._answer)


async def fetch(runtime: Runtime, request: HttpRequest) -> bytes:
    response = await runtime.send(request, Deadline(request.timeouts.total, runtime.now))
    return await response.read()


def test_a_request_is_written_as_it_is_given(colour: Colour) -> None:
    ear = Ear()
    headers = {"user-agent": "mine", "X-Thing": "a b", "authorization": Secret("Bearer key")}

    with a_port(ear) as port:
        url = f"http://127.0.0.1:{port}/v1/a%2Fb c?q=1&q=%C3%A9#fragment"
        colour.run(fetch(colour.runtime(), HttpRequest("POST", url, headers, content=b'{"a": "\xc3\xa9"}')))

    head, _, body = ear.heard[0].partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    assert first == b"POST /v1/a%2Fb%20c?q=1&q=%C3%A9 HTTP/1.1"
    assert sorted(line.lower() for line in lines) == sorted(
        [
            b"host: 127.0.0.1:%d" % port,
            b"user-agent: mine",
            b"x-thing: a b",
            b"authorization: bearer key",
            b"content-length: 11",
        ]
    )
    assert body == b'{"a": "\xc3\xa9"}'


def test_a_get_has_no_body_and_says_so_by_silence(colour: Colour) -> None:
    ear = Ear()

    with a_port(ear) as port:
        colour.run(fetch(colour.runtime(), HttpRequest("GET", f"http://127.0.0.1:{port}")))

    assert ear.heard[0].lower() == b"get / http/1.1\r\nhost: 127.0.0.1:%d\r\n\r\n" % port


def test_no_loop_is_given_a_piece_of_nothing_to_write(colour: Colour, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[bytes] = []

    def writelines(transport: asyncio.Transport, data: Iterable[bytes]) -> None:
        pieces.extend(data)
        transport.write(b"".join(pieces))

    # Loops of Python 3.12 and later keep such a piece, and write it again and again.
    monkeypatch.setattr(selector_events._SelectorSocketTransport, "writelines", writelines)  # type: ignore[attr-defined]  # asyncio's own

    with a_port(Ear(), connections=2) as port:
        for method, body in (("GET", b""), ("POST", b"{}")):
            colour.run(fetch(colour.runtime(), HttpRequest(method, f"http://127.0.0.1:{port}", content=body)))

    assert b"" not in pieces


def test_no_cookie_is_kept_and_no_user_of_a_url_sent(colour: Colour) -> None:
    ear = Ear(requests=2)

    async def twice(url: str) -> None:
        for _ in range(2):
            await fetch(colour.runtime(), HttpRequest("POST", url))

    with a_port(ear) as port:
        colour.run(twice(f"http://user:pass@127.0.0.1:{port}/"))

    assert len(ear.heard) == 2
    assert not any(word in heard.lower() for heard in ear.heard for word in (b"cookie", b"authorization", b"user"))


def test_a_body_of_any_size_arrives_whole(colour: Colour) -> None:
    bodies = [b"x" * size for size in (0, 1, 2**14, 2**14 + 1, 2**20, 2**20 + 1, 5 * 2**20)]
    ear = Ear(requests=len(bodies))

    async def send_all(url: str) -> None:
        for body in bodies:
            await fetch(colour.runtime(), HttpRequest("POST", url, content=body, timeouts=Timeouts(total=10)))

    with a_port(ear) as port:
        colour.run(send_all(f"http://127.0.0.1:{port}/"))

    assert [heard.partition(b"\r\n\r\n")[2] == body for heard, body in zip(ear.heard, bodies, strict=True)] == [
        True
    ] * len(bodies)


# More than the system takes in on both sides.
LARGE = b"x" * 2**20 * 12


async def answer_to_a_large_request(runtime: Runtime, port: int) -> tuple[int, bytes]:
    url = f"http://127.0.0.1:{port}/"
    request = HttpRequest("POST", url, content=LARGE, timeouts=Timeouts(idle=0.5, total=3))
    response = await runtime.send(request, Deadline(3, runtime.now))
    return response.status, await response.read()


@pytest.mark.parametrize("closes", [True, False])
def test_a_refusal_that_comes_before_the_request_has_gone_out_is_read(colour: Colour, closes: bool) -> None:
    refusal = b"HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nlarge"
    may_close = threading.Event()

    def refuse(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(refusal)
        if not closes:
            may_close.wait(5)

    with a_port(refuse) as port:
        try:
            assert colour.run(answer_to_a_large_request(colour.runtime(), port)) == (413, b"large")
        finally:
            may_close.set()


@pytest.mark.parametrize(
    "early", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b""], ids=["continue", "status", "nothing"]
)
def test_a_request_goes_on_while_its_answer_begins(colour: Colour, early: bytes) -> None:
    heard = []

    def serve(connection: socket.socket) -> None:
        head = connection.recv(4096)
        connection.sendall(early)
        missing = len(LARGE) - len(head.partition(b"\r\n\r\n")[2])
        while missing > 0:
            missing -= len(connection.recv(65536))
        heard.append(missing)
        connection.sendall(OK.removeprefix(early))

    with a_port(serve) as port:
        assert colour.run(answer_to_a_large_request(colour.runtime(), port)) == (200, b"{}")

    assert heard == [0]


def test_a_connection_serves_no_other_call_while_a_request_is_still_going_out(colour: Colour) -> None:
    answered = threading.Barrier(2)

    def serve(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(OK)
        answered.wait(5)

    async def twice(port: int) -> None:
        for _ in range(2):
            await answer_to_a_large_request(colour.runtime(), port)
            answered.wait(5)

    with a_port(serve, connections=2) as port:
        colour.run(twice(port))


def test_a_server_that_reads_no_more_of_a_request_is_not_waited_for(colour: Colour) -> None:
    may_close = threading.Event()

    with a_port(lambda connection: bool(may_close.wait(5))) as port:
        with pytest.raises(TimedOut, match="could not be sent for 0.5 s") as caught:
            colour.run(answer_to_a_large_request(colour.runtime(), port))
        may_close.set()

    assert (caught.value.limit, caught.value.retryable) == ("idle", True)


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/", "http://", "/v1", "http://127.0.0.1:99999/", "http://127.0.0.1:0/"]
)
def test_what_is_no_url_of_http_is_refused(colour: Colour, url: str) -> None:
    with pytest.raises(BadRequest, match="cannot be written as HTTP") as caught:
        colour.run(fetch(colour.runtime(), HttpRequest("POST", url)))

    assert not caught.value.sent


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\ncontent-length: 2\n\n{}",
        b"HTTP/1.0 200 OK\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx: y\r\ncontent-length:2\r\n\r\n{}",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: a\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\n{\r\n1\r\n}\r\n0\r\nx-trailer: 1\r\n\r\n",
    ],
    ids=["bare line feeds", "HTTP/1.0", "until the end", "one length twice", "informational", "chunks with extras"],
)
def test_odd_but_proper_http_is_read(colour: Colour, answer: bytes) -> None:
    def say(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer)

    with a_port(say) as port:
        assert colour.run(fetch(colour.runtime(), HttpRequest("POST", f"http://127.0.0.1:{port}/"))) == b"{}"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 20\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}BAD0\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nx: a\x00b\r\ncontent-length: 2\r\n\r\n{}",
        b"\xff\xfe\x00garbage",
    ],
    ids=[
        "negative",
        "two lengths",
        "two lengths apart",
        "no size",
        "no end of chunk",
        "no status",
        "no colon",
        "a zero",
        "bytes",
    ],
)
def test_improper_http_is_told_at_once(colour: Colour, answer: bytes) -> None:
    def say(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer)

    request: dict[str, Any] = {"timeouts": Timeouts(total=3)}

    with a_port(say) as port, pytest.raises(CallError) as caught:
        colour.run(fetch(colour.runtime(), HttpRequest("POST", f"http://127.0.0.1:{port}/", **request)))

    assert caught.value.retryable
    assert type(caught.value).__name__ in ("InvalidResponse", "ConnectionFailed")


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["at once", "after a hint"])
@pytest.mark.parametrize("drop", [b"\r\n", b"\n", b"\r", b" "], ids=repr)
def test_no_head_of_an_answer_is_waited_for_behind_what_is_none(colour: Colour, first: bytes, drop: bytes) -> None:
    gone = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(first)
        with suppress(OSError):
            while not gone.wait(0.01):
                connection.sendall(drop)

    try:
        with a_port(drip) as port, pytest.raises(InvalidResponse) as caught:
            colour.run(fetch(colour.runtime(), HttpRequest("POST", f"http://127.0.0.1:{port}/")))
    finally:
        gone.set()

    assert caught.value.retryable


@pytest.mark.parametrize("step", [1, 3])
def test_a_head_that_comes_in_drops_is_read_as_one_that_comes_whole(colour: Colour, step: int) -> None:
    answer = b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\nContent-Length: 2\r\n\r\n{}"

    def drip(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.recv(65536)
        for start in range(0, len(answer), step):
            connection.sendall(answer[start : start + step])
            time.sleep(0.0005)

    with a_port(drip) as port:
        assert colour.run(fetch(colour.runtime(), HttpRequest("POST", f"http://127.0.0.1:{port}/"))) == b"{}"


@pytest.mark.parametrize(
    "lengths, kept",
    [
        (b"content-length: 2\r\nContent-Length:2\r\nx: y\r\n", b"Content-Length:2\r\nx: y\r\n"),
        (b"content-length: 2\r\nx: y\r\ncontent-length: 2\r\ncontent-length: 2\r\n", b"x: y\r\ncontent-length: 2\r\n"),
        (b"content-length: 2\r\ncontent-length: 3\r\n", b"content-length: 2\r\ncontent-length: 3\r\n"),
        (b"content-length: 2\r\ncontent-length-before: 9\r\n", b"content-length: 2\r\ncontent-length-before: 9\r\n"),
        (b"content-length-before: 9\r\n", b"content-length-before: 9\r\n"),
    ],
    ids=["twice", "three times", "two", "another header", "none"],
)
def test_a_length_is_written_once(lengths: bytes, kept: bytes) -> None:
    line = b"HTTP/1.1 200 OK\r\n"

    assert aiohttp_backend._with_one_length(line + lengths + b"\r\n") == line + kept + b"\r\n"
