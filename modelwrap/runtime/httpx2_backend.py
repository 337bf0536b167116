"""The one file that knows the HTTP client: pools, timeouts, and its errors made ours."""

from __future__ import annotations

import atexit
import functools
import os
import re
import socket
import ssl
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import httpx2

from modelwrap import runtime
from modelwrap.errors import (
    BadRequest,
    CallError,
    ConfigError,
    ConnectionFailed,
    InvalidResponse,
    MissingPackage,
    ResponseTooLarge,
    TimedOut,
    TLSFailed,
    chain,
)
from modelwrap.runtime.base import Deadline, Limit, next_or_none
from modelwrap.runtime.clamp import ClampedAsyncBackend, ClampedBackend
from modelwrap.runtime.lock import Lock
from modelwrap.secrets import Scrubber, Secret, reveal
from modelwrap.wire.http import Connection, HttpRequest

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

LARGEST_BODY = 64 * 1024 * 1024

# One pool an origin. The connections of a pool are searched one by one, so the bound is there for the sockets'
# sake: a caller who wants fewer calls at once says so by a limit, not by a pool that runs dry.
_LIMITS = httpx2.Limits(max_connections=1000, max_keepalive_connections=100, keepalive_expiry=30.0)

_CLIENT_ERRORS = (httpx2.TransportError, httpx2.DecodingError, httpx2.InvalidURL, OSError)

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")

# They say where a request ends; a second opinion would leave the connection out of step.
_FRAMING = ("content-length", "transfer-encoding")

_Pool = tuple[str, Connection]


def _running_loop() -> AbstractEventLoop:
    import asyncio  # blocking callers never pay for it

    return asyncio.get_running_loop()


class _Pools:
    """Own every open connection of this process: one table for threads, one for each event loop."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.blocking: dict[_Pool, httpx2.HTTPTransport] = {}
        self.loops: WeakKeyDictionary[AbstractEventLoop, dict[_Pool, httpx2.AsyncHTTPTransport]] = WeakKeyDictionary()
        self.owners: WeakKeyDictionary[AbstractEventLoop, AsyncGenerator[None, None]] = WeakKeyDictionary()

    def for_thread(self, request: HttpRequest) -> httpx2.HTTPTransport:
        key = _pool_key(request)
        transport = self.blocking.get(key)
        if transport is None:
            with self.lock:
                transport = self.blocking.get(key)
                if transport is None:
                    transport = httpx2.HTTPTransport(**_transport_options(*key))
                    transport._pool._network_backend = ClampedBackend(public_only=request.connection.public_only)
                    self.blocking[key] = transport
        return transport

    async def for_loop(self, request: HttpRequest) -> httpx2.AsyncHTTPTransport:
        loop = _running_loop()
        transports = self.loops.get(loop)
        if transports is None:
            with self.lock:
                for closed in [known for known in self.loops if known.is_closed()]:
                    # It ended without shutting its generators down, and its sockets with it.
                    self._forget(closed)
                transports = self.loops.setdefault(loop, {})
                # The loop closes its generators when it shuts down, and this one closes the loop's connections.
                self.owners[loop] = owner = self._own(loop, transports)
            # Begun in a task of its own, because whoever asks may keep the loop from adopting generators.
            await loop.create_task(next_or_none(owner))
        key = _pool_key(request)
        if key not in transports:
            transport = httpx2.AsyncHTTPTransport(**_transport_options(*key))
            transport._pool._network_backend = ClampedAsyncBackend(
                transport._pool._network_backend, public_only=request.connection.public_only
            )
            transports[key] = transport
        return transports[key]

    async def _own(
        self, loop: AbstractEventLoop, transports: dict[_Pool, httpx2.AsyncHTTPTransport]
    ) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            with self.lock:
                self._forget(loop)
            for transport in transports.values():
                await transport.aclose()

    def _forget(self, loop: AbstractEventLoop) -> None:
        self.loops.pop(loop, None)
        self.owners.pop(loop, None)

    def close_blocking(self) -> None:
        with self.lock:
            closing, self.blocking = self.blocking, {}
        for transport in closing.values():
            transport.close()

    def retire_blocking(self, origin: str) -> None:
        with self.lock:
            retired = [self.blocking.pop(key) for key in list(self.blocking) if key[0] == origin]
        for transport in retired:
            for connection in _idle(transport._pool):
                connection.close()

    async def retire_of_loop(self, origin: str) -> None:
        transports = self.loops.get(_running_loop(), {})
        retired = [transports.pop(key) for key in list(transports) if key[0] == origin]
        for transport in retired:
            for connection in _idle(transport._pool):
                await connection.aclose()


_pools = _Pools()
_left_to_the_parent: list[_Pools] = []


def _start_afresh() -> None:
    """Leave the parent's sockets alone in a forked child: two processes must not talk over one."""
    global _pools
    _left_to_the_parent.append(_pools)
    _pools = _Pools()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)
atexit.register(lambda: _pools.close_blocking())


def close(url: str) -> None:
    """Close the connections of this process's threads to the origin of a URL, those in use when their calls end."""
    _pools.retire_blocking(_origin(url))


