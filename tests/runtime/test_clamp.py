"""Sockets that are given no more time than is left, told by a network that only writes down what it was given."""

from __future__ import annotations

import socket
import ssl
from concurrent.futures import Future
from typing import Any

import httpcore2
import pytest

from modelwrap.errors import BadRequest
from modelwrap.runtime import clamp
from modelwrap.runtime.base import Deadline, Limit
from modelwrap.runtime.clamp import HELD, ClampedBackend, Stale, seconds_left
from modelwrap.runtime.socks import Socks

PUBLIC = ["93.184.216.34", "93.184.216.35"]
ANSWER = b"HTTP/1.1 200 OK\r\n\r\n"
NUMBER = 1234


class Clock:
    time = 100.0

    def __call__(self) -> float:
        return self.time


class Socket(httpcore2.NetworkStream):
    """Write down each operation; `takes` seconds pass in it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.takes = 0.0
        self.done: list[tuple[Any, ...]] = []
        self.waited: list[float | None] = []
        self.says: Any = ANSWER
        """The same again and again, or a list of one thing after another."""
        self.takes_no_more = False

    def _do(self, *operation: Any) -> None:
        self.done.append(operation)
        self.clock.time += self.takes

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._do("read", max_bytes, timeout)
        said = self.says.pop(0) if isinstance(self.says, list) else self.says
        if isinstance(said, BaseException):
            raise said
        assert isinstance(said, bytes)
        return said

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._do("write", buffer, timeout)
        if self.takes_no_more:
            raise httpcore2.WriteError("broken pipe")

    def close(self) -> None:
        self._do("close")

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> Socket:
        self._do("start_tls", ssl_context, server_hostname, timeout)
        return self

    def get_extra_info(self, info: str) -> Any:
        return self if info == "socket" else f"the {info}"

    def fileno(self) -> int:
        return NUMBER


class Network:
    """Connect to nothing; refuse the addresses in `down`."""

    def __init__(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.socket = Socket(clock)
        self.clock = clock
        self.takes = 0.0
        self.down: tuple[str, ...] = ()
        self.asked: list[tuple[Any, ...]] = []
        self.ready: list[tuple[bool, bool]] = []
        """Whether there is something to read and room to write, for as often as it differs from nothing and room."""
        monkeypatch.setattr(clamp, "readiness", self.readiness)
        monkeypatch.setattr(clamp, "connected", self.connect)

    def connect(self, host: str, port: int, timeout: Any) -> Socket:
        self.asked.append((host, port, timeout))
        self.clock.time += self.takes
        if host in self.down:
            raise httpcore2.ConnectError(f"{host} is down")
        return self.socket

    def readiness(self, descriptor: int, seconds: float | None) -> tuple[bool, bool]:
        assert descriptor == NUMBER
        self.socket.waited.append(seconds)
        return self.ready.pop(0) if self.ready else (False, True)

    def open(
        self, host: str, timeout: float | None, *, public_only: bool = False, **proxy: Any
    ) -> httpcore2.NetworkStream:
        backend = ClampedBackend(public_only=public_only, **proxy)
        return backend.connect_tcp(host, 443, timeout)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def network(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Network:
    return Network(clock, monkeypatch)


@pytest.fixture(autouse=True)
def resolved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Say what names stand for; asked for anything but streams, nothing."""
    addresses = list(PUBLIC)

    def getaddrinfo(host: Any, port: Any, *, type: int, flags: int) -> list[Any]:  # noqa: A002 - the system's name
        if flags or type != socket.SOCK_STREAM or (host, port) not in (("some.host", 443), ("proxy.test", 1080)):
            raise socket.gaierror("nobody knows it")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return addresses


def limit(clock: Clock, seconds: float = 5.0, total: float = 60.0, name: str = "connect") -> Limit:
    return Limit(seconds, Deadline(total, clock), name)


def test_each_operation_is_given_what_is_left_at_its_start(network: Network, clock: Clock) -> None:
    stream = network.open("some.host", limit(clock))
    every = limit(clock, 5, total=12)
    network.socket.takes = 4.0

    read = [stream.read(100, every) for _ in range(3)]

    assert read == [ANSWER] * 3
    assert network.socket.done == [("read", 100, 5.0), ("read", 100, 5.0), ("read", 100, 4.0)]


