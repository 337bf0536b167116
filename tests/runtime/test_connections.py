"""How connections are made: certificates, proxies, waiting on threads, closing."""

from __future__ import annotations

import asyncio
import gc
import math
import socket
import ssl
import threading
import traceback
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from modelwrap.errors import BadRequest, ConfigError, ConnectionFailed, TimedOut, TLSFailed
from modelwrap.runtime import aiohttp_backend, backends, httpx2_backend, pools, proxies
from modelwrap.runtime.base import Deadline, Runtime
from modelwrap.secrets import Secret
from modelwrap.wire.http import Connection, HttpRequest, Timeouts
from tests.colours import WAYS, Colour
from tests.loopback import Answer, Loopback, error_answer, json_answer
from tests.open_sockets import sockets_to
from tests.raw_port import a_port, a_port_that_answers

CONCURRENT = [way for way in WAYS if way.name == "concurrent"]


async def status(runtime: Runtime, request: HttpRequest) -> int:
    response = await runtime.send(request, Deadline(request.timeouts.total, runtime.now))
    await response.read()
    return response.status


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@contextmanager
def over_tls(server: Loopback, certificate: trustme.LeafCert) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
    yield f"https://localhost:{server.port}/"


def test_trusts_a_file_of_certificates(colour: Colour, server: Loopback, authority: trustme.CA, tmp_path: Path) -> None:
    server.script(json_answer({}))
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))

    with over_tls(server, authority.issue_cert("localhost")) as url:
        request = HttpRequest("POST", url, connection=Connection(verify=str(bundle)))
        assert colour.run(status(colour.runtime(), request)) == 200


def test_trusts_anyone_only_when_told_to(colour: Colour, server: Loopback, authority: trustme.CA) -> None:
    server.script(json_answer({}))

    with over_tls(server, authority.issue_cert("localhost")) as url:
        request = HttpRequest("POST", url, connection=Connection(verify=False))
        assert colour.run(status(colour.runtime(), request)) == 200


@pytest.mark.parametrize("name", ["localhost", "elsewhere.example"], ids=["unknown authority", "wrong host"])
def test_tells_what_is_wrong_with_a_certificate(
    colour: Colour, server: Loopback, authority: trustme.CA, tmp_path: Path, name: str
) -> None:
    bundle = tmp_path / "ca.pem"
    (authority if name != "localhost" else trustme.CA()).cert_pem.write_to_path(str(bundle))

    with over_tls(server, authority.issue_cert(name)) as url, pytest.raises(TLSFailed, match="not secure") as caught:
        request = HttpRequest("POST", url, connection=Connection(verify=str(bundle)))
        colour.run(status(colour.runtime(), request))

    assert not caught.value.retryable
    assert server.asked == []


def test_tells_that_the_server_wants_a_certificate_of_the_client(
    colour: Colour, authority: trustme.CA, tmp_path: Path
) -> None:
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    context.verify_mode = ssl.CERT_REQUIRED
    tries = 12

    def refuse(connection: socket.socket) -> None:
        with suppress(OSError):
            context.wrap_socket(connection, server_side=True)

    with a_port(refuse, connections=tries) as port:
        request = HttpRequest("POST", f"https://127.0.0.1:{port}/", connection=Connection(verify=str(bundle)))
        told = []
        for _ in range(tries):
            with pytest.raises((TLSFailed, ConnectionFailed)) as caught:
                colour.run(status(colour.runtime(), request))
            told.append("CERTIFICATE_REQUIRED" in str(caught.value))

    # Under TLS 1.3 the refusal comes while the request goes out. One that comes between a look and a write is lost.
    assert sum(told) >= 9


def test_tells_that_the_other_end_speaks_no_tls(colour: Colour, server: Loopback) -> None:
    server.script(json_answer({}))
    request = HttpRequest("POST", f"https://127.0.0.1:{server.port}/", timeouts=Timeouts(connect=1, total=2))

    with pytest.raises((TLSFailed, TimedOut, ConnectionFailed)):
        colour.run(status(colour.runtime(), request))

    assert server.asked == []


def test_hangs_up_on_a_port_that_does_not_answer_to_tls(colour: Colour) -> None:
    timeouts = Timeouts(connect=0.1, total=5)

    with warnings.catch_warnings(), a_port_that_answers(hang_up=False) as url:
        warnings.simplefilter("error")
        request = HttpRequest("POST", url.replace("http:", "https:"), timeouts=timeouts)
        with pytest.raises(TimedOut) as caught:
            colour.run(status(colour.runtime(), request))
        gc.collect()

    assert (caught.value.limit, caught.value.sent) == ("connect", False)


def test_goes_through_the_proxy_of_the_config(colour: Colour, server: Loopback) -> None:
    server.script(json_answer({}))
    proxy = Secret(f"http://user:pr0xy-secret@127.0.0.1:{server.port}")

    request = HttpRequest("POST", "http://model.test/v1", connection=Connection(proxy=proxy))

    assert colour.run(status(colour.runtime(), request)) == 200
    assert server.asked[0].path == "http://model.test/v1"
    assert server.asked[0].headers["proxy-authorization"].startswith("Basic ")
    assert "pr0xy-secret" not in repr(request)


