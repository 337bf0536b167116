"""Through a proxy: tunnels for https, whole URLs for http, and a password that shows nowhere."""

from __future__ import annotations

import base64
import gc
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

import modelwrap
from modelwrap.errors import BadRequest, CallError, ConfigError, ConnectionFailed, TimedOut, TLSFailed
from modelwrap.runtime import backends
from modelwrap.runtime.base import Deadline, Runtime
from modelwrap.secrets import Secret
from modelwrap.testing import FaultServer
from modelwrap.wire.http import Connection, HttpRequest, Timeouts
from tests.colours import WAYS, Colour
from tests.hidden import assert_hidden, frames_when_cancelled
from tests.raw_port import a_port, a_port_that_answers

PASSWORD = "pr0xy-secret"
BASIC = base64.b64encode(f"user:{PASSWORD}".encode()).decode()


class Proxy:
    """Pass bytes on to wherever CONNECT asks for, or refuse to."""

    def __init__(self, refusal: bytes = b"") -> None:
        self.heads: list[str] = []
        self._refusal = refusal
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://user:{PASSWORD}@127.0.0.1:{self._listener.getsockname()[1]}"

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._pass_on, args=[client], daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
            self.heads.append(head.decode())
            if self._refusal:
                client.sendall(self._refusal)
                return
            host, _, port = head.split(b" ")[1].decode().rpartition(":")
            with socket.create_connection((host, int(port))) as server:
                client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                back = threading.Thread(target=_pump, args=[server, client], daemon=True)
                back.start()
                _pump(client, server)
                back.join()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def faults() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    proxy = Proxy()
    yield proxy
    proxy.close()


async def fetch(runtime: Runtime, url: str, connection: Connection, times: int = 1) -> list[bytes]:
    request = HttpRequest("POST", url, connection=connection, timeouts=Timeouts(connect=1, total=3))
    bodies = []
    for _ in range(times):
        response = await runtime.send(request, Deadline(3, runtime.now))
        bodies.append(await response.read())
    return bodies


def test_https_goes_through_a_tunnel_that_serves_several_calls(
    colour: Colour, faults: FaultServer, proxy: Proxy
) -> None:
    url = faults.url("trusted_certificate")
    connection = Connection(proxy=Secret(proxy.url), verify=faults.authority)

    bodies = colour.run(fetch(colour.runtime(), url, connection, times=3))
    backends.close(url)

    assert len(bodies) == 3
    assert len(proxy.heads) == 1
    head = proxy.heads[0].lower()
    assert head.startswith(f"connect {url.split('/')[2]} http/1.1\r\n")
    assert f"proxy-authorization: basic {BASIC.lower()}\r\n" in head
    assert faults.all_closed("trusted_certificate")


def test_a_certificate_is_checked_through_a_tunnel_too(colour: Colour, faults: FaultServer, proxy: Proxy) -> None:
    connection = Connection(proxy=Secret(proxy.url), verify=faults.authority)

    with pytest.raises(TLSFailed) as caught:
        colour.run(fetch(colour.runtime(), faults.url("certificate_of_another_host"), connection))

    assert not caught.value.sent
    assert faults.all_closed("certificate_of_another_host")


@pytest.mark.parametrize("status, retryable", [(407, False), (403, False), (502, True), (503, True)])
def test_a_tunnel_that_is_refused_is_named(colour: Colour, status: int, retryable: bool) -> None:
    proxy = Proxy(b"HTTP/1.1 %d No\r\ncontent-length: 0\r\n\r\n" % status)
    connection = Connection(proxy=Secret(proxy.url))

    with pytest.raises(ConnectionFailed, match=f"the proxy failed: {status} No$") as caught:
        colour.run(fetch(colour.runtime(), "https://model.test/v1", connection))
    proxy.close()

    assert (caught.value.sent, caught.value.retryable) == (False, retryable)
    assert_hidden(caught.value, PASSWORD, BASIC)


@pytest.mark.parametrize("url", ["https://model.test/v1", "http://model.internal/v1"])
def test_a_login_that_a_proxy_repeats_is_hidden(colour: Colour, url: str) -> None:
    echo = f"{PASSWORD} {BASIC}"
    proxy = Proxy(f"HTTP/1.1 403 {echo}\r\ncontent-length: {len(echo)}\r\n\r\n{echo}".encode())
    client_args = {"base_url": url, "proxy": proxy.url}
    model = modelwrap.load({"config_name": "a", "model_type": "openai", "api_key": "sk-1", "client_args": client_args})[
        "a"
    ]

    with pytest.raises(CallError, match=r"\*\*\* \*\*\*") as caught:
        colour.call(model)
    proxy.close()

    assert_hidden(caught.value, PASSWORD, BASIC)