def test_no_operation_begins_when_no_time_is_left(network: Network, clock: Clock) -> None:
    stream = network.open("some.host", limit(clock))
    over = limit(clock, total=1)
    clock.time += 1

    with pytest.raises(httpcore2.ReadTimeout, match="^no time is left$"):
        stream.read(100, over)
    with pytest.raises(httpcore2.WriteTimeout, match="^no time is left$"):
        stream.write(b"x" * (HELD + 1), over)
    with pytest.raises(httpcore2.ConnectTimeout, match="^no time is left$"):
        stream.start_tls(ssl.create_default_context(), "some.host", over)

    # Only the last leaves it to its stream to hang up.
    assert network.socket.done == [("close",)]


def test_limits_of_others_are_handed_on(network: Network) -> None:
    stream = network.open("some.host", 3.5)

    stream.read(7)
    stream.write(b"data", 1.5)
    stream.read(7, 2.5)
    stream.close()

    assert network.asked == [(PUBLIC[0], 443, 1.75)]
    assert network.socket.done == [("read", 7, None), ("write", b"data", 1.5), ("read", 7, 2.5), ("close",)]
    assert stream.get_extra_info("client_addr") == "the client_addr"


def test_what_tls_makes_of_a_stream_is_clamped_too(network: Network, clock: Clock) -> None:
    context = ssl.create_default_context()
    stream = network.open("some.host", limit(clock))

    secured = stream.start_tls(context, "some.host", limit(clock, 9))
    secured.read(100, limit(clock, 3))

    assert network.socket.done == [("start_tls", context, "some.host", 9.0), ("read", 100, 3.0)]


def test_a_head_and_a_short_body_leave_together_when_the_answer_is_awaited(network: Network, clock: Clock) -> None:
    stream = network.open("some.host", limit(clock))

    stream.write(b"head ", limit(clock, 3))
    stream.write(b"body", limit(clock, 3))
    before = list(network.socket.done)
    stream.read(100)

    assert before == []
    assert network.socket.done == [("write", b"head body", 3.0), ("read", 100, None)]


@pytest.mark.parametrize("size", [1, HELD])
def test_a_short_request_goes_out_whatever_has_come_and_without_looking_for_room(
    network: Network, clock: Clock, size: int
) -> None:
    stream = network.open("some.host", limit(clock))
    network.ready = [(True, False)]

    stream.write(b"x" * size, limit(clock))
    before = list(network.socket.done)
    stream.read(100, limit(clock))

    assert before == []
    assert network.socket.done == [("write", b"x" * size, 5.0), ("read", 100, 5.0)]


def test_what_was_held_goes_out_within_the_time_of_its_write_alone(network: Network, clock: Clock) -> None:
    stream = network.open("some.host", limit(clock))

    stream.write(b"a question", limit(clock, total=1))
    clock.time += 1

    with pytest.raises(httpcore2.WriteTimeout, match="^no time is left$"):
        stream.read(100, limit(clock))
    assert network.socket.done == []


def test_a_large_body_is_written_in_pieces_that_share_its_time(network: Network, clock: Clock) -> None:
    stream = network.open("some.host", limit(clock))
    body = bytes(range(256)) * 160
    network.socket.takes = 2.0

    stream.write(body, limit(clock, 60, total=7))

    assert b"".join(data for _, data, _ in network.socket.done) == body
    assert [(len(data), left) for _, data, left in network.socket.done] == [(HELD, 7.0), (HELD, 5.0), (2**13, 3.0)]
    assert network.socket.waited == [7.0, 5.0, 3.0]


