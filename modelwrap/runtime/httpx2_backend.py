"""Send through httpcore2, the engine of httpx2, in either colour.

Its own pools search all their connections for every request, so the connections are held here, the newest idle first.
What is written as `async def` awaits nothing but a line of its colour: a blocking one never suspends.
"""

from __future__ import annotations

import functools
import re
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing
from typing import Any, Protocol

import h11
import httpcore2
import httpx2

from modelwrap.errors import CallError, chain
from modelwrap.runtime import failures, proxies, tls
from modelwrap.runtime.base import Deadline, Limit, run_sync
from modelwrap.runtime.clamp import ClampedBackend, Stale
from modelwrap.runtime.outgoing import Target, header_items, read_limit, target_of
from modelwrap.runtime.places import Place, Places
from modelwrap.runtime.pools import Key
from modelwrap.runtime.response import Response, is_ambiguous, joined
from modelwrap.runtime.socks import Refused
from modelwrap.secrets import HIDDEN, Scrubber
from modelwrap.wire.http import HttpRequest

# How long an idle connection is kept, in seconds.
_KEPT = 30.0

# How httpcore2 and its parser say that a connection ended too early; other errors of the protocol tell what is no HTTP.
_HUNG_UP = re.compile("Server disconnected|peer (unexpectedly )?closed")

_CLIENT_ERRORS = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    httpcore2.UnsupportedProtocol,
    OSError,
)


class _Httpx2Response(Response):
    def __init__(
        self,
        native: httpcore2.Response,
        place: Place[_Line],
        line: _Line,
        pool: _Pool,
        request: HttpRequest,
        limit: Limit,
    ) -> None:
        super().__init__(native.status, joined(native.headers), request, limit)
        self._place = place
        self._line = line
        self._pool = pool
        self._request = request
        self._conversation = native.extensions["network_stream"].conversation
        self._conversation.spent |= is_ambiguous(self.headers)
        self._ended = False
        self._closed = False

    async def _next(self) -> bytes | None:
        try:
            data = await self._line.next()
        except _CLIENT_ERRORS as error:
            raise _failure(error, self._request, self.read_limit, proxied=self._pool.proxied) from _bare(error)
        if data is None:
            self._ended = True
            # Nobody asked for what stands behind the answer, and the next to ask must not get it.
            self._conversation.spent |= self._line.left_over()
        return data

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            # Who leaves early hangs up, whether all had come by then or not.
            self._conversation.spent |= not self._ended
            try:
                await self._pool.give_back(self._line, spent=self._conversation.spent)
            finally:
                self._pool.places.leave(self._place)


# Lines: a connection, and what is said on it, in either colour.


class _Line(Protocol):
    async def ask(self, request: httpcore2.Request) -> httpcore2.Response: ...

    async def next(self) -> bytes | None:
        """Give the next bytes of the answer; None at its end."""

    async def hang_up(self) -> None:
        """Be done with the answer; the connection goes on if the whole of it was read."""

    async def close(self) -> None: ...

    def left_over(self) -> bool:
        """Tell whether bytes came that do not belong to the answer."""

    def is_done(self) -> bool:
        """Tell whether all that was asked over it is answered."""

    def is_idle(self) -> bool:
        """Tell whether another request may go over it; for that its socket is looked at."""


class _BlockingLine:
    def __init__(self, connection: httpcore2.ConnectionInterface) -> None:
        self._connection = connection
        self._native: httpcore2.Response | None = None
        self._parts: Generator[bytes, None, None] | None = None
        self._parsed: _Parsed | None = None

    async def ask(self, request: httpcore2.Request) -> httpcore2.Response:
        self._native = native = self._connection.handle_request(request)
        self._parsed = _Parsed(native)
        self._parts = native.stream.__iter__()  # type: ignore[union-attr, assignment]  # it is a generator's
        return native

    async def next(self) -> bytes | None:
        if self._parts is None or self._parsed is None or self._parsed.ended:
            return None
        self._parsed.check()
        data = next(self._parts, None)
        return None if data is None else self._parsed.with_rest(data)

    async def hang_up(self) -> None:
        parts, native = self._parts, self._native
        self._parts = self._native = self._parsed = None
        if parts is not None and native is not None:
            parts.close()
            native.close()

    async def close(self) -> None:
        self._connection.close()

    def left_over(self) -> bool:
        return self._parsed is not None and self._parsed.left_over

    def is_done(self) -> bool:
        return self._connection.is_idle()

    def is_idle(self) -> bool:
        return self._connection.is_idle() and not self._connection.has_expired()