@pytest.mark.parametrize(
    "answer",
    [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"x" * 2**18, b"HTTP/1.1 103 Early\r\n\r\n" * 9],
    ids=["hangs up", "speaks something else", "has a head without end", "does not come to the point"],
)
def test_a_proxy_that_makes_no_tunnel_is_named_and_nothing_was_sent(colour: Colour, answer: bytes) -> None:
    with a_port_that_answers(answer) as url, pytest.raises(ConnectionFailed, match="the proxy failed: ") as caught:
        colour.run(fetch(colour.runtime(), "https://model.test/", Connection(proxy=Secret(url))))

    assert (caught.value.sent, caught.value.retryable) == (False, True)


def test_the_time_to_connect_holds_for_a_tunnel_too(colour: Colour) -> None:
    started = time.monotonic()

    with a_port_that_answers(hang_up=False) as url, pytest.raises(TimedOut, match="no connection within 1 s") as caught:
        colour.run(fetch(colour.runtime(), "https://model.test/", Connection(proxy=Secret(url))))

    assert (caught.value.limit, caught.value.sent) == ("connect", False)
    assert time.monotonic() - started < 2


def test_a_proxy_that_is_not_there_is_named(colour: Colour) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    connection = Connection(proxy=Secret(f"http://user:{PASSWORD}@127.0.0.1:{port}"))

    for url in ("http://model.test/", "https://model.test/"):
        with pytest.raises(ConnectionFailed, match="the proxy cannot be reached: Connection refused") as caught:
            colour.run(fetch(colour.runtime(), url, connection))
        assert (caught.value.sent, caught.value.retryable) == (False, True)
        assert_hidden(caught.value, PASSWORD, BASIC)


def test_a_proxy_that_nobody_knows_is_named(colour: Colour) -> None:
    connection = Connection(proxy=Secret(f"http://user:{PASSWORD}@proxy.invalid:3128"))

    with pytest.raises(ConnectionFailed, match="the proxy's name cannot be resolved") as caught:
        colour.run(fetch(colour.runtime(), "https://model.test/", connection))

    assert not caught.value.sent
    assert_hidden(caught.value, PASSWORD, BASIC)


def test_public_addresses_and_a_proxy_exclude_each_other(colour: Colour, proxy: Proxy) -> None:
    connection = Connection(proxy=Secret(proxy.url), public_only=True)

    with pytest.raises(BadRequest, match="a proxy hides it") as caught:
        colour.run(fetch(colour.runtime(), "https://model.test/", connection))

    assert not caught.value.sent
    assert proxy.heads == []


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("way", WAYS[1:], ids=lambda way: way.client)
def test_no_frame_of_a_call_that_is_cancelled_on_the_way_shows_a_credential(way: Colour, scheme: str) -> None:
    headers = {"authorization": Secret("Bearer h3ader-key")}
    done = threading.Event()

    def say_nothing(connection: socket.socket) -> None:
        done.wait(5)

    with a_port(say_nothing) as port:
        connection = Connection(proxy=Secret(f"http://user:{PASSWORD}@127.0.0.1:{port}"))
        request = HttpRequest("POST", f"{scheme}://a.test/v1?api_key=qu3ry-key", headers, connection=connection)
        runtime = way.runtime()
        shown = way.run(frames_when_cancelled(runtime.send(request, Deadline(3, runtime.now))))
        done.set()

    assert "<HttpRequest POST" in shown
    assert [secret for secret in (PASSWORD, BASIC, "h3ader-key", "qu3ry-key") if secret in shown] == []


class SocksProxy(Proxy):
    """Take a login, and pass bytes on; or say something else from a step on."""

    def __init__(self, *instead: bytes, login: bytes = b"") -> None:
        self._instead = instead
        self._login = login
        self.asked: list[bytes] = []
        super().__init__()

    def _pass_on(self, client: socket.socket) -> None:
        with client, suppress(OSError, IndexError):
            client.recv(3)
            if self._login:
                client.sendall(self._instead[0] if self._instead else b"\x05\x02")
                self.asked.append(client.recv(2 + 1 + len(self._login)))
                client.sendall(self._instead[1] if self._instead else b"\x01\x00")
            else:
                client.sendall(self._instead[0] if self._instead else b"\x05\x00")
            if len(self._instead) == 1:
                return
            self.asked.append(client.recv(300))
            if self._instead:
                client.sendall(self._instead[-1])
                return
            with socket.create_connection(("127.0.0.1", int.from_bytes(self.asked[-1][-2:]))) as server:
                for byte in b"\x05\x00\x00\x03\x04name\x00\x50":
                    client.sendall(bytes((byte,)))
                back = threading.Thread(target=_pump, args=[server, client], daemon=True)
                back.start()
                _pump(client, server)
                back.join()

    def secret(self, login: str = "") -> Secret:
        return Secret(f"socks5://{login}127.0.0.1:{self._listener.getsockname()[1]}")


