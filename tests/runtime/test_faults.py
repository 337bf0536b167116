"""What servers, and those who stand between, do wrong: told alike by every client, in time, with nothing left open."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from typing import Any

import pytest

from modelwrap.errors import CallError, ConnectionFailed, InvalidResponse, ResponseTooLarge, TimedOut, TLSFailed
from modelwrap.runtime import backends, response
from modelwrap.runtime.base import Deadline, Runtime
from modelwrap.secrets import Secret
from modelwrap.testing import FaultServer
from modelwrap.wire.http import Connection, HttpRequest, Timeouts
from tests.colours import Colour
from tests.hidden import assert_hidden

QUESTION = b'{"messages": [{"role": "user", "content": "hello"}]}'
TOTAL = 0.35

CUT = (ConnectionFailed, True, True)
UNREACHABLE = (ConnectionFailed, True, False)
NO_HTTP = (InvalidResponse, True, True)
UNSAFE = (TLSFailed, False, False)
OVER = (TimedOut, False, True)

# The class of the error, whether it may be tried again, and whether anything may have reached the server.
TOLD: list[tuple[str, dict[str, Any], tuple[type[CallError], bool, bool]]] = [
    ("connection_refused", {}, UNREACHABLE),
    ("unknown_host", {}, (ConnectionFailed, False, False)),
    ("black_hole", {}, (TimedOut, True, False)),
    ("close_on_accept", {}, CUT),
    ("close_before_headers", {}, CUT),
    ("reset_before_headers", {}, CUT),
    ("reset_after_headers", {}, CUT),
    ("cut_body", {}, CUT),
    ("cut_chunked_body", {}, CUT),
    ("silent", {}, OVER),
    ("drip_headers", {"every": 0.05}, OVER),
    ("drip_body", {"every": 0.05}, OVER),
    ("endless_informational", {"every": 0.001}, NO_HTTP),
    ("endless_informational", {"every": 0.0}, NO_HTTP),
    ("many_headers", {}, NO_HTTP),
    ("many_headers", {"how_many": 300}, NO_HTTP),
    ("huge_header", {}, NO_HTTP),
    ("bad_status_line", {}, NO_HTTP),
    ("old_http", {}, NO_HTTP),
    ("two_content_lengths", {}, NO_HTTP),
    ("cut_gzip", {}, NO_HTTP),
    ("false_gzip", {}, NO_HTTP),
    ("self_signed_certificate", {}, UNSAFE),
    ("certificate_of_another_host", {}, UNSAFE),
    ("expired_certificate", {}, UNSAFE),
    ("old_tls", {}, UNSAFE),
    ("http_on_tls_port", {}, UNSAFE),
]
BOMBS = ["gzip", "deflate", "br", "zstd", "gzip, gzip"]


@pytest.fixture(scope="module")
def faults() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


def request_to(faults: FaultServer, url: str, **fields: Any) -> HttpRequest:
    headers = {
        "content-type": "application/json",
        "accept-encoding": "gzip, deflate",
        "authorization": Secret("Bearer s3cret-key"),
    }
    given = {"timeouts": Timeouts(total=10), "connection": Connection(verify=faults.authority), **fields}
    return HttpRequest("POST", f"{url}/chat/completions", headers, content=QUESTION, **given)


async def fetch(runtime: Runtime, request: HttpRequest) -> bytes:
    answer = await runtime.send(request, Deadline(request.timeouts.total, runtime.now))
    return await answer.read()


async def fetch_often(runtime: Runtime, request: HttpRequest, times: int) -> list[bytes]:
    return [await fetch(runtime, request) for _ in range(times)]


@pytest.mark.parametrize("name, options, told", TOLD, ids=lambda value: value if isinstance(value, str) else "")
def test_tells_what_went_wrong_in_time_and_hangs_up(
    colour: Colour, faults: FaultServer, name: str, options: dict[str, Any], told: tuple[type[CallError], bool, bool]
) -> None:
    url = faults.url(name, **options)
    verify: bool | str = name == "self_signed_certificate" or faults.authority
    timeouts = Timeouts(connect=0.2, total=TOTAL) if issubclass(told[0], TimedOut) else Timeouts(total=10)
    request = request_to(faults, url, connection=Connection(verify=verify), timeouts=timeouts)
    before = faults.seen(name).connections
    started = time.monotonic()

    with pytest.raises(CallError) as caught:
        colour.run(fetch(colour.runtime(), request))

    assert time.monotonic() - started < timeouts.total + 1
    assert (type(caught.value), caught.value.retryable, caught.value.sent) == told
    assert_hidden(caught.value, "s3cret-key")
    # Where the body was all right as far as HTTP goes, the connection would serve on.
    backends.close(url)
    assert faults.all_closed(name)
    assert faults.seen(name).connections - before <= 1


def test_a_call_that_ends_before_it_is_connected_has_sent_nothing(colour: Colour, faults: FaultServer) -> None:
    request = request_to(faults, faults.url("black_hole"), timeouts=Timeouts(connect=5, total=0.2))

    with pytest.raises(TimedOut, match="the call took longer than 0.2 s in all") as caught:
        colour.run(fetch(colour.runtime(), request))

    assert (caught.value.limit, caught.value.retryable, caught.value.sent) == ("total", False, False)


@pytest.mark.parametrize("coding", BOMBS)
def test_no_small_body_grows_beyond_measure(colour: Colour, faults: FaultServer, coding: str) -> None:
    url = faults.url("compression_bomb", coding=coding)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(ResponseTooLarge, match="200 times its size") as caught:
        colour.run(fetch(colour.runtime(), request_to(faults, url, timeouts=Timeouts(total=10))))

    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert not caught.value.retryable
    assert grown <= 150
    assert faults.all_closed("compression_bomb")


@pytest.mark.parametrize("chunked", [False, True])
def test_no_body_is_read_beyond_its_limit(colour: Colour, faults: FaultServer, chunked: bool) -> None:
    url = faults.url("huge_body", chunked=chunked)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(ResponseTooLarge, match="larger than 32 MiB"):
        request = request_to(faults, url, timeouts=Timeouts(total=10), largest_body=32 * 2**20)
        colour.run(fetch(colour.runtime(), request))

    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 <= 150
    assert faults.all_closed("huge_body")


def test_a_stream_has_an_end(colour: Colour, faults: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response, "LONGEST_STREAM", 100_000)
    runtime = colour.runtime()

    async def read_for_ever() -> int:
        request = request_to(faults, faults.url("endless_event"), stream=True, timeouts=Timeouts(total=5))
        answer = await runtime.send(request, Deadline(5, runtime.now))
        with pytest.raises(ResponseTooLarge):
            async for _ in answer.stream():
                pass
        return answer.status

    assert colour.run(read_for_ever()) == 200
    assert faults.all_closed("endless_event")


def test_a_coding_that_nobody_knows_is_somebody_elses_word(colour: Colour, faults: FaultServer) -> None:
    body = colour.run(fetch(colour.runtime(), request_to(faults, faults.url("unknown_coding"))))

    assert b"Rhine" in body


@pytest.mark.parametrize(
    "name, options", [("leftover_bytes", {}), ("leftover_bytes", {"late": 0.01}), ("length_and_chunks", {})]
)
def test_what_nobody_asked_for_answers_no_later_call(
    colour: Colour, faults: FaultServer, name: str, options: dict[str, Any]
) -> None:
    url = faults.url(name, **options)
    before = faults.seen(name)
    runtime = colour.runtime()

    async def fetch_slowly() -> list[bytes]:
        bodies = []
        for _ in range(3):
            bodies.append(await fetch(runtime, request_to(faults, url)))
            # Here the loop does not come round, so that what the kernel holds is all there is to know.
            time.sleep(0.03 if options else 0)
        return bodies

    bodies = colour.run(fetch_slowly())
    backends.close(url)

    assert all(b"Rhine" in body and b"poison" not in body for body in bodies)
    seen = faults.seen(name)
    assert seen.connections - before.connections == 3
    assert seen.requests - before.requests == 3


@pytest.mark.parametrize("reset", [False, True])
def test_an_idle_connection_that_turns_out_closed_is_replaced(colour: Colour, faults: FaultServer, reset: bool) -> None:
    url = faults.url("closes_idle_connection", reset=reset)
    before = faults.seen("closes_idle_connection")

    bodies = colour.run(fetch_often(colour.runtime(), request_to(faults, url), 3))
    backends.close(url)

    assert len(bodies) == 3
    seen = faults.seen("closes_idle_connection")
    assert (seen.requests - before.requests, seen.connections - before.connections) == (5, 3)


def test_what_must_not_be_done_twice_is_not_sent_twice(colour: Colour, faults: FaultServer) -> None:
    url = faults.url("closes_idle_connection")

    with pytest.raises(ConnectionFailed) as caught:
        colour.run(fetch_often(colour.runtime(), request_to(faults, url, replayable=False), 3))

    assert caught.value.sent


def test_a_first_connection_that_is_closed_is_a_failure_of_the_call(colour: Colour, faults: FaultServer) -> None:
    before = faults.seen("close_before_headers").requests

    with pytest.raises(ConnectionFailed):
        colour.run(fetch(colour.runtime(), request_to(faults, faults.url("close_before_headers"))))

    assert faults.seen("close_before_headers").requests == before + 1


def test_a_get_is_not_sent_twice_either(colour: Colour, faults: FaultServer) -> None:
    before = faults.seen("close_before_headers").requests
    request = HttpRequest("GET", faults.url("close_before_headers"), timeouts=Timeouts(total=10))

    with pytest.raises(ConnectionFailed):
        colour.run(fetch(colour.runtime(), request))

    assert faults.seen("close_before_headers").requests == before + 1


def test_a_certificate_that_is_trusted_is_taken(colour: Colour, faults: FaultServer) -> None:
    url = faults.url("trusted_certificate")

    bodies = colour.run(fetch_often(colour.runtime(), request_to(faults, url), 3))
    backends.close(url)

    assert len(bodies) == 3
    assert faults.all_closed("trusted_certificate")
