"""Sockets that are given no more time than is left, told by a backend that only writes down what it was given."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import httpcore2
import pytest

from modelwrap.errors import BadRequest
from modelwrap.runtime import clamp
from modelwrap.runtime.base import Deadline, Limit
from modelwrap.runtime.clamp import ClampedAsyncBackend, ClampedBackend

PUBLIC = ["93.184.216.34", "93.184.216.35"]


class Clock:
    time = 100.0

    def __call__(self) -> float:
        return self.time


class Socket(httpcore2.NetworkStream):
    """Write down each operation; `takes` seconds pass in it."""

    def __init__(self, clock: Clock, takes: float = 0.0) -> None:
        self.clock = clock
        self.takes = takes
        self.done: list[tuple[Any, ...]] = []

    def _do(self, *operation: Any) -> None:
        self.done.append(operation)
        self.clock.time += self.takes

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._do("read", max_bytes, timeout)
        return b"data"

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._do("write", buffer, timeout)

    def close(self) -> None:
        self._do("close")

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> Socket:
        self._do("start_tls", ssl_context, server_hostname, timeout)
        return self

    def get_extra_info(self, info: str) -> Any:
        return f"the {info}"


class AsyncSocket(httpcore2.AsyncNetworkStream):
    """The same to await."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.socket.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.socket.write(buffer, timeout)

    async def aclose(self) -> None:
        self.socket.close()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> AsyncSocket:
        self.socket.start_tls(ssl_context, server_hostname, timeout)
        return self

    def get_extra_info(self, info: str) -> Any:
        return self.socket.get_extra_info(info)