SOCKS_WAYS = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.client)


@SOCKS_WAYS
@pytest.mark.parametrize("fault", ["good", "trusted_certificate"])
@pytest.mark.parametrize("login", ["", f"user:{PASSWORD}@"])
def test_goes_through_a_socks_proxy(way: Colour, faults: FaultServer, fault: str, login: str) -> None:
    proxy = SocksProxy(login=f"user{PASSWORD}".encode() if login else b"")
    connection = Connection(proxy=proxy.secret(login), verify=faults.authority)
    url = faults.url(fault)

    bodies = way.run(fetch(way.runtime(), url, connection, times=3))
    backends.close(url)
    proxy.close()

    assert len(bodies) == 3
    host, _, port = url.split("/")[2].partition(":")
    asked = b"\x01" + socket.inet_aton(host) if host[0].isdigit() else b"\x03" + bytes((len(host),)) + host.encode()
    expected = [b"\x05\x01\x00" + asked + int(port).to_bytes(2)]
    if login:
        expected.insert(0, b"\x01\x04user\x0c" + PASSWORD.encode())
    assert proxy.asked == expected
    assert faults.all_closed(fault)


@SOCKS_WAYS
@pytest.mark.parametrize(
    "instead, words, retryable",
    [
        ([b""], "it hung up", True),
        ([b"HTTP/1.1 400 Bad\r\n\r\n"], "it does not speak SOCKS 5", True),
        ([b"\x05\xff"], "it wants a user and a password", False),
        ([b"\x05\x00", b"\x05\x05\x00\x01"], "the connection was refused", True),
        ([b"\x05\x00", b"\x05\x02\x00\x01"], "its rules forbid it", False),
        ([b"\x05\x00", b"\x05\x63\x00\x01"], "it answered 99", True),
        ([b"\x05\x00", b"\x05\x00\x00\x01\x7f"], "it hung up", True),
    ],
    ids=["closes", "HTTP", "no login", "refused", "forbidden", "unknown", "cut"],
)
def test_a_socks_proxy_that_passes_nothing_on_is_named(
    way: Colour, instead: list[bytes], words: str, retryable: bool
) -> None:
    proxy = SocksProxy(*instead)

    with pytest.raises(ConnectionFailed, match=f"the proxy failed: {words}$") as caught:
        way.run(fetch(way.runtime(), "http://model.test/", Connection(proxy=proxy.secret())))
    proxy.close()
    gc.collect()

    assert (caught.value.sent, caught.value.retryable) == (False, retryable)


@SOCKS_WAYS
@pytest.mark.parametrize(
    "instead, words",
    [((b"\x05\x00", b"", b""), "it does not take a user"), ((b"\x05\x02", b"\x01\x01", b""), "it does not let")],
)
def test_a_login_that_a_socks_proxy_refuses_is_told_without_it(
    way: Colour, instead: tuple[bytes, ...], words: str
) -> None:
    proxy = SocksProxy(*instead, login=f"user{PASSWORD}".encode())

    with pytest.raises(ConnectionFailed, match=words) as caught:
        way.run(fetch(way.runtime(), "http://model.test/", Connection(proxy=proxy.secret(f"user:{PASSWORD}@"))))
    proxy.close()

    assert not caught.value.retryable
    assert_hidden(caught.value, PASSWORD)


@SOCKS_WAYS
def test_the_time_to_connect_holds_for_a_socks_proxy_too(way: Colour) -> None:
    with a_port_that_answers(hang_up=False) as url, pytest.raises(TimedOut, match="no connection within 1 s") as caught:
        way.run(fetch(way.runtime(), "http://model.test/", Connection(proxy=Secret(url.replace("http", "socks5h")))))

    assert (caught.value.limit, caught.value.sent) == ("connect", False)


def test_aiohttp_leaves_socks_to_httpx2() -> None:
    concurrent = next(way for way in WAYS if way.client == "concurrent-aiohttp")
    connection = Connection(proxy=Secret("socks5://127.0.0.1:1"), http="aiohttp")

    with pytest.raises(ConfigError, match="does not speak to SOCKS proxies"):
        concurrent.run(fetch(concurrent.runtime(), "http://model.test/", connection))