class _LoopLine:
    def __init__(self, connection: httpcore2.AsyncConnectionInterface) -> None:
        self._connection = connection
        self._native: httpcore2.Response | None = None
        self._parts: AsyncGenerator[bytes, None] | None = None
        self._parsed: _Parsed | None = None

    async def ask(self, request: httpcore2.Request) -> httpcore2.Response:
        self._native = native = await self._connection.handle_async_request(request)
        self._parsed = _Parsed(native)
        self._parts = native.stream.__aiter__()  # type: ignore[union-attr, assignment]  # it is a generator's
        return native

    async def next(self) -> bytes | None:
        if self._parts is None or self._parsed is None or self._parsed.ended:
            return None
        self._parsed.check()
        data = await anext(self._parts, None)
        return None if data is None else self._parsed.with_rest(data)

    async def hang_up(self) -> None:
        parts, native = self._parts, self._native
        self._parts = self._native = self._parsed = None
        if parts is not None and native is not None:
            async with aclosing(parts):
                await native.aclose()

    async def close(self) -> None:
        await self._connection.aclose()

    def left_over(self) -> bool:
        return self._parsed is not None and self._parsed.left_over

    def is_done(self) -> bool:
        return self._connection.is_idle()

    def is_idle(self) -> bool:
        return self._connection.is_idle() and not self._connection.has_expired()


class _Parsed:
    """Ask the parser of a connection what it holds of an answer, beyond the piece that the client took out of it."""

    def __init__(self, native: Any) -> None:
        self._parser: h11.Connection = native.stream._connection._h11_state
        self._failure: httpcore2.RemoteProtocolError | None = None
        self.ended = False
        """Whether the end of the answer was taken out."""

    def with_rest(self, data: bytes) -> bytes:
        """Join the pieces that came together: servers wrap each event of a stream into a chunk of its own."""
        pieces = [data]
        try:
            while isinstance(event := self._parser.next_event(), h11.Data):
                pieces.append(bytes(event.data))
            self.ended = isinstance(event, h11.EndOfMessage)
        except h11.RemoteProtocolError as error:
            # First what came before it.
            self._failure = httpcore2.RemoteProtocolError(str(error))
        return data if len(pieces) == 1 else b"".join(pieces)

    def check(self) -> None:
        if self._failure is not None:
            raise self._failure

    @property
    def left_over(self) -> bool:
        """Whether bytes stand behind the answer; the parser keeps them for the next."""
        unread, _ = self._parser.trailing_data
        return bool(unread)


# Pools.