async def aclose(url: str) -> None:
    """Close the connections of the running loop as well."""
    await _pools.retire_of_loop(_origin(url))
    _pools.retire_blocking(_origin(url))


def _idle(pool: Any) -> list[Any]:
    """Let a pool keep no connection any more, and give those that nobody uses."""
    pool._max_keepalive_connections = 0
    return [connection for connection in pool.connections if connection.is_idle()]


def send_blocking(request: HttpRequest, deadline: Deadline) -> Response:
    runtime.check_allowed(request.url)
    limit = _read_limit(request, deadline)
    try:
        sent = _pools.for_thread(request).handle_request(_native_request(request, deadline, limit))
    except _CLIENT_ERRORS as error:
        raise _failure(error, request, limit) from _bare(error)
    return BlockingResponse(sent, request, limit)


async def send_concurrent(request: HttpRequest, deadline: Deadline) -> Response:
    runtime.check_allowed(request.url)
    limit = _read_limit(request, deadline)
    try:
        transport = await _pools.for_loop(request)
        sent = await transport.handle_async_request(_native_request(request, deadline, limit))
    except _CLIENT_ERRORS as error:
        raise _failure(error, request, limit) from _bare(error)
    return ConcurrentResponse(sent, request, limit)


class Response:
    """Read an answer in either colour; `_next` is the only step that differs."""

    def __init__(self, native: httpx2.Response, request: HttpRequest, limit: Limit) -> None:
        self._native = native
        self._request = request
        self.status: int = native.status_code
        # A plain dict: the client's own headers normalise each name again at every look-up.
        self.headers: Mapping[str, str] = _joined(native.headers.raw)
        self.read_limit = limit
        if not request.stream:
            limit.change(request.timeouts.idle, "idle")

    async def read(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        largest = LARGEST_BODY if self._request.largest_body is None else self._request.largest_body
        try:
            while (part := await self._part()) is not None:
                size += len(part)
                if size > largest:
                    raise ResponseTooLarge(f"the answer is larger than {_in_words(largest)}")
                parts.append(part)
        finally:
            await self.aclose()
        return b"".join(parts)

    async def stream(self) -> AsyncGenerator[bytes, None]:
        try:
            while (part := await self._part()) is not None:
                yield part
        finally:
            await self.aclose()

    async def _part(self) -> bytes | None:
        try:
            return await self._next()
        except _CLIENT_ERRORS as error:
            raise _failure(error, self._request, self.read_limit) from _bare(error)

    async def _next(self) -> bytes | None:
        raise AssertionError("a colour writes this")

    async def aclose(self) -> None:
        raise AssertionError("a colour writes this")


class BlockingResponse(Response):
    def __init__(self, native: httpx2.Response, request: HttpRequest, limit: Limit) -> None:
        super().__init__(native, request, limit)
        self._parts: Iterator[bytes] = native.iter_bytes()

    async def _next(self) -> bytes | None:
        return next(self._parts, None)

    async def aclose(self) -> None:
        self._native.close()


class ConcurrentResponse(Response):
    def __init__(self, native: httpx2.Response, request: HttpRequest, limit: Limit) -> None:
        super().__init__(native, request, limit)
        self._parts: AsyncIterator[bytes] | None = native.aiter_bytes()

    async def _next(self) -> bytes | None:
        return await anext(self._parts, None) if self._parts else None

    async def aclose(self) -> None:
        await self._native.aclose()
        # The client's own generators end here, where a task runs in which they can.
        self._parts = None


def _in_words(size: int) -> str:
    return f"{size // 2**20} MiB" if size >= 2**20 else f"{size} bytes"


def _joined(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Make headers a plain dict, because the client's own normalise each name again at every look-up."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


# What the client is given.


@functools.lru_cache(maxsize=256)
def _parsed(url: str) -> httpx2.URL:
    return httpx2.URL(url)


def _native_request(request: HttpRequest, deadline: Deadline, limit: Limit) -> httpx2.Request:
    deadline.check()
    for name, value in request.headers.items():
        if fault := _fault_of_name(name):
            raise BadRequest(f"header {name!r}: {fault}", sent=False)
        if not _fits_http(value):
            raise BadRequest(f"header {name}: holds a character that HTTP cannot carry", sent=False)
    connect = Limit(request.timeouts.connect, deadline, "connect")
    timeout = {
        "connect": connect,
        "read": limit,
        "write": Limit(request.timeouts.idle, deadline, "idle"),
        # The pool waits on a lock, not on a socket, and reads this number once.
        "pool": connect.left(),
    }
    # Credentials are revealed on the way into the client, never into a variable that a traceback could show.
    return httpx2.Request(
        request.method,
        _parsed(request.url),
        headers={name.lower(): reveal(value) for name, value in request.headers.items()},
        content=request.content,
        extensions={"timeout": timeout},
    )


@functools.lru_cache(maxsize=256)
def _fault_of_name(name: str) -> str:
    """Say why a header of this name cannot be sent; empty where it can."""
    if not _HEADER_NAME.fullmatch(name):
        return "this is no name of a header"
    return "this header is written by the HTTP client" if name.lower() in _FRAMING else ""


def _fits_http(value: str | Secret) -> bool:
    return reveal(value).isascii() and reveal(value).isprintable()


def _read_limit(request: HttpRequest, deadline: Deadline) -> Limit:
    if request.stream:
        limit = Limit(request.timeouts.first_token, deadline, "first_token")
        limit.begin()
        return limit
    # A whole answer is silent until it is finished, so only the deadline bounds the wait for its headers.
    return Limit(deadline.total, deadline, "total")


def _pool_key(request: HttpRequest) -> _Pool:
    return _origin(request.url), request.connection


def _origin(url: str) -> str:
    parsed = _parsed(url)
    return f"{parsed.scheme}://{parsed.netloc.decode('ascii')}"


def _transport_options(origin: str, connection: Connection) -> dict[str, Any]:
    options: dict[str, Any] = {"limits": _LIMITS, "verify": _tls(origin, connection), "trust_env": False}
    if connection.public_only:
        # A proxy would resolve the name anew, and nobody here would know to what.
        return options
    if proxy := connection.proxy or Secret(_environment_proxy(origin) or ""):
        options["proxy"] = _proxy(proxy, origin)
    return options


def _proxy(proxy: Secret, origin: str) -> httpx2.Proxy:
    if proxy.reveal().lower().startswith("socks") and find_spec("socksio") is None:
        raise MissingPackage("a SOCKS proxy needs a package of its own: pip install socksio")
    with suppress(ValueError, httpx2.InvalidURL):
        return httpx2.Proxy(proxy.reveal())
    # Raised out here, because what the client raises knows the password.
    raise ConfigError(f"the proxy for {origin} is no URL of a proxy, as in http://user:password@host:3128")


def _tls(origin: str, connection: Connection) -> ssl.SSLContext | bool:
    if isinstance(connection.verify, str):
        return _trusting(connection.verify)
    if origin.startswith("http://") and connection.verify:
        # Never used, and cheaper than reading the system's certificates.
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return connection.verify


def _trusting(path: str) -> ssl.SSLContext:
    try:
        if Path(path).is_dir():
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        raise ConfigError(f"verify: {path} holds no certificates: {error.strerror or error}") from error


def _environment_proxy(origin: str) -> str | None:
    """Read HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY; loopback never goes through a proxy."""
    parts = urlsplit(origin)
    host = parts.hostname or ""
    if host == "localhost" or host == "::1" or host.startswith("127."):
        return None
    if urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


# What the client raises, made ours.


def _failure(error: Exception, request: HttpRequest, limit: Limit) -> CallError:
    words = Scrubber(request.secrets)(str(error)) or type(error).__name__
    if isinstance(error, httpx2.TimeoutException):
        return _timed_out(error, request, limit)
    if isinstance(error, httpx2.ConnectError):
        return _not_connected(error, words)
    if isinstance(error, httpx2.ProxyError):
        return ConnectionFailed(f"the proxy failed: {words}", sent=False)
    if isinstance(error, (httpx2.LocalProtocolError, httpx2.UnsupportedProtocol, httpx2.InvalidURL)):
        return BadRequest(f"the request cannot be written as HTTP: {words}", sent=False)
    if isinstance(error, httpx2.RemoteProtocolError):
        if "disconnected" in words or "peer closed" in words:
            return ConnectionFailed(f"the connection was cut: {words}")
        return InvalidResponse(f"the answer is not HTTP: {words}", retryable=True)
    if isinstance(error, httpx2.DecodingError):
        return InvalidResponse(f"the answer cannot be decompressed: {words}", retryable=True)
    return ConnectionFailed(f"the connection was cut: {words}")


def _timed_out(error: httpx2.TimeoutException, request: HttpRequest, limit: Limit) -> CallError:
    if limit.deadline.remaining() <= 0:
        return limit.deadline.passed()
    if isinstance(error, httpx2.ConnectTimeout):
        return TimedOut(f"no connection within {request.timeouts.connect:g} s", limit="connect", sent=False)
    if isinstance(error, httpx2.PoolTimeout):
        return ConnectionFailed("all connections to this endpoint are in use", sent=False)
    if isinstance(error, httpx2.WriteTimeout):
        return TimedOut(f"the request could not be sent for {request.timeouts.idle:g} s", limit="idle")
    return limit.passed()


def _not_connected(error: BaseException, words: str) -> CallError:
    for cause in chain(error):
        if isinstance(cause, ssl.SSLError):
            reason = getattr(cause, "verify_message", "") or cause.reason or words
            return TLSFailed(f"the connection is not secure: {reason}", sent=False)
        if isinstance(cause, socket.gaierror):
            return ConnectionFailed(f"the host's name cannot be resolved: {cause.strerror}", sent=False)
    return ConnectionFailed(f"no connection: {words}", sent=False)


def _bare(error: Exception) -> Exception:
    """Take the frames off a cause: they hold headers with credentials, and nobody reads them."""
    for link in chain(error):
        link.__traceback__ = None
    return error