def test_no_more_of_a_body_goes_out_before_the_answer_that_has_begun_is_read(network: Network, clock: Clock) -> None:
    stream = network.open("some.host", limit(clock))
    network.ready = [(False, True), (True, True)]

    stream.write(b"x" * 3 * HELD, limit(clock, 3))
    begun = [stream.read(5, limit(clock, 4)), stream.read(1000, limit(clock, 4))]
    ended = stream.read(1000, limit(clock, 4))

    assert begun == [ANSWER[:5], ANSWER[5:]]
    assert ended == ANSWER
    written = b"x" * HELD
    assert network.socket.done == [
        ("write", written, 3.0),
        ("read", 65536, 0.001),
        ("write", written, 4.0),
        ("write", written, 4.0),
        ("read", 1000, 4.0),
    ]
    assert stream.get_extra_info("is_readable") is True


def test_what_tls_says_for_itself_is_no_answer(network: Network, clock: Clock) -> None:
    stream = network.open("some.host", limit(clock))
    network.ready = [(True, False)]
    network.socket.says = httpcore2.ReadTimeout()

    stream.write(b"x" * 2 * HELD, limit(clock))

    assert [operation for operation, *_ in network.socket.done] == ["read", "write", "write"]
    assert stream.get_extra_info("is_readable") == "the is_readable"


def test_the_rest_of_a_request_is_dropped_when_nobody_is_left_to_read_it(network: Network, clock: Clock) -> None:
    stream = network.open("some.host", limit(clock))
    network.ready = [(True, True)]
    network.socket.says = b""

    stream.write(b"x" * 2 * HELD, limit(clock))

    assert stream.read(100) == b""
    assert [operation for operation, *_ in network.socket.done] == ["read", "read"]


@pytest.mark.parametrize("answered, kind", [(False, httpcore2.WriteTimeout), (True, httpcore2.ReadTimeout)])
def test_a_server_that_neither_reads_nor_answers_is_not_waited_for(
    network: Network, clock: Clock, answered: bool, kind: type[Exception]
) -> None:
    stream = network.open("some.host", limit(clock))
    network.ready = [(True, False)] * answered + [(False, False)] * 2

    with pytest.raises(kind):
        stream.write(b"x" * 2 * HELD, limit(clock, 3))
        stream.read(100, limit(clock, 4))
        stream.read(100, limit(clock, 4))

    assert network.socket.waited == ([3.0, 4.0] if answered else [3.0])


def test_a_server_that_takes_no_more_of_a_request_is_heard(network: Network, clock: Clock) -> None:
    stream = network.open("some.host", limit(clock))
    network.socket.takes_no_more = True

    stream.write(b"a question", limit(clock))

    assert stream.read(100) == ANSWER
    assert stream.read(100) == ANSWER
    assert [operation for operation, *_ in network.socket.done] == ["write", "read", "read"]


@pytest.mark.parametrize("says", [b"", httpcore2.ReadError("reset")])
def test_an_idle_connection_that_turns_out_closed_is_told_from_one_that_breaks(
    network: Network, clock: Clock, says: Any
) -> None:
    stream = network.open("some.host", limit(clock))
    for _ in range(2):
        stream.write(b"a question", limit(clock))
        stream.read(100)

    stream.write(b"another", limit(clock))
    network.socket.says = says

    with pytest.raises(Stale, match="^the server closed an idle connection$"):
        stream.read(100)


@pytest.mark.parametrize("exchanges", [0, 1])
def test_a_connection_that_breaks_over_its_first_request_or_in_an_answer_is_not_stale(
    network: Network, clock: Clock, exchanges: int
) -> None:
    stream = network.open("some.host", limit(clock))
    stream.write(b"a question", limit(clock))
    for _ in range(exchanges):
        stream.read(100)
    network.socket.says = httpcore2.ReadError("reset")

    with pytest.raises(httpcore2.ReadError, match="^reset$"):
        stream.read(100)


def test_a_connection_that_is_spent_seems_to_have_ended(network: Network, clock: Clock) -> None:
    stream = network.open("some.host", limit(clock))
    before = stream.get_extra_info("is_readable")

    stream.conversation.spent = True  # type: ignore[attr-defined]  # of the clamped stream

    assert (before, stream.get_extra_info("is_readable")) == ("the is_readable", True)