class _Pool:
    """Hold the lines to one origin."""

    def __init__(self, key: Key, open_line: Callable[[], _Line], *, proxied: bool) -> None:
        self.places: Places[_Line] = Places(key.origin)
        self.proxied = proxied
        self._forwarded = proxies.is_forwarded(key.origin, key.connection)
        self._open_line = open_line
        self._idle: deque[tuple[float, _Line]] = deque()
        self._retired = False

    async def exchange(self, place: Place[_Line], request: HttpRequest, target: Target, deadline: Deadline) -> Response:
        """Send from a place; the response gives it back."""
        try:
            deadline.check()
            limit = read_limit(request, deadline)
            try:
                return await self._exchange(place, request, target, limit)
            except _CLIENT_ERRORS as error:
                raise _failure(error, request, limit, proxied=self.proxied) from _bare(error)
        except BaseException:  # whatever ends a call, its place is free again
            self.places.leave(place)
            raise

    async def _exchange(self, place: Place[_Line], request: HttpRequest, target: Target, limit: Limit) -> Response:
        line = await self.idle_line()
        if line is not None:
            try:
                return await self._ask(place, line, request, target, limit)
            except Stale:
                # The server closed it for having been idle, as it may; that is no failure of this request.
                if not request.replayable:
                    raise
        return await self._ask(place, self._open_line(), request, target, limit)

    async def _ask(
        self, place: Place[_Line], line: _Line, request: HttpRequest, target: Target, limit: Limit
    ) -> Response:
        place.line = line
        try:
            native = await line.ask(_native_request(request, target, limit, forwarded=self._forwarded))
            return _Httpx2Response(native, place, line, self, request, limit)
        except BaseException:  # a line on which anything went wrong serves nobody any more
            await line.close()
            raise

    async def idle_line(self) -> _Line | None:
        """Take the line that was used last; those that the server closed meanwhile are thrown away."""
        while True:
            try:
                _, line = self._idle.pop()
            except IndexError:
                return None
            idle = False
            try:
                idle = line.is_idle()
            finally:
                if not idle:
                    await line.close()
            if idle:
                return line

    async def give_back(self, line: _Line, *, spent: bool) -> None:
        kept = False
        try:
            await line.hang_up()
            kept = not (self._retired or spent) and line.is_done()
            if kept:
                self._idle.append((time.monotonic(), line))
        finally:
            if not kept:
                await line.close()
        await self.close_forgotten()

    async def _drop_older_than(self, moment: float) -> None:
        while (line := self._taken_if_older(moment)) is not None:
            await line.close()

    def _taken_if_older(self, moment: float) -> _Line | None:
        try:
            return self._idle.popleft()[1] if self._idle[0][0] < moment else None
        except IndexError:  # none is there, or another thread took it
            return None

    async def close_forgotten(self) -> None:
        """Close what has been idle for too long."""
        await self._drop_older_than(time.monotonic() - _KEPT)

    async def close_idle(self) -> None:
        """Close what is idle now, and what is in use when its call ends."""
        self._retired = True
        await self._drop_older_than(float("inf"))

    async def close_all(self) -> None:
        await self.close_idle()
        for place in self.places.held():
            if place.line is not None:
                await place.line.close()


class BlockingPool(_Pool):
    """Hold the lines of all threads to one origin."""

    def __init__(self, key: Key) -> None:
        backend = ClampedBackend(**_way(key))
        kinds = (httpcore2.ConnectionPool, httpcore2.HTTPProxy)
        open_connection, proxied = _opener(key, backend, kinds)
        super().__init__(key, lambda: _BlockingLine(open_connection()), proxied=proxied)

    async def send(self, request: HttpRequest, target: Target, deadline: Deadline) -> Response:
        place = self.places.take_blocking(deadline)
        return await self.exchange(place, request, target, deadline)

    def tidy(self) -> None:
        run_sync(self.close_forgotten())

    def retire(self) -> None:
        run_sync(self.close_idle())

    def close(self) -> None:
        run_sync(self.close_all())


class LoopPool(_Pool):
    """Hold the lines of one event loop to one origin."""

    def __init__(self, key: Key) -> None:
        from modelwrap.runtime.loop_streams import LoopBackend  # blocking callers never pay for it

        backend = LoopBackend(**_way(key))
        kinds = (httpcore2.AsyncConnectionPool, httpcore2.AsyncHTTPProxy)
        open_connection, proxied = _opener(key, backend, kinds)
        super().__init__(key, lambda: _LoopLine(open_connection()), proxied=proxied)

    async def send(self, request: HttpRequest, target: Target, deadline: Deadline) -> Response:
        place = await self.places.take(deadline)
        return await self.exchange(place, request, target, deadline)

    async def tidy(self) -> None:
        await self.close_forgotten()

    async def retire(self) -> None:
        await self.close_idle()

    async def aclose(self) -> None:
        await self.close_all()


def _way(key: Key) -> dict[str, Any]:
    """Say how the network is to reach an origin."""
    return {
        "public_only": key.connection.public_only,
        "tunnels": proxies.has_tunnels(key.origin, key.connection),
        "socks": proxies.socks_for(key.origin, key.connection),
    }