@pytest.mark.parametrize("scheme", ["http://", ""])
@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_goes_through_the_proxy_of_the_environment(
    colour: Colour, server: Loopback, monkeypatch: pytest.MonkeyPatch, variable: str, scheme: str
) -> None:
    server.script(json_answer({}))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, f"{scheme}127.0.0.1:{server.port}")

    request = HttpRequest("POST", f"http://port-{server.port}.test/v1")

    assert colour.run(status(colour.runtime(), request)) == 200
    assert server.asked[0].path == request.url


def test_loopback_and_no_proxy_go_straight(colour: Colour, server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "internal.test")
    server.script(json_answer({}))

    assert colour.run(status(colour.runtime(), HttpRequest("POST", server.base_url))) == 200
    assert proxies.of_environment("http://internal.test") == ""
    assert proxies.of_environment("http://other.test") == "http://127.0.0.1:1"


def test_an_empty_proxy_is_none_whatever_the_environment_says(
    colour: Colour, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script(json_answer({}))
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    request = HttpRequest("POST", "http://model.invalid/v1", connection=Connection(proxy=Secret("")))

    with pytest.raises(ConnectionFailed):
        colour.run(status(colour.runtime(), request))

    assert server.asked == []


def test_a_proxy_that_refuses_is_named(colour: Colour, server: Loopback) -> None:
    server.script(error_answer(407))
    proxy = Secret(f"http://127.0.0.1:{server.port}")
    server._server.RequestHandlerClass.do_CONNECT = server._server.RequestHandlerClass.do_POST  # type: ignore[attr-defined]

    request = HttpRequest("POST", "https://model.test/v1", connection=Connection(proxy=proxy))

    with pytest.raises(ConnectionFailed, match="proxy"):
        colour.run(status(colour.runtime(), request))


@pytest.mark.parametrize(
    "proxy",
    [
        *("ftp://me:pr0xy-secret@host:1", "http://me:pr0xy-secret@host:port", "http://me:pr0xy-secret@host:99999"),
        *("http://me:pr0xy-secret@:3128", "http://"),
    ],
)
def test_what_is_no_proxy_is_a_mistake_that_shows_no_password(
    colour: Colour, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("all_proxy", proxy)

    request = HttpRequest("POST", "http://proxied.test/v1")

    with pytest.raises(ConfigError, match="the proxy for http://proxied.test is no URL of a proxy") as caught:
        colour.run(status(colour.runtime(), request))
    assert "pr0xy-secret" not in "".join(traceback.format_exception(caught.value))


def test_a_proxy_of_blanks_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "  ")

    assert proxies.of_environment("http://other.test") == ""


def test_a_file_without_certificates_is_a_mistake(colour: Colour, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")

    for path in (tmp_path / "ca.pem", tmp_path / "gone.pem"):
        request = HttpRequest("POST", "https://model.test", connection=Connection(verify=str(path)))
        with pytest.raises(ConfigError, match=f"verify: {path} holds no certificates"):
            colour.run(status(colour.runtime(), request))


@pytest.mark.parametrize(
    "name, words",
    [
        ("bad name", "is no name of a header"),
        ("größe", "is no name of a header"),
        ("", "is no name of a header"),
        ("a:b", "is no name of a header"),
        ("Content-Length", "is written by the HTTP client"),
        ("transfer-encoding", "is written by the HTTP client"),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused_before_it_is(
    colour: Colour, server: Loopback, name: str, words: str
) -> None:
    request = HttpRequest("POST", server.base_url, {name: "5"}, content=b"{}")

    with pytest.raises(BadRequest, match=words) as caught:
        colour.run(status(colour.runtime(), request))

    assert not caught.value.sent
    assert server.asked == []


def test_a_name_that_nobody_knows_is_named(colour: Colour, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", lambda *_, **__: unknown())

    with pytest.raises(ConnectionFailed, match="cannot be resolved: Name or service not known") as caught:
        colour.run(status(colour.runtime(), HttpRequest("POST", "http://nowhere.test/")))

    assert not caught.value.sent


def test_waits_for_what_another_thread_answers(colour: Colour) -> None:
    future: Future[int] = Future()
    runtime = colour.runtime()
    threading.Timer(0.02, future.set_result, [7]).start()

    assert colour.run(runtime.wait(future, Deadline(5, runtime.now))) == 7


def test_waits_without_end_where_the_caller_sets_none(colour: Colour) -> None:
    future: Future[int] = Future()
    runtime = colour.runtime()
    threading.Timer(0.02, future.set_result, [7]).start()

    assert colour.run(runtime.wait(future, Deadline(math.inf, runtime.now))) == 7


def test_waits_no_longer_than_the_deadline_and_takes_the_question_back(colour: Colour) -> None:
    future: Future[int] = Future()
    runtime = colour.runtime()

    with pytest.raises(TimedOut) as caught:
        colour.run(runtime.wait(future, Deadline(0.05, runtime.now)))

    assert caught.value.limit == "total"
    assert future.cancelled()


def test_an_answer_that_comes_at_the_last_moment_is_taken(colour: Colour) -> None:
    class Late(Future[int]):
        def cancel(self) -> bool:
            self.set_result(7)
            return super().cancel()

    runtime = colour.runtime()

    assert colour.run(runtime.wait(Late(), Deadline(0.02, runtime.now))) == 7


def test_an_answer_that_is_itself_a_timeout_is_handed_on(colour: Colour) -> None:
    future: Future[int] = Future()
    future.set_exception(TimeoutError("the engine's own"))
    runtime = colour.runtime()

    with pytest.raises(TimeoutError, match="the engine's own"):
        colour.run(runtime.wait(future, Deadline(5, runtime.now)))


def test_runs_what_blocks_and_sleeps(colour: Colour) -> None:
    runtime = colour.runtime()

    async def both() -> int:
        before = runtime.now()
        await runtime.sleep(0.01)
        assert runtime.now() - before >= 0.01
        return await runtime.run(max, 3, 5)

    assert colour.run(both()) == 5


def test_closes_the_connections_to_one_origin(colour: Colour, server: Loopback) -> None:
    server.script(json_answer({}))
    request = HttpRequest("POST", server.base_url)

    async def call_and_close() -> tuple[int, int]:
        await status(colour.runtime(), request)
        open_before = sockets_to(server.port)
        await close(colour, request.url)
        return open_before, sockets_to(server.port)

    assert colour.run(call_and_close()) == (1, 0)


async def close(colour: Colour, url: str) -> None:
    if colour.name == "blocking":
        backends.close(url)
    else:
        await backends.aclose(url)
        await asyncio.sleep(0.01)


def test_closing_a_loops_connections_closes_those_of_threads_too(server: Loopback) -> None:
    server.script(json_answer({}))
    blocking = Colour("blocking")
    blocking.run(status(blocking.runtime(), HttpRequest("POST", server.base_url)))

    asyncio.run(backends.aclose(server.base_url))

    assert sockets_to(server.port) == 0


@pytest.mark.parametrize(
    "written", ["HTTP://LOCALHOST:{port}/v1", "http://localhost:{port}", "http://localhost:{port}/"]
)
def test_closes_an_origin_however_it_is_written(colour: Colour, server: Loopback, written: str) -> None:
    server.script(json_answer({}))

    async def call_and_close() -> int:
        await status(colour.runtime(), HttpRequest("POST", f"http://localhost:{server.port}/v1"))
        await close(colour, written.format(port=server.port))
        return sockets_to(server.port)

    assert colour.run(call_and_close()) == 0


def test_closing_breaks_no_call_that_is_under_way(colour: Colour, server: Loopback) -> None:
    server.script(Answer(200, {}, [b"first", 0.05, b"second"]))
    request = HttpRequest("POST", server.base_url)
    runtime = colour.runtime()

    async def close_within() -> tuple[bytes, int]:
        response = await runtime.send(request, Deadline(5, runtime.now))
        await close(colour, server.base_url)
        body = await response.read()
        await runtime.sleep(0.01)
        return body, sockets_to(server.port)

    assert colour.run(close_within()) == (b"firstsecond", 0)


def test_forgets_loops_that_were_closed_without_ceremony(server: Loopback) -> None:
    server.script(json_answer({}))
    runtime = Colour("concurrent").runtime()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(status(runtime, HttpRequest("POST", server.base_url)))

    async def close_sockets() -> None:
        for pool in pools.current().loops[loop].values():
            await pool.aclose()
        await asyncio.sleep(0)

    loop.run_until_complete(close_sockets())
    loop.close()
    asyncio.run(status(runtime, HttpRequest("POST", server.base_url)))

    assert loop not in pools.current().loops
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.collect()


@pytest.mark.parametrize("way", CONCURRENT, ids=lambda way: way.client)
def test_a_loop_whose_first_call_is_cancelled_at_once_closes_the_connections_of_the_others(
    way: Colour, server: Loopback
) -> None:
    server.script(json_answer({}))
    request = HttpRequest("POST", server.base_url)

    async def call() -> None:
        first = asyncio.create_task(status(way.runtime(), request))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        await status(way.runtime(), request)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        way.run(call())
        gc.collect()

    assert sockets_to(server.port) == 0


def test_who_goes_to_many_places_keeps_no_connection_to_each_of_them(
    colour: Colour, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(httpx2_backend, "_KEPT", 0.05)
    monkeypatch.setattr(aiohttp_backend, "_KEPT", 0.05)
    server.script(json_answer({}))
    runtime = colour.runtime()

    async def go_to_many() -> int:
        for verify, proxy in [(True, None), (False, None), (True, Secret("")), (False, Secret(""))]:
            connection = Connection(verify=verify, proxy=proxy)
            await runtime.sleep(0.12)
            await status(runtime, HttpRequest("POST", server.base_url, connection=connection))
        return sockets_to(server.port)

    assert colour.run(go_to_many()) == 1
    assert len({asked.client for asked in server.asked}) == 4