class Network(httpcore2.AsyncNetworkBackend):
    """Connect to nothing, in either colour; refuse the addresses in `down`."""

    def __init__(self, clock: Clock, takes: float = 0.0, down: tuple[str, ...] = ()) -> None:
        self.socket = Socket(clock)
        self.clock = clock
        self.takes = takes
        self.down = down
        self.asked: list[tuple[Any, ...]] = []
        self.slept: list[float] = []

    def connect(self, host: str, port: int, timeout: Any = None, local: Any = None, options: Any = None) -> Socket:
        self.asked.append((host, port, timeout, local, options))
        self.clock.time += self.takes
        if host in self.down:
            raise httpcore2.ConnectError(f"{host} is down")
        return self.socket

    async def connect_tcp(self, *arguments: Any) -> AsyncSocket:  # type: ignore[override]  # the names do not matter here
        return AsyncSocket(self.connect(*arguments))

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class Door:
    """Open connections of either colour by the same words."""

    def __init__(self, colour: str, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
        self.colour = colour
        self.network = network
        monkeypatch.setattr(httpcore2.SyncBackend, "connect_tcp", lambda _, *arguments: network.connect(*arguments))

    def open(self, host: str, timeout: float | None, *, public_only: bool = False) -> Any:
        arguments = (host, 443, timeout, "local", [("option",)])
        if self.colour == "blocking":
            return ClampedBackend(public_only=public_only).connect_tcp(*arguments)
        return Awaited(asyncio.run(ClampedAsyncBackend(self.network, public_only=public_only).connect_tcp(*arguments)))


class Awaited:
    """Call what is there to await."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self.stream = stream
        self.get_extra_info = stream.get_extra_info

    def read(self, *arguments: Any) -> bytes:
        return asyncio.run(self.stream.read(*arguments))

    def write(self, *arguments: Any) -> None:
        asyncio.run(self.stream.write(*arguments))

    def close(self) -> None:
        asyncio.run(self.stream.aclose())

    def start_tls(self, *arguments: Any) -> Awaited:
        return Awaited(asyncio.run(self.stream.start_tls(*arguments)))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def network(clock: Clock) -> Network:
    return Network(clock)


@pytest.fixture(params=["blocking", "concurrent"])
def door(request: pytest.FixtureRequest, network: Network, monkeypatch: pytest.MonkeyPatch) -> Door:
    return Door(request.param, network, monkeypatch)


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Say what names stand for; asked for anything but streams, nothing."""
    addresses = list(PUBLIC)

    def getaddrinfo(host: Any, port: Any, *rest: Any, **more: Any) -> list[Any]:
        kinds = (*rest[1:2], more.get("type"))
        if socket.SOCK_STREAM not in kinds or host not in ("some.host", b"some.host") or port != 443:
            raise socket.gaierror("nobody knows it")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return addresses


def limit(clock: Clock, seconds: float = 5.0, total: float = 60.0, name: str = "connect") -> Limit:
    return Limit(seconds, Deadline(total, clock), name)


def test_each_operation_is_given_what_is_left_at_its_start(door: Door, clock: Clock, resolved: list[str]) -> None:
    stream = door.open("some.host", limit(clock))
    every = limit(clock, 5, total=12)
    door.network.socket.takes = 4.0

    read = [stream.read(100, every) for _ in range(3)]

    assert read == [b"data"] * 3
    assert door.network.socket.done == [("read", 100, 5.0), ("read", 100, 5.0), ("read", 100, 4.0)]


def test_no_operation_begins_when_no_time_is_left(door: Door, clock: Clock, resolved: list[str]) -> None:
    stream = door.open("some.host", limit(clock))
    over = limit(clock, total=1)
    clock.time += 1

    with pytest.raises(httpcore2.ReadTimeout, match="^no time is left$"):
        stream.read(100, over)
    with pytest.raises(httpcore2.WriteTimeout, match="^no time is left$"):
        stream.write(b"data", over)
    with pytest.raises(httpcore2.ConnectTimeout, match="^no time is left$"):
        stream.start_tls(ssl.create_default_context(), "some.host", over)

    # Only the last leaves it to its stream to hang up.
    assert door.network.socket.done == [("close",)]


def test_limits_of_others_are_handed_on(door: Door, resolved: list[str]) -> None:
    stream = door.open("some.host", 3.5)

    stream.read(7)
    stream.read(7, 2.5)
    stream.write(b"data", 1.5)
    stream.close()

    assert door.network.asked == [(door.network.asked[0][0], 443, 3.5, "local", [("option",)])]
    assert door.network.socket.done == [("read", 7, None), ("read", 7, 2.5), ("write", b"data", 1.5), ("close",)]
    assert stream.get_extra_info("socket") == "the socket"


def test_what_tls_makes_of_a_stream_is_clamped_too(door: Door, clock: Clock, resolved: list[str]) -> None:
    context = ssl.create_default_context()
    stream = door.open("some.host", limit(clock))

    secured = stream.start_tls(context, "some.host", limit(clock, 9))
    secured.read(100, limit(clock, 3))

    assert door.network.socket.done == [("start_tls", context, "some.host", 9.0), ("read", 100, 3.0)]


def test_a_large_body_is_written_in_pieces_that_share_its_time(
    clock: Clock, network: Network, resolved: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Door("blocking", network, monkeypatch).open("some.host", limit(clock))
    body = bytes(range(256)) * (10 * 1024)
    network.socket.takes = 2.0

    stream.write(body, limit(clock, 60, total=7))

    assert b"".join(data for _, data, _ in network.socket.done) == body
    assert [(len(data), left) for _, data, left in network.socket.done] == [(2**20, 7.0), (2**20, 5.0), (2**19, 3.0)]


def test_the_addresses_of_a_name_share_its_time(
    clock: Clock, network: Network, resolved: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    network.takes, network.down = 2.0, (PUBLIC[0],)
    clamped = limit(clock, 60, total=5)

    Door("blocking", network, monkeypatch).open("some.host", clamped)

    assert [(host, left) for host, _, left, *_ in network.asked] == [(PUBLIC[0], 5.0), (PUBLIC[1], 3.0)]


def test_no_further_address_is_tried_when_no_time_is_left(
    clock: Clock, network: Network, resolved: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    network.takes, network.down = 2.0, tuple(PUBLIC)

    with pytest.raises(httpcore2.ConnectTimeout, match="no time is left"):
        Door("blocking", network, monkeypatch).open("some.host", limit(clock, 60, total=2))

    assert len(network.asked) == 1


def test_a_name_that_stands_for_private_addresses_is_refused_where_only_public_ones_may_be_asked(
    door: Door, clock: Clock, resolved: list[str]
) -> None:
    resolved[1] = "10.0.0.1"

    with pytest.raises(BadRequest, match="some.host \\(10.0.0.1\\)"):
        door.open("some.host", limit(clock), public_only=True)
    door.open("some.host", limit(clock))

    assert len(door.network.asked) == 1


def test_the_address_that_was_checked_is_the_one_that_is_asked(door: Door, clock: Clock, resolved: list[str]) -> None:
    door.network.down = (PUBLIC[0],)

    door.open("some.host", limit(clock, 4), public_only=True)

    assert door.network.asked == [(address, 443, 4.0, "local", [("option",)]) for address in PUBLIC]


def test_the_last_failure_is_told(door: Door, clock: Clock, resolved: list[str]) -> None:
    door.network.down = tuple(PUBLIC)

    with pytest.raises(httpcore2.ConnectError, match=f"^{PUBLIC[1]} is down$"):
        door.open("some.host", limit(clock), public_only=True)


def test_a_name_without_an_address_is_told(door: Door, clock: Clock, resolved: list[str]) -> None:
    resolved.clear()

    with pytest.raises(httpcore2.ConnectError, match="^some.host has no address$"):
        door.open("some.host", limit(clock), public_only=True)


def test_a_name_that_nobody_knows_is_told(door: Door, clock: Clock, resolved: list[str]) -> None:
    with pytest.raises(httpcore2.ConnectError, match="nobody knows it") as caught:
        door.open("other.host", limit(clock), public_only=True)

    assert isinstance(caught.value.__cause__, socket.gaierror)


def test_looking_a_name_up_takes_no_longer_than_connecting_may(
    clock: Clock, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def open_slowly() -> None:
        async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
            await asyncio.sleep(5)
            return []

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        await ClampedAsyncBackend(network, public_only=True).connect_tcp("some.host", 443, limit(clock, 0.01))

    with pytest.raises(httpcore2.ConnectTimeout, match="^some.host was not resolved$"):
        asyncio.run(open_slowly())


def test_sleeping_is_left_to_the_backend(network: Network) -> None:
    asyncio.run(ClampedAsyncBackend(network).sleep(1.5))

    assert network.slept == [1.5]


def test_nothing_that_others_set_is_lost_when_no_limit_is_given() -> None:
    assert clamp._seconds(None, httpcore2.ReadTimeout) is None
    assert clamp._seconds(0.0, httpcore2.ReadTimeout) == 0.0