def _opener(key: Key, backend: Any, kinds: tuple[Any, Any]) -> tuple[Callable[[], Any], bool]:
    """Say how connections to an origin are opened, and whether they go through a proxy."""
    target = target_of(key.origin)
    https = target.scheme == b"https"
    direct, through_http = kinds
    proxy = proxies.proxy_for(key.origin, key.connection)
    options: dict[str, Any] = {
        "ssl_context": tls.context_for(key.connection.verify) if https else tls.unused(),
        "keepalive_expiry": _KEPT,
        "network_backend": backend,
    }
    kind = direct
    # What is behind a SOCKS proxy looks like a direct connection: the network makes the way.
    if proxy is not None and not proxies.is_socks(proxy):
        kind = through_http
        parsed = proxies.parsed(proxy, key.origin)
        url = parsed.url
        options |= {
            "proxy_url": httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            "proxy_headers": _login_at(parsed),
        }
    # Only asked for connections: what it would keep of them is kept here.
    factory = kind(**options)
    return functools.partial(factory.create_connection, _native_url(target).origin), proxy is not None


class _Unshown(bytes):
    """Be bytes which the frames of the client hold, and which nobody sees who looks at those."""

    def __repr__(self) -> str:
        return HIDDEN


def _login_at(proxy: httpx2.Proxy) -> list[tuple[str, bytes]]:
    authorization = proxies.authorization(proxy)
    return [] if authorization is None else [("proxy-authorization", _Unshown(authorization.reveal().encode()))]


# What the client is given, and what it raises, made ours.


@functools.lru_cache(maxsize=256)
def _native_url(target: Target, *, forwarded: bool = False) -> httpcore2.URL:
    # Whole for a proxy that forwards: the client would write it anew, and keys may stand in it.
    path = _Unshown(target.origin.encode() + target.path) if forwarded else target.path
    return httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=path)


def _native_request(request: HttpRequest, target: Target, limit: Limit, *, forwarded: bool) -> httpcore2.Request:
    connect = Limit(request.timeouts.connect, limit.deadline, "connect")
    # Names, sockets, tunnels and TLS share it.
    connect.begin()
    timeout = {
        "connect": connect,
        "read": limit,
        "write": Limit(request.timeouts.idle, limit.deadline, "idle"),
    }
    native = httpcore2.Request(
        request.method,
        _native_url(target, forwarded=forwarded),
        content=request.content,
        extensions={"timeout": timeout},
    )
    # Credentials are revealed on the way into the client, never into a variable that a traceback could show. They are
    # checked by then, and given to its constructor they would be looked at once more, one by one.
    written = _Unshown if forwarded else bytes
    native.headers = [(name.encode(), written(value, "ascii")) for name, value in header_items(request, target)]
    return native


def _failure(error: Exception, request: HttpRequest, limit: Limit, *, proxied: bool) -> CallError:
    words = Scrubber(request.secrets)(str(error)) or type(error).__name__
    match error:
        case httpcore2.ConnectTimeout():
            return failures.not_connected_in_time(request, limit)
        case httpcore2.WriteTimeout():
            return failures.not_sent_in_time(request, limit)
        case httpcore2.TimeoutException():
            return limit.passed()
        case httpcore2.ConnectError():
            return failures.not_connected(error, words, proxied=proxied)
        case Refused():
            return failures.proxy_refused(words, None, retryable=False)
        case httpcore2.ProxyError():
            status = words.partition(" ")[0]
            return failures.proxy_refused(words, int(status) if status.isdigit() else None)
        case httpcore2.LocalProtocolError() | httpcore2.UnsupportedProtocol():
            return failures.not_writable(words)
        case httpcore2.RemoteProtocolError() if not _HUNG_UP.match(words):
            return failures.not_http(words)
    return failures.cut(error, words)


def _bare(error: Exception) -> Exception:
    """Take the frames off a cause: they hold headers with credentials, and nobody reads them."""
    for link in chain(error):
        link.__traceback__ = None
    return error
