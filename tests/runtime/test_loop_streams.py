"""Sockets of an event loop, told by a network that only writes down what it was given, and on a clock that leaps."""

from __future__ import annotations

import asyncio
import selectors
import ssl
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

import httpcore2
import pytest

from modelwrap.errors import BadRequest
from modelwrap.runtime import loop_streams
from modelwrap.runtime.base import Deadline, Limit
from modelwrap.runtime.clamp import HELD, Stale
from modelwrap.runtime.loop_streams import WRITE_PIECE, LoopBackend
from modelwrap.runtime.socks import Socks

T = TypeVar("T")

PUBLIC = ["93.184.216.34", "93.184.216.35"]
ANSWER = b"HTTP/1.1 200 OK\r\n\r\n"
MANY = 256 * 1024
NUMBER = 1234
SOCKS = Socks("proxy.test", 1080, None)


class Clock(selectors.DefaultSelector):
    """Wait for nothing: where a loop would, it is later at once."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 100.0

    def __call__(self) -> float:
        return self.time

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found:
            assert timeout is not None, "nothing will ever happen"
            self.time += timeout
        return found


class Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.time = clock  # type: ignore[method-assign]  # the clock of this loop


class Transport(asyncio.Transport):
    """Write down each operation."""

    def __init__(self, protocol: Any) -> None:
        super().__init__()
        self.protocol = protocol
        self.done: list[tuple[Any, ...]] = []
        self.closing = False
        self.reading = True
        self.when_written: Callable[[], object] = bool

    @property
    def written(self) -> bytes:
        return b"".join(data for operation, *data_ in self.done if operation == "write" for data in data_)

    def write(self, data: Any) -> None:
        self.done.append(("write", bytes(data)))
        self.when_written()

    def abort(self) -> None:
        self.done.append(("abort",))
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.done.append(("pause_reading",))
        self.reading = False

    def resume_reading(self) -> None:
        self.done.append(("resume_reading",))
        self.reading = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self if name == "socket" else f"the {name}"

    def fileno(self) -> int:
        return NUMBER

    def lose(self, error: Exception | None = None) -> None:
        self.closing = True
        self.protocol.connection_lost(error)


class Network:
    """Connect to nothing: an address takes its time, and may fail after it."""

    def __init__(self, clock: Clock, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = clock
        self.runner = runner
        self.addresses: Future[list[str]] = Future()
        self.addresses.set_result(list(PUBLIC))
        self.takes: dict[str, float] = {}
        self.failures: dict[str, BaseException] = {}
        self.asked: list[tuple[str, int, float]] = []
        self.looked_up: list[tuple[str, int]] = []
        self.opened: list[Transport] = []
        self.secured: list[Any] = []
        self.coming: list[Callable[[], object]] = []
        """What lies in the kernel, and happens in the next turn of the loop after someone has looked for it."""
        self.failed: list[Any] = []
        runner.get_loop().set_exception_handler(lambda loop, context: self.failed.append(context))
        monkeypatch.setattr(Loop, "create_connection", self.create_connection)
        monkeypatch.setattr(Loop, "start_tls", self.start_tls)
        monkeypatch.setattr(loop_streams, "look_up", self.look_up)
        monkeypatch.setattr(loop_streams, "has_something_to_say", self.has_something_to_say)

    def look_up(self, host: str, port: int) -> Future[list[str]]:
        self.looked_up.append((host, port))
        return self.addresses

    async def create_connection(self, protocol: Any, host: str, port: int) -> tuple[Transport, Any]:
        self.asked.append((host, port, self.clock.time - 100))
        await asyncio.sleep(self.takes.get(host, 0))
        if host in self.failures:
            raise self.failures[host]
        transport = Transport(protocol())
        self.opened.append(transport)
        transport.protocol.connection_made(transport)
        return transport, transport.protocol

    async def start_tls(
        self, transport: Transport, protocol: Any, context: ssl.SSLContext, *, server_hostname: str
    ) -> Transport:
        self.secured.append((transport, context, server_hostname))
        await asyncio.sleep(self.takes.get("tls", 0))
        if "tls" in self.failures:
            raise self.failures["tls"]
        self.opened.append(Transport(protocol))
        return self.opened[-1]

    def has_something_to_say(self, descriptor: int) -> bool:
        assert descriptor == NUMBER
        if not self.coming:
            return False
        self.runner.get_loop().call_soon(self.coming.pop(0))
        return True

    @property
    def transport(self) -> Transport:
        return self.opened[-1]

    def run(self, steps: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(steps)

    def later(self, seconds: float, happens: Callable[..., object], *arguments: Any) -> None:
        self.runner.get_loop().call_later(seconds, happens, *arguments)

    def open(self, timeout: float | None = None, *, public_only: bool = False, **proxy: Any) -> Any:
        backend = LoopBackend(public_only=public_only, **proxy)
        return self.run(backend.connect_tcp("model.test", 443, timeout))

    def limit(self, seconds: float = 5.0, total: float = 60.0) -> Limit:
        return Limit(seconds, Deadline(total, self.clock), "connect")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def network(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    with asyncio.Runner(loop_factory=lambda: Loop(clock)) as runner:
        network = Network(clock, runner, monkeypatch)
        yield network
    assert network.failed == []


def test_a_head_and_a_short_body_leave_together_when_the_answer_is_awaited(network: Network) -> None:
    stream = network.open()

    network.run(stream.write(b"head "))
    network.run(stream.write(b"x" * (HELD - 5)))
    before = list(network.transport.done)
    network.later(1, network.transport.protocol.data_received, ANSWER)
    network.run(stream.read(100))

    assert before == []
    assert network.transport.done == [("write", b"head " + b"x" * (HELD - 5))]


def test_a_large_body_goes_out_at_once_in_pieces_that_each_wait_for_room(network: Network) -> None:
    stream = network.open()
    body = bytes(range(256)) * (WRITE_PIECE // 128) + b"end"
    transport = network.transport
    transport.when_written = transport.protocol.pause_writing
    for seconds in (1, 2, 3):
        network.later(seconds, transport.protocol.resume_writing)

    network.run(stream.write(body, network.limit(1.5)))

    assert [len(data) for _, data in transport.done] == [WRITE_PIECE, WRITE_PIECE, 3]
    assert transport.written == body
    assert network.clock.time == 103


@pytest.mark.parametrize("total, moment", [(60, 106.5), (5, 105.0)])
def test_a_server_that_takes_no_more_is_waited_for_as_long_as_the_limit_says(
    network: Network, total: float, moment: float
) -> None:
    stream = network.open()
    transport = network.transport
    transport.when_written = transport.protocol.pause_writing
    network.later(3, transport.protocol.resume_writing)

    with pytest.raises(httpcore2.WriteTimeout) as caught:
        network.run(stream.write(b"x" * 2 * WRITE_PIECE, network.limit(3.5, total)))

    assert isinstance(caught.value.__cause__, TimeoutError)
    assert network.clock.time == moment


def test_no_operation_begins_when_no_time_is_left(network: Network) -> None:
    stream = network.open()
    over = network.limit(total=1)
    network.clock.time += 1

    with pytest.raises(httpcore2.ReadTimeout, match="^no time is left$"):
        network.run(stream.read(100, over))
    with pytest.raises(httpcore2.WriteTimeout, match="^no time is left$"):
        network.run(stream.write(b"x" * (HELD + 1), over))
    with pytest.raises(httpcore2.ConnectTimeout, match="^no time is left$"):
        network.run(stream.start_tls(ssl.create_default_context(), "model.test", over))

    assert network.transport.done == [("abort",)]


def test_what_was_held_goes_out_within_the_time_of_its_write_alone(network: Network) -> None:
    stream = network.open()

    network.run(stream.write(b"a question", network.limit(total=1)))
    network.clock.time += 1

    with pytest.raises(httpcore2.WriteTimeout, match="^no time is left$"):
        network.run(stream.read(100))
    assert network.transport.done == []


def test_an_answer_that_begins_while_a_request_goes_out_is_read_at_once(network: Network) -> None:
    stream = network.open()
    transport = network.transport
    transport.when_written = transport.protocol.pause_writing
    network.later(1, transport.protocol.data_received, ANSWER)

    network.run(stream.write(b"x" * (HELD + 1), network.limit()))

    assert network.run(stream.read(5)) == ANSWER[:5]
    assert network.run(stream.read(1000)) == ANSWER[5:]
    assert network.clock.time == 101


def test_a_connection_that_is_lost_while_a_request_goes_out_is_told_by_the_next_read(network: Network) -> None:
    stream = network.open()
    transport = network.transport
    transport.when_written = transport.protocol.pause_writing
    network.later(1, transport.lose, OSError("reset"))

    network.run(stream.write(b"x" * (HELD + 1), network.limit()))

    with pytest.raises(httpcore2.ReadError, match="^reset$") as caught:
        network.run(stream.read(100))
    assert isinstance(caught.value.__cause__, OSError)
    assert network.clock.time == 101


@pytest.mark.parametrize("limit, seconds", [(2.5, 2.5), (None, 50)])
def test_waits_for_an_answer_as_long_as_the_limit_says(network: Network, limit: float | None, seconds: float) -> None:
    stream = network.open()
    network.later(50, network.transport.protocol.eof_received)

    if limit is None:
        assert network.run(stream.read(100)) == b""
    else:
        with pytest.raises(httpcore2.ReadTimeout) as caught:
            network.run(stream.read(100, limit))
        assert isinstance(caught.value.__cause__, TimeoutError)

    assert network.clock.time == 100 + seconds


def test_several_things_that_happen_at_the_same_moment_wake_a_reader_once(network: Network) -> None:
    stream = network.open()
    protocol = network.transport.protocol
    for happens in (protocol.resume_writing, lambda: protocol.data_received(ANSWER), protocol.eof_received):
        network.later(5, happens)

    read = [network.run(stream.read(100, 5)) for _ in range(2)]

    assert read == [ANSWER, b""]


def test_what_came_before_a_connection_broke_is_read_first(network: Network) -> None:
    stream = network.open()
    network.run(stream.write(b"a question"))
    network.transport.protocol.data_received(ANSWER)
    network.transport.lose(OSError("reset"))

    assert network.run(stream.read(100)) == ANSWER
    with pytest.raises(httpcore2.ReadError, match="^reset$"):
        network.run(stream.read(100))


@pytest.mark.parametrize("lost", [None, OSError("reset")])
def test_an_idle_connection_that_turns_out_closed_is_told_from_one_that_breaks(
    network: Network, lost: Exception | None
) -> None:
    stream = network.open()
    network.run(stream.write(b"a question"))
    network.transport.protocol.data_received(ANSWER)
    network.run(stream.read(100))

    network.run(stream.write(b"another"))
    network.transport.lose(lost)

    with pytest.raises(Stale):
        network.run(stream.read(100))
    assert network.transport.written == b"a question"


def test_nothing_goes_out_over_a_connection_that_has_ended(network: Network) -> None:
    stream = network.open()
    network.transport.lose()
    with pytest.raises(httpcore2.WriteError, match="^the connection is closed$"):
        network.run(stream.write(b"x" * (HELD + 1)))

    network.transport.lose(OSError("reset"))
    with pytest.raises(httpcore2.WriteError, match="^reset$") as caught:
        network.run(stream.write(b"x" * (HELD + 1)))

    assert isinstance(caught.value.__cause__, OSError)
    assert network.transport.done == []


def test_what_has_come_is_taken_in_before_a_write_may_break_the_connection(network: Network) -> None:
    stream = network.open()
    transport = network.transport
    network.coming = [bool, bool, lambda: transport.protocol.data_received(ANSWER)]
    transport.when_written = lambda: transport.lose(OSError("broken pipe"))

    network.run(stream.write(b"x" * (HELD + 1)))

    assert network.coming == []
    assert network.run(stream.read(100)) == ANSWER
    assert network.clock.time == 100


def test_what_comes_between_the_pieces_of_a_body_is_taken_in_too(network: Network) -> None:
    stream = network.open()
    network.run(stream.write(b"a question"))
    network.transport.protocol.data_received(ANSWER)
    network.run(stream.read(100))
    when_it_came: list[int] = []
    network.coming = [lambda: when_it_came.append(len(network.transport.written))]

    network.run(stream.write(b"x" * (WRITE_PIECE + 1)))

    # A connection that served before would not have been taken had there been anything.
    assert when_it_came == [len(b"a question") + WRITE_PIECE]


@pytest.mark.parametrize("closes", [True, False])
def test_a_connection_that_takes_nothing_in_is_not_waited_for(network: Network, closes: bool) -> None:
    stream = network.open()
    transport = network.transport
    network.coming = [transport.lose if closes else transport.pause_reading] + [bool] * 5

    network.run(stream.write(b"a question"))
    network.later(1, transport.protocol.eof_received)
    network.run(stream.read(100))

    assert len(network.coming) == 5
    assert transport.written == (b"" if closes else b"a question")


def test_a_server_that_sends_more_than_is_read_has_to_wait(network: Network) -> None:
    stream = network.open()
    transport = network.transport
    transport.protocol.data_received(b"x" * MANY)
    before = list(transport.done)

    transport.protocol.data_received(b"y")
    read = [network.run(stream.read(MANY)) for _ in range(2)]

    assert before == []
    assert read == [b"x" * MANY, b"y"]
    assert transport.done == [("pause_reading",), ("resume_reading",)]


def test_a_connection_that_has_ended_is_not_read_on(network: Network) -> None:
    stream = network.open()
    network.transport.protocol.data_received(b"x" * (MANY + 1))
    network.transport.lose()

    network.run(stream.read(MANY))

    assert network.transport.done == [("pause_reading",)]


def test_closing_awaits_nothing(network: Network) -> None:
    stream = network.open()

    network.run(stream.aclose())

    assert network.transport.done == [("abort",)]


def test_a_connection_is_idle_until_it_says_something_or_is_spent(network: Network) -> None:
    stream = network.open()
    idle = stream.get_extra_info("is_readable")

    network.coming = [bool]
    in_the_kernel = stream.get_extra_info("is_readable")
    stream.conversation.spent = True
    spent = stream.get_extra_info("is_readable")
    stream.conversation.spent = False
    network.transport.protocol.data_received(b"x")
    unread = stream.get_extra_info("is_readable")
    network.run(stream.read(1))
    network.transport.protocol.eof_received()

    assert (idle, in_the_kernel, spent, unread) == (False, True, True, True)
    assert stream.get_extra_info("is_readable") is True
    assert stream.get_extra_info("ssl_object") == "the ssl_object"


def test_tls_is_spoken_over_the_same_connection(network: Network) -> None:
    context = ssl.create_default_context()
    stream = network.open()
    plain = network.transport

    secured = network.run(stream.start_tls(context, "model.test", network.limit()))
    network.later(1, network.transport.protocol.data_received, ANSWER)
    network.run(secured.write(b"a question"))

    assert network.run(secured.read(100)) == ANSWER
    assert network.secured == [(plain, context, "model.test")]
    assert (plain.done, network.transport.written) == ([], b"a question")


@pytest.mark.parametrize(
    "failure, kind, words",
    [
        (ssl.SSLError("who is this"), httpcore2.ConnectError, "who is this"),
        (asyncio.CancelledError("now"), asyncio.CancelledError, "now"),
    ],
)
def test_a_connection_without_the_tls_it_should_have_is_hung_up_on(
    network: Network, failure: BaseException, kind: type[BaseException], words: str
) -> None:
    stream = network.open()
    network.failures["tls"] = failure

    with pytest.raises(kind, match=words):
        network.run(stream.start_tls(ssl.create_default_context(), "model.test", network.limit()))

    assert network.transport.done == [("abort",)]


def test_tls_is_not_waited_for_beyond_its_time(network: Network) -> None:
    stream = network.open()
    network.takes["tls"] = 10

    with pytest.raises(httpcore2.ConnectTimeout) as caught:
        network.run(stream.start_tls(ssl.create_default_context(), "model.test", network.limit(5, total=3)))

    assert isinstance(caught.value.__cause__, TimeoutError)
    assert network.clock.time == 103
    assert network.transport.done == [("abort",)]


@pytest.mark.parametrize("error, words", [(None, "the connection is closed"), (OSError("reset"), "reset")])
def test_no_tls_is_begun_over_a_connection_that_has_ended(
    network: Network, error: Exception | None, words: str
) -> None:
    stream = network.open()
    network.transport.lose(error)

    with pytest.raises(httpcore2.ConnectError, match=f"^{words}$"):
        network.run(stream.start_tls(ssl.create_default_context(), "model.test", network.limit()))

    assert network.secured == []


def test_the_first_address_has_a_head_start(network: Network) -> None:
    network.takes = {PUBLIC[0]: 0.125}

    network.open(network.limit())

    assert network.looked_up == [("model.test", 443)]
    assert network.asked == [(PUBLIC[0], 443, 0)]


def test_the_next_address_is_tried_beside_one_that_does_not_answer(network: Network) -> None:
    network.takes = {PUBLIC[0]: 10, PUBLIC[1]: 0.5}

    network.open(network.limit())
    connected = network.clock.time
    network.run(asyncio.sleep(20))

    assert network.asked == [(PUBLIC[0], 443, 0), (PUBLIC[1], 443, 0.25)]
    assert connected == 100.75
    # The first is given up.
    assert [transport.done for transport in network.opened] == [[]]


def test_the_next_address_is_tried_at_once_where_one_fails(network: Network) -> None:
    network.failures = {PUBLIC[0]: OSError("down")}

    network.open(network.limit())

    assert network.asked == [(PUBLIC[0], 443, 0), (PUBLIC[1], 443, 0)]


def test_an_address_that_is_slower_than_its_head_start_may_still_win(network: Network) -> None:
    network.takes = {PUBLIC[0]: 3}
    network.failures = {PUBLIC[1]: OSError("down")}

    network.open(network.limit())

    assert network.clock.time == 103


def test_of_two_addresses_that_answer_at_the_same_moment_one_is_hung_up_on(network: Network) -> None:
    network.takes = {PUBLIC[0]: 0.5, PUBLIC[1]: 0.25}

    stream = network.open(network.limit())
    network.run(asyncio.sleep(0))
    network.run(stream.aclose())

    assert [transport.done for transport in network.opened] == [[("abort",)], [("abort",)]]


@pytest.mark.parametrize("count", [1, 2])
def test_the_last_failure_is_told(network: Network, count: int) -> None:
    network.failures = {address: OSError(f"{address} is down") for address in PUBLIC}
    del network.addresses.result()[count:]

    with pytest.raises(httpcore2.ConnectError, match=f"^{PUBLIC[count - 1]} is down$") as caught:
        network.open(network.limit())

    assert isinstance(caught.value.__cause__, OSError)
    assert network.asked == [(address, 443, 0) for address in PUBLIC[:count]]


def test_a_name_without_an_address_is_told(network: Network) -> None:
    network.addresses.result().clear()

    with pytest.raises(httpcore2.ConnectError, match="^the host has no address$"):
        network.open(network.limit())


def test_a_name_that_is_looked_up_meanwhile_is_awaited(network: Network) -> None:
    network.addresses = Future()
    network.later(1, network.addresses.set_result, PUBLIC)

    network.open(network.limit())

    assert network.asked == [(PUBLIC[0], 443, 1)]


def test_a_name_that_cannot_be_looked_up_is_told(network: Network) -> None:
    network.addresses = Future()
    network.addresses.set_exception(UnicodeError("label too long"))

    with pytest.raises(httpcore2.ConnectError, match="^label too long$"):
        network.open(network.limit())


def test_the_time_to_connect_holds_for_names_and_addresses_together(network: Network) -> None:
    network.addresses = Future()
    network.later(1, network.addresses.set_result, PUBLIC)
    network.takes = dict.fromkeys(PUBLIC, 10)

    with pytest.raises(httpcore2.ConnectTimeout) as caught:
        network.open(network.limit(3))
    with pytest.raises(httpcore2.ConnectTimeout, match="^no time is left$"):
        network.open(network.limit(3, total=0))

    assert isinstance(caught.value.__cause__, TimeoutError)
    assert network.clock.time == 103


def test_a_name_that_stands_for_private_addresses_is_refused_where_only_public_ones_may_be_asked(
    network: Network,
) -> None:
    network.addresses.result()[1] = "10.0.0.1"

    with pytest.raises(BadRequest, match="model.test \\(10.0.0.1\\)"):
        network.open(network.limit(), public_only=True)
    network.open(network.limit())

    assert len(network.asked) == 1


def test_what_a_proxy_says_to_connect_comes_within_the_time_to_connect(network: Network) -> None:
    stream = network.open(network.limit(5), tunnels=True)
    network.run(stream.write(b"CONNECT", network.limit(30)))
    network.later(4, network.transport.protocol.data_received, ANSWER)

    read = network.run(stream.read(10, network.limit(30)))
    network.run(stream.read(100, network.limit(30)))

    assert read == ANSWER[:10]
    with pytest.raises(httpcore2.ConnectTimeout):
        network.run(stream.read(100, network.limit(30)))
    assert network.clock.time == 109


def test_a_proxy_that_makes_no_tunnel_is_told(network: Network) -> None:
    stream = network.open(network.limit(), tunnels=True)
    network.run(stream.write(b"CONNECT"))
    network.transport.protocol.data_received(b"SSH-2.0")

    with pytest.raises(httpcore2.ProxyError, match="^it does not speak HTTP$"):
        network.run(stream.read(100))
    network.transport.lose(OSError("reset"))
    with pytest.raises(httpcore2.ProxyError, match="^reset$"):
        network.run(stream.read(100))


def test_a_socks_proxy_is_asked_for_the_host_and_what_follows_is_the_hosts(network: Network) -> None:
    said = [b"\x05", b"\x00", b"\x05\x00", b"\x00\x01\x7f\x00\x00", b"\x01\x00\x50", ANSWER]
    for seconds, data in enumerate(said, 1):
        network.later(seconds, lambda data=data: network.transport.protocol.data_received(data))

    stream = network.open(network.limit(10), socks=SOCKS)
    passed_on = network.clock.time

    assert network.looked_up == [("proxy.test", 1080)]
    assert network.asked == [(PUBLIC[0], 1080, 0)]
    assert network.transport.written == b"\x05\x01\x00" + b"\x05\x01\x00\x03\x0amodel.test\x01\xbb"
    assert passed_on == 105
    assert network.run(stream.read(100)) == ANSWER


@pytest.mark.parametrize("error, words", [(None, "it hung up"), (OSError("reset"), "reset")])
def test_a_socks_proxy_that_passes_nothing_on_is_hung_up_on(
    network: Network, error: Exception | None, words: str
) -> None:
    network.later(1, lambda: network.transport.protocol.data_received(b"\x05"))
    network.later(2, lambda: network.transport.lose(error))

    with pytest.raises(httpcore2.ProxyError, match=f"^{words}$"):
        network.open(network.limit(), socks=SOCKS)

    assert network.transport.done[-1] == ("abort",)


def test_a_socks_proxy_is_not_waited_for_beyond_the_time_to_connect(network: Network) -> None:
    with pytest.raises(httpcore2.ConnectTimeout):
        network.open(network.limit(), socks=SOCKS)

    assert network.clock.time == 105
    assert network.transport.done[-1] == ("abort",)