def test_the_addresses_of_a_name_share_its_time(network: Network, clock: Clock) -> None:
    network.takes, network.down = 2.0, (PUBLIC[0],)

    network.open("some.host", limit(clock, 60, total=5))

    assert [(host, left) for host, _, left, *_ in network.asked] == [(PUBLIC[0], 2.5), (PUBLIC[1], 3.0)]


def test_no_further_address_is_tried_when_no_time_is_left(network: Network, clock: Clock) -> None:
    network.takes, network.down = 2.0, tuple(PUBLIC)

    with pytest.raises(httpcore2.ConnectTimeout, match="no time is left"):
        network.open("some.host", limit(clock, 60, total=2))

    assert len(network.asked) == 1


def test_a_name_that_stands_for_private_addresses_is_refused_where_only_public_ones_may_be_asked(
    network: Network, clock: Clock, resolved: list[str]
) -> None:
    resolved[1] = "10.0.0.1"

    with pytest.raises(BadRequest, match="some.host \\(10.0.0.1\\)"):
        network.open("some.host", limit(clock), public_only=True)
    network.open("some.host", limit(clock))

    assert len(network.asked) == 1


def test_the_address_that_was_checked_is_the_one_that_is_asked(network: Network, clock: Clock) -> None:
    network.down = (PUBLIC[0],)

    network.open("some.host", limit(clock, 4), public_only=True)

    assert [(host, left) for host, _, left, *_ in network.asked] == [(PUBLIC[0], 2.0), (PUBLIC[1], 4.0)]


def test_the_last_failure_is_told(network: Network, clock: Clock) -> None:
    network.down = tuple(PUBLIC)

    with pytest.raises(httpcore2.ConnectError, match=f"^{PUBLIC[1]} is down$"):
        network.open("some.host", limit(clock))


def test_a_name_without_an_address_is_told(network: Network, clock: Clock, resolved: list[str]) -> None:
    resolved.clear()

    with pytest.raises(httpcore2.ConnectError, match="^some.host has no address$"):
        network.open("some.host", limit(clock))


def test_a_name_that_nobody_knows_is_told(network: Network, clock: Clock) -> None:
    with pytest.raises(httpcore2.ConnectError, match="nobody knows it") as caught:
        network.open("other.host", limit(clock))

    assert isinstance(caught.value.__cause__, socket.gaierror)


def test_a_name_that_takes_longer_to_look_up_than_is_left_is_told(
    network: Network, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clamp, "look_up", lambda host, port: Future())

    with pytest.raises(httpcore2.ConnectTimeout, match="^some.host was not resolved in time$"):
        network.open("some.host", limit(clock, 0.01))
    clock.time += 60
    with pytest.raises(httpcore2.ConnectTimeout, match="^no time is left$"):
        network.open("some.host", limit(clock, 60, total=0))

    assert network.asked == []


def test_a_connection_that_ends_within_the_head_of_an_answer_is_told(network: Network, clock: Clock) -> None:
    stream = network.open("some.host", limit(clock))
    stream.write(b"a question", limit(clock))
    network.socket.says = b"HTTP/1.1 200 OK\r\nserver:"
    stream.read(100)
    network.socket.says = b""

    with pytest.raises(httpcore2.RemoteProtocolError, match="^it ended before its headers did$"):
        stream.read(100)


def test_a_connection_that_ends_before_or_after_an_answer_is_the_clients_to_judge(
    network: Network, clock: Clock
) -> None:
    stream = network.open("some.host", limit(clock))
    stream.write(b"a question", limit(clock))

    network.socket.says = b""
    before = stream.read(100)
    network.socket.says = ANSWER
    stream.read(100)
    network.socket.says = b""

    assert (before, stream.read(100)) == (b"", b"")


def test_informational_answers_without_end_are_told(network: Network, clock: Clock) -> None:
    stream = network.open("some.host", limit(clock))
    stream.write(b"a question", limit(clock))
    network.socket.says = b"HTTP/1.1 103 Early Hints\r\n\r\n"

    with pytest.raises(httpcore2.RemoteProtocolError, match="^more than 8 informational answers before the answer$"):
        for _ in range(9):
            stream.read(100)


