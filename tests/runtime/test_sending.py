"""What both colours owe to a model when they touch the network."""

from __future__ import annotations

import socket
import time
from typing import Any, NoReturn

import httpcore2
import pytest

from modelwrap.errors import (
    BadRequest,
    CallError,
    ConfigError,
    ConnectionFailed,
    InvalidResponse,
    RealRequestForbidden,
    ResponseTooLarge,
    TimedOut,
)
from modelwrap.runtime import clamp, forbidden, pools, response
from modelwrap.runtime.base import Deadline, Runtime, run_sync
from modelwrap.secrets import Secret
from modelwrap.wire.http import HttpRequest, Timeouts
from tests.colours import Colour
from tests.loopback import Answer, Loopback, json_answer
from tests.open_sockets import sockets_to
from tests.raw_port import a_port_that_answers


def request_to(url: str, **fields: Any) -> HttpRequest:
    return HttpRequest("POST", url, {"content-type": "application/json"}, content=b"{}", **fields)


async def fetch(runtime: Runtime, request: HttpRequest) -> tuple[int, bytes]:
    response = await runtime.send(request, Deadline(request.timeouts.total, runtime.now))
    return response.status, await response.read()


async def drain(runtime: Runtime, request: HttpRequest) -> list[bytes]:
    response = await runtime.send(request, Deadline(request.timeouts.total, runtime.now))
    return [part async for part in response.stream()]


def test_brings_status_and_body(colour: Colour, server: Loopback) -> None:
    server.script(json_answer({"a": 1}, status=201))

    status, body = colour.run(fetch(colour.runtime(), request_to(server.base_url)))

    assert (status, body) == (201, b'{"a": 1}')


def test_reveals_secrets_only_to_the_socket(colour: Colour, server: Loopback) -> None:
    server.script(json_answer({}))
    request = HttpRequest("POST", server.base_url, {"authorization": Secret("Bearer s3cret-value")})

    colour.run(fetch(colour.runtime(), request))

    assert server.asked[0].headers["authorization"] == "Bearer s3cret-value"
    assert "s3cret" not in repr(request)


def test_a_header_that_comes_twice_is_read_as_a_list(colour: Colour) -> None:
    head = b"HTTP/1.1 429 Slow down\r\nRetry-After: 60\r\nretry-after: 5\r\ncontent-length: 0\r\n\r\n"

    async def headers(url: str) -> Any:
        runtime = colour.runtime()
        response = await runtime.send(request_to(url), Deadline(5, runtime.now))
        await response.aclose()
        return response.headers

    with a_port_that_answers(head) as url:
        assert colour.run(headers(url))["retry-after"] == "60, 5"


def test_follows_no_redirect(colour: Colour, server: Loopback) -> None:
    server.script(Answer(307, {"location": "http://127.0.0.1:1/", "content-length": "0"}))

    status, _ = colour.run(fetch(colour.runtime(), request_to(server.base_url)))

    assert status == 307
    assert len(server.asked) == 1


def test_names_a_refused_connection(colour: Colour) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    with pytest.raises(ConnectionFailed, match="no connection") as caught:
        colour.run(fetch(colour.runtime(), request_to(f"http://127.0.0.1:{port}/")))

    assert not caught.value.sent
    assert caught.value.retryable


def test_names_a_connection_that_is_cut_before_the_answer(colour: Colour) -> None:
    with a_port_that_answers() as url, pytest.raises(ConnectionFailed, match="cut") as caught:
        colour.run(fetch(colour.runtime(), request_to(url)))

    assert caught.value.sent


def test_names_a_body_that_is_cut(colour: Colour) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"

    with a_port_that_answers(head) as url, pytest.raises(ConnectionFailed, match="cut"):
        colour.run(fetch(colour.runtime(), request_to(url)))


def test_names_what_is_not_http(colour: Colour) -> None:
    with a_port_that_answers(b"SSH-2.0-OpenSSH\r\n\r\n") as url, pytest.raises(InvalidResponse, match="not HTTP"):
        colour.run(fetch(colour.runtime(), request_to(url)))


def test_names_a_body_that_is_not_compressed_as_it_says(colour: Colour, server: Loopback) -> None:
    server.script(Answer(200, {"content-encoding": "gzip"}, [b"this is no gzip"]))

    with pytest.raises(InvalidResponse, match="decompressed"):
        colour.run(fetch(colour.runtime(), request_to(server.base_url)))


@pytest.mark.parametrize("value", ["key\n", "kéy", "k\x00y"])
def test_refuses_a_header_that_http_cannot_carry_without_showing_it(colour: Colour, value: str) -> None:
    request = HttpRequest("POST", "http://127.0.0.1:1/", {"authorization": Secret(value)})

    with pytest.raises(BadRequest, match="header authorization") as caught:
        colour.run(fetch(colour.runtime(), request))

    assert value not in str(caught.value)