def test_the_last_moment_counts(clock: Clock) -> None:
    assert seconds_left(limit(clock, 0.25), httpcore2.ReadTimeout) == 0.25


def test_nothing_that_others_set_is_lost_when_no_limit_is_given() -> None:
    assert seconds_left(None, httpcore2.ReadTimeout) is None
    assert seconds_left(0.0, httpcore2.ReadTimeout) == 0.0


def test_what_a_proxy_says_to_connect_comes_within_the_time_to_connect(network: Network, clock: Clock) -> None:
    stream = network.open("some.host", limit(clock, 5), tunnels=True)

    stream.write(b"CONNECT", limit(clock, 30))
    said = stream.read(100, limit(clock, 30))

    assert said == ANSWER
    assert network.socket.done == [("write", b"CONNECT", 30.0), ("read", 100, 5.0)]


@pytest.mark.parametrize(
    "says, kind, words",
    [
        (b"", httpcore2.ProxyError, "it hung up"),
        (b"SSH-2.0", httpcore2.ProxyError, "it does not speak HTTP"),
        (httpcore2.ReadError("reset"), httpcore2.ProxyError, "reset"),
        (httpcore2.ReadTimeout("late"), httpcore2.ConnectTimeout, "late"),
    ],
)
def test_a_proxy_that_makes_no_tunnel_is_told(
    network: Network, clock: Clock, says: Any, kind: type[Exception], words: str
) -> None:
    stream = network.open("some.host", limit(clock), tunnels=True)
    stream.write(b"CONNECT", limit(clock))
    network.socket.says = says

    with pytest.raises(kind, match=f"^{words}$"):
        stream.read(100)


SOCKS = Socks("proxy.test", 1080, None)
TAKEN = [b"\x05", b"\x00", b"\x05\x00", b"\x00\x01", b"\x7f\x00\x00", b"\x01\x00\x50"]
ASKED = b"\x05\x01\x00\x03\x0amodel.test\x01\xbb"


def test_a_socks_proxy_is_asked_for_the_host_within_the_time_to_connect(network: Network, clock: Clock) -> None:
    network.socket.takes, network.socket.says = 1.0, list(TAKEN)

    stream = network.open("model.test", limit(clock, 60, total=20), socks=SOCKS)

    assert network.asked == [(PUBLIC[0], 1080, 10.0)]
    assert [operation for operation in network.socket.done if operation[1]] == [
        ("write", b"\x05\x01\x00", 20.0),
        ("read", 2, 19.0),
        ("read", 1, 18.0),
        ("write", ASKED, 17.0),
        ("read", 4, 16.0),
        ("read", 2, 15.0),
        ("read", 6, 13.0),
        ("read", 3, 12.0),
    ]
    network.socket.says = ANSWER
    assert stream.read(100) == ANSWER


@pytest.mark.parametrize(
    "says, kind, words",
    [
        (b"", httpcore2.ProxyError, "it hung up"),
        (httpcore2.ReadError("reset"), httpcore2.ProxyError, "reset"),
        (httpcore2.ReadTimeout("late"), httpcore2.ConnectTimeout, "late"),
        (KeyboardInterrupt("now"), KeyboardInterrupt, "now"),
    ],
)
def test_a_socks_proxy_that_passes_nothing_on_is_hung_up_on(
    network: Network, clock: Clock, says: Any, kind: type[BaseException], words: str
) -> None:
    network.socket.says = [*TAKEN[:3], says]

    with pytest.raises(kind, match=f"^{words}$"):
        network.open("model.test", limit(clock), socks=SOCKS)

    assert network.socket.done[-1] == ("close",)


@pytest.mark.parametrize("operations", [2, 3])
def test_a_socks_proxy_is_not_waited_for_beyond_the_time_to_connect(
    network: Network, clock: Clock, operations: int
) -> None:
    network.socket.takes, network.socket.says = 1.0, list(TAKEN)

    with pytest.raises(httpcore2.ConnectTimeout, match="^no time is left$"):
        network.open("model.test", limit(clock, total=operations), socks=SOCKS)

    assert len(network.socket.done) == operations + 1
    assert network.socket.done[-1] == ("close",)