def test_ends_a_silent_call_at_its_deadline(colour: Colour) -> None:
    request = request_to("", timeouts=Timeouts(total=0.15))
    started = time.monotonic()

    with a_port_that_answers(hang_up=False) as url, pytest.raises(TimedOut) as caught:
        colour.run(fetch(colour.runtime(), HttpRequest("POST", url, timeouts=request.timeouts)))

    assert caught.value.limit == "total"
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 200 OK\r\nx: ", *[b"x"] * 40],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n", *[b"x"] * 40],
        [bytes([byte]) for byte in b"HTTP/1.1 103 Early Hints\r\n\r\n" * 8],
    ],
    ids=["head", "body", "informational"],
)
def test_ends_a_dripping_call_at_its_deadline(colour: Colour, pieces: list[bytes]) -> None:
    started = time.monotonic()

    with a_port_that_answers(*pieces, then_wait=0.02) as url, pytest.raises(TimedOut) as caught:
        colour.run(fetch(colour.runtime(), HttpRequest("POST", url, timeouts=Timeouts(total=0.2))))

    assert caught.value.limit == "total"
    assert time.monotonic() - started < 1


def resolve(monkeypatch: pytest.MonkeyPatch, name: str, *addresses: str) -> None:
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *rest: Any, **named: Any) -> list[Any]:
        return [found for one in (addresses if host == name else [host]) for found in real(one, *rest, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("limits, limit", [((0.1, 9.0), "connect"), ((9.0, 0.1), "total")])
def test_ends_in_time_though_a_name_has_many_addresses(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[float, float], limit: str
) -> None:
    tried = []

    def connect(address: str, port: int, timeout: float) -> NoReturn:
        tried.append(timeout)
        time.sleep(timeout)
        raise httpcore2.ConnectTimeout

    resolve(monkeypatch, "holes.test", *(f"127.0.0.{last}" for last in range(2, 7)))
    monkeypatch.setattr(clamp, "connected", connect)
    started = time.monotonic()

    with pytest.raises(TimedOut) as caught:
        timeouts = Timeouts(connect=limits[0], total=limits[1])
        run_sync(fetch(Colour("blocking").runtime(), request_to("http://holes.test/", timeouts=timeouts)))

    assert caught.value.limit == limit
    assert tried[0] == pytest.approx(0.05, abs=0.01)
    assert time.monotonic() - started < 0.3


def test_takes_the_next_address_where_one_does_not_answer(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    server.script(json_answer({}))
    resolve(monkeypatch, "two.test", "::1", "127.0.0.1")

    status, _ = run_sync(fetch(Colour("blocking").runtime(), request_to(f"http://two.test:{server.port}/")))

    assert status == 200


def test_tells_that_the_first_token_did_not_come(colour: Colour) -> None:
    timeouts = Timeouts(first_token=0.1)

    with a_port_that_answers(hang_up=False) as url, pytest.raises(TimedOut) as caught:
        colour.run(drain(colour.runtime(), HttpRequest("POST", url, stream=True, timeouts=timeouts)))

    assert (caught.value.limit, caught.value.retryable) == ("first_token", True)


def test_tells_that_a_body_stalled(colour: Colour) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"

    with a_port_that_answers(head, hang_up=False) as url, pytest.raises(TimedOut) as caught:
        colour.run(fetch(colour.runtime(), HttpRequest("POST", url, timeouts=Timeouts(idle=0.1))))

    assert caught.value.limit == "idle"


def test_refuses_a_body_that_is_too_large(colour: Colour, server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response, "LARGEST_BODY", 1000)
    server.script(Answer(200, {}, [b"x" * 600, b"x" * 600]))

    with pytest.raises(ResponseTooLarge):
        colour.run(fetch(colour.runtime(), request_to(server.base_url)))


def test_hangs_up_at_once_on_a_body_that_is_too_large(
    colour: Colour, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response, "LARGEST_BODY", 5)
    server.script(Answer(200, {}, [b"123", b"456", 0.1]))

    async def connections_left() -> int:
        with pytest.raises(ResponseTooLarge):
            await fetch(colour.runtime(), request_to(server.base_url))
        await colour.runtime().sleep(0.01)
        return sockets_to(server.port)

    assert colour.run(connections_left()) == 0


def test_touches_no_socket_while_requests_are_forbidden(colour: Colour, server: Loopback) -> None:
    with forbidden("tests forbid it"), pytest.raises(RealRequestForbidden, match="tests forbid it"):
        colour.run(fetch(colour.runtime(), request_to(server.base_url)))

    assert server.asked == []


def test_errors_carry_no_frames_of_the_client(colour: Colour) -> None:
    with pytest.raises(CallError) as caught:
        colour.run(fetch(colour.runtime(), request_to("http://127.0.0.1:1/")))

    cause = caught.value.__cause__
    assert cause is not None
    while cause is not None:
        assert cause.__traceback__ is None
        cause = cause.__cause__ or cause.__context__


def test_reuses_connections_between_calls(colour: Colour, server: Loopback) -> None:
    server.script(json_answer({}))

    async def call_thrice() -> int:
        for _ in range(3):
            await fetch(colour.runtime(), request_to(server.base_url))
        return sockets_to(server.port)

    assert colour.run(call_thrice()) == 1
    assert len({asked.client for asked in server.asked}) == 1


def test_the_loop_closes_its_connections_when_it_ends(colour: Colour, server: Loopback) -> None:
    if colour.name == "blocking":
        pytest.skip("there is no loop")
    server.script(json_answer({}))

    colour.run(fetch(colour.runtime(), request_to(server.base_url)))

    assert sockets_to(server.port) == 0
    assert len(pools.current().loops) == 0


def test_asks_for_asyncio_where_none_runs() -> None:
    coroutine = fetch(Colour("concurrent").runtime(), request_to("http://127.0.0.1:1/"))

    with pytest.raises(ConfigError, match="asyncio"):
        coroutine.send(None)
