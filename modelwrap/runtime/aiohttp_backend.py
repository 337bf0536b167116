"""Send through aiohttp inside an event loop: several times the calls of httpx2 when hundreds run at once.

What is taken of aiohttp are its connections (names, proxies, TLS, keeping them) and its reader of answers. Its session
is left out: that costs as much again, for cookies, redirects and second attempts that nobody here wants.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import re
import socket
from collections.abc import Iterator
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader
from yarl import URL

from modelwrap.errors import CallError, chain
from modelwrap.runtime import failures, proxies, tls
from modelwrap.runtime.addresses import check_public, look_up, numeric
from modelwrap.runtime.base import Deadline, Limit
from modelwrap.runtime.conversation import LARGEST_HEAD, MOST_HEADERS, MOST_INFORMATIONAL, TooManyInformational
from modelwrap.runtime.loop_streams import WRITE_PIECE, caught_up
from modelwrap.runtime.outgoing import Target, header_items, read_limit, target_of
from modelwrap.runtime.places import Place, Places
from modelwrap.runtime.pools import Key
from modelwrap.runtime.response import Response, joined
from modelwrap.runtime.sockets import readiness
from modelwrap.secrets import Scrubber, Secret
from modelwrap.wire.http import HttpRequest

# How long an idle connection is kept, in seconds.
_KEPT = 30.0

# How much is read ahead of the reader.
_READ_AHEAD = 64 * 1024

# How long connecting may take at least, in seconds.
_SHORTEST = 0.001

# aiohttp rounds timeouts above this up to whole seconds.
_NO_ROUNDING = 1e9

_CLIENT_ERRORS = (aiohttp.ClientError, HttpProcessingError, TooManyInformational, TimeoutError, OSError, ValueError)

_BEGIN = b"HTTP/"
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_CHUNKED = re.compile(rb"\ntransfer-encoding[ \t]*:", re.IGNORECASE)
_LENGTH = re.compile(rb"\ncontent-length[ \t]*:[^\n]*(?=\n)", re.IGNORECASE)


class _Stale(aiohttp.ServerDisconnectedError):
    """Say that a connection which had been idle was closed before any byte of an answer came."""


class _ProxyFailed(aiohttp.ClientError):
    """Say what a proxy did instead of making a tunnel."""


class _Unsent(TimeoutError):
    """Say that a server reads no more of a request, and has not answered either."""


class _Connection(ResponseHandler):
    """Be aiohttp's end of one connection, which lets no answer pass for another's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.exchanges = 0
        self._informational = 0
        self._answered = True
        self._asked = False
        self._head = b""
        self._sending: asyncio.Future[None] | None = None

    def begin(self) -> None:
        """Be ready for the answer to a request that is about to go out."""
        self.exchanges += 1
        self._informational = 0
        self._answered = False
        self._asked = True
        self.set_response_params(
            read_until_eof=True,
            auto_decompress=False,
            read_bufsize=_READ_AHEAD,
            max_line_size=LARGEST_HEAD,
            max_field_size=LARGEST_HEAD,
            max_headers=MOST_HEADERS,
        )

    async def send(self, head: Secret, body: bytes, idle: float) -> None:
        """Write a request, a long one no faster than it is taken; who has answered may want no more of it."""
        transport = self.transport
        assert transport is not None
        if self.exchanges == 1:
            await caught_up(transport)
            if transport.is_closing():
                return
        if body:
            transport.writelines((head.reveal().encode("ascii"), body[:WRITE_PIECE]))
        else:
            # Nothing at all in a list stays in the buffer for ever, from Python 3.12 on.
            transport.write(head.reveal().encode("ascii"))
        if not self.writing_paused and len(body) <= WRITE_PIECE:
            return
        await self._taken(idle)
        view = memoryview(body)
        for start in range(WRITE_PIECE, len(view), WRITE_PIECE):
            await caught_up(transport)
            if transport.is_closing():
                return
            transport.write(view[start : start + WRITE_PIECE])
            await self._taken(idle)

    async def _taken(self, idle: float) -> None:
        while self.writing_paused and self._asked and self.transport is not None:
            self._sending = self._loop.create_future()
            try:
                async with asyncio.timeout(idle):
                    await self._sending
            except TimeoutError as error:
                raise _Unsent from error
            finally:
                self._sending = None

    def _go_on(self) -> None:
        if self._sending is not None and not self._sending.done():
            self._sending.set_result(None)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._go_on()

    async def answer(self) -> tuple[RawResponseMessage, StreamReader]:
        """Wait for the head of the answer; what is only informational is passed over."""
        while True:
            message, content = await self.read()
            if not 100 <= message.code < 200 or message.code == 101:
                return message, content

    def is_connected(self) -> bool:
        """Tell whether another request may go out: not where anything came that nobody asked for."""
        if not super().is_connected() or self._buffer or self._exception is not None:
            return False
        assert self.transport is not None
        readable, writable = readiness(self.transport.get_extra_info("socket").fileno(), 0)
        # One that takes nothing has still to take the rest of the last request.
        return writable and not readable and not self.transport.get_write_buffer_size()

    def data_received(self, data: bytes) -> None:
        if data and self._is_idle():
            self.close()
            return
        self._answered = self._answered or bool(data)
        behind = b""
        if self._asked:
            if not (self._head + data[: len(_BEGIN)]).startswith(_BEGIN[: len(self._head) + len(data)]):
                # Empty lines among others, of which the parser would pass over any number.
                self._refuse(HttpProcessingError(message="it does not begin with a status"))
                return
            data, behind = self._whole_head(data)
        super().data_received(data)
        # Apart, because aiohttp forgets a head where something behind it is wrong.
        if behind and self._exception is None:
            self.data_received(behind)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._head:
            data, self._head = self._head, b""
            super().data_received(data)
        if exc is not None:
            # aiohttp takes any end for the end of a body of which no length was told.
            self._break_off(exc)
        super().connection_lost(exc)
        self._go_on()

    def _break_off(self, error: BaseException) -> None:
        """Tell who reads a body that no more of it comes."""
        if self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(error)

    def _whole_head(self, data: bytes) -> tuple[bytes, bytes]:
        """Keep what comes until a head is whole, and take out of it what the standard allows and aiohttp refuses.

        That is a length beside chunks: chunks win, and the connection is closed. And a length that comes twice.
        The head comes back with what stands behind it.
        """
        begin = max(0, len(self._head) - 3)
        head, self._head = self._head + data, b""
        end = _END_OF_HEAD.search(head, begin)
        if end is None and len(head) < LARGEST_HEAD:
            self._head = head
            return b"", b""
        if end is None:
            return head, b""
        head, behind = head[: end.end()], head[end.end() :]
        if _CHUNKED.search(head) and _LENGTH.search(head):
            self.force_close()
            head = _LENGTH.sub(b"", head)
        elif head.lower().count(b"\ncontent-length") > 1:
            head = _with_one_length(head)
        return head, behind

    def _is_idle(self) -> bool:
        ended = self._payload is None or self._payload.is_eof()
        return self.exchanges > 0 and ended and not self._asked

    def close(self) -> None:
        # A farewell of TLS, or bytes that the other end does not take, would keep the socket for long.
        self.abort()

    def feed_data(self, data: Any, size: int = 0) -> None:
        message, _ = data
        if 100 <= message.code < 200 and message.code != 101:
            self._informational += 1
            if self._informational > MOST_INFORMATIONAL:
                self._refuse(TooManyInformational())
                return
        else:
            self._asked = False
            self._go_on()
        super().feed_data(data, size)

    def _refuse(self, error: Exception) -> None:
        # In this order: closing forgets what went wrong.
        self.close()
        self.set_exception(error)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        if isinstance(exc, (aiohttp.ServerDisconnectedError, OSError)) and self.exchanges > 1 and not self._answered:
            exc = _Stale()
        super().set_exception(exc, *cause)
        # aiohttp tells it only to who waits for a head.
        self._break_off(exc)
        self._go_on()


def _with_one_length(head: bytes) -> bytes:
    """Write a length once that is the same each time."""
    first, *others = _LENGTH.findall(head) or [b""]
    alike = all(other.partition(b":")[2].strip() == first.partition(b":")[2].strip() for other in others)
    return _LENGTH.sub(b"", head, len(others)) if others and alike else head


class _Resolver(AbstractResolver):
    def __init__(self, *, public_only: bool) -> None:
        self._public_only = public_only

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        asked = look_up(host, port)
        addresses = asked.result() if asked.done() else await asyncio.wrap_future(asked)
        if self._public_only:
            check_public(host, addresses)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        pass


class AiohttpPool:
    """Hold the connections of one event loop to one origin."""

    def __init__(self, key: Key) -> None:
        self._public_only = key.connection.public_only
        https = target_of(key.origin).scheme == b"https"
        # First what may raise, because a connector that nobody closes complains.
        self._proxy = _Proxy(key, https=https)
        self._connector = aiohttp.TCPConnector(
            limit=0,
            keepalive_timeout=_KEPT,
            ssl=tls.context_for(key.connection.verify) if https else True,
            resolver=_Resolver(public_only=self._public_only),
            use_dns_cache=False,
        )
        factory = functools.partial(_Connection, loop=self._connector._loop)
        self._connector._factory = factory  # type: ignore[assignment]  # a subclass
        self._way_there: aiohttp.ClientRequest | None = None
        self.places: Places[None] = Places(key.origin)
        self._retired = False

    async def send(self, request: HttpRequest, target: Target, deadline: Deadline) -> Response:
        try:
            place = await self.places.take(deadline)
        except BaseException:  # whoever leaves the queue may be the last one here
            await self._close_when_done()
            raise
        try:
            deadline.check()
            if self._public_only:
                _check_numeric(target)
            return await self._send(place, request, target, deadline)
        except BaseException:  # whatever ends a call, its place is free again
            await self.leave(place)
            raise

    async def _send(self, place: Place[None], request: HttpRequest, target: Target, deadline: Deadline) -> Response:
        limit = read_limit(request, deadline)
        head = self._head(request, target)
        try:
            try:
                return await self._ask(place, head, request, target, limit)
            except _Stale:
                # The server closed it for having been idle, as it may; that is no failure of this request.
                if not request.replayable:
                    raise
                return await self._ask(place, head, request, target, limit)
        except _CLIENT_ERRORS as error:
            failed = self.failure(error, request, limit)
        # Raised out here, because what aiohttp raises holds the connection, and with it the proxy's credentials.
        raise failed

    async def _ask(
        self, place: Place[None], head: Secret, request: HttpRequest, target: Target, limit: Limit
    ) -> Response:
        # Nothing at all would stand for no limit.
        connect = max(_SHORTEST, Limit(request.timeouts.connect, limit.deadline, "connect").left())
        connection = await self._connected(target, connect)
        try:
            protocol = connection.protocol
            assert isinstance(protocol, _Connection)
            protocol.begin()
            async with asyncio.timeout(max(0.0, limit.left())):
                await protocol.send(head, request.content, request.timeouts.idle)
                message, content = await protocol.answer()
            content.on_eof(connection.release)
            return _AiohttpResponse(message, content, connection, protocol, place, self, request, limit)
        except BaseException:  # nobody will read what comes
            connection.close()
            raise

    async def _connected(self, target: Target, seconds: float) -> Connection:
        try:
            return await self._connector.connect(self._way(target), [], _timeout(seconds))
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError from error
        except (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError):
            raise
        except (aiohttp.ClientError, HttpProcessingError, TooManyInformational) as error:
            # Nobody else speaks before there is a connection.
            hung_up = isinstance(error, aiohttp.ServerDisconnectedError)
            raise _ProxyFailed("it hung up" if hung_up else _words(error)) from error

    def _way(self, target: Target) -> aiohttp.ClientRequest:
        """Say to aiohttp's connector what to connect to; all requests to an origin go the same way."""
        if self._way_there is not None:
            return self._way_there
        way = aiohttp.ClientRequest(
            "GET",
            URL(target.origin, encoded=True),
            headers={"host": target.named},
            loop=self._connector._loop,
            proxy=self._proxy.url,
            proxy_headers=self._proxy.headers_of_tunnels(),
        )
        # One that names a proxy's password is not kept.
        if not way.proxy_headers:
            self._way_there = way
        return way

    def _head(self, request: HttpRequest, target: Target) -> Secret:
        """Write what stands before the body; as it holds credentials, no traceback may show it."""
        path = target.path.decode("ascii")
        if self._proxy.reads_requests:
            path = target.origin + path
        items = itertools.chain(header_items(request, target), self._proxy.headers_of_requests())
        lines = [f"{request.method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in items)]
        return Secret("\r\n".join([*lines, "", ""]))

    def failure(self, error: Exception, request: HttpRequest, limit: Limit) -> CallError:
        """Make what aiohttp raised ours."""
        failure = _failure(error, request, limit, proxied=self._proxy.url is not None)
        failure.__cause__ = _cause(error)
        return failure

    async def leave(self, place: Place[None]) -> None:
        """End a call that had a place."""
        self.places.leave(place)
        await self._close_when_done()

    async def _close_when_done(self) -> None:
        if self._retired and self.places.empty:
            await self._connector.close()

    async def tidy(self) -> None:
        """Leave it to aiohttp, which looks at its connections from time to time."""

    async def retire(self) -> None:
        self._retired = True
        await self._close_when_done()

    async def aclose(self) -> None:
        await self._connector.close()


class _AiohttpResponse(Response):
    def __init__(
        self,
        message: RawResponseMessage,
        content: StreamReader,
        connection: Connection,
        protocol: _Connection,
        place: Place[None],
        pool: AiohttpPool,
        request: HttpRequest,
        limit: Limit,
    ) -> None:
        super().__init__(message.code, joined(message.raw_headers), request, limit)
        self._content = content
        self._connection = connection
        self._protocol = protocol
        self._exchange = protocol.exchanges
        self._place = place
        self._pool = pool
        self._request = request
        self._ended = False
        self._closed = False

    async def _next(self) -> bytes | None:
        content = self._content
        try:
            broken = content.exception()
            # What came before a connection broke is read first; aiohttp's public method would pass over it.
            if data := content._read_nowait(-1) if broken else content.read_nowait():
                return data
            if broken:
                raise broken
            if not content.at_eof():
                async with asyncio.timeout(max(0.0, self.read_limit.left())):
                    data = await content.readany()
            self._ended = not data
            return data or None
        except _CLIENT_ERRORS as error:
            failed = self._pool.failure(error, self._request, self.read_limit)
        raise failed

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._connection.close()
            # Where all of the answer has come, aiohttp takes the connection back whether it was read or not.
            if not self._ended and self._protocol.exchanges == self._exchange:
                self._protocol.close()
            await self._pool.leave(self._place)


class _Proxy:
    """Say through which proxy aiohttp goes, and what is shown to it."""

    def __init__(self, key: Key, *, https: bool) -> None:
        proxy = proxies.proxy_for(key.origin, key.connection)
        parsed = proxies.parsed(proxy, key.origin) if proxy else None
        self.url = None if parsed is None else URL(str(parsed.url), encoded=True)
        self._authorization = proxies.authorization(parsed) if parsed else None
        self._https = https
        self.reads_requests = parsed is not None and not https
        """Whether it is asked for whole URLs, and makes no tunnel."""

    def headers_of_requests(self) -> Iterator[tuple[str, str]]:
        if self._authorization and not self._https:
            yield "proxy-authorization", self._authorization.reveal()

    def headers_of_tunnels(self) -> dict[str, str] | None:
        if self._authorization and self._https:
            return {"proxy-authorization": self._authorization.reveal()}
        return None


@functools.lru_cache(maxsize=64)
def _timeout(connect: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(connect=connect, ceil_threshold=_NO_ROUNDING)


def _check_numeric(target: Target) -> None:
    """Check a host that is an address already, about which nobody is asked."""
    host = target.host.decode().strip("[]")
    check_public(host, numeric(host, target.port or 0) or [])


# What aiohttp raises, made ours.


def _failure(error: Exception, request: HttpRequest, limit: Limit, *, proxied: bool) -> CallError:
    words = Scrubber(request.secrets)(_words(error))
    match error:
        case aiohttp.ConnectionTimeoutError():
            return failures.not_connected_in_time(request, limit)
        case _Unsent():
            return failures.not_sent_in_time(request, limit)
        case TimeoutError():
            return limit.passed()
        case aiohttp.ClientHttpProxyError():
            return failures.proxy_refused(f"{error.status} {words}", error.status)
        case _ProxyFailed():
            return failures.proxy_refused(words, None)
        case aiohttp.ClientConnectorCertificateError():
            return failures.not_connected(error.certificate_error, words, proxied=proxied)
        case aiohttp.ClientConnectorError():
            return failures.not_connected(error.os_error, words, proxied=proxied)
        case HttpProcessingError() | TooManyInformational():
            return failures.not_http(words)
        case ValueError():
            return failures.not_writable(words)
    return failures.cut(error, words)


def _words(error: Exception) -> str:
    """Give what an error says, without the hosts and headers that aiohttp adds to it."""
    match error:
        case HttpProcessingError() | aiohttp.ClientResponseError():
            words = error.message.partition("\n")[0].rstrip(":")
        case aiohttp.ClientPayloadError():
            words = "it ended before the answer did"
        case aiohttp.ClientOSError() if not error.errno:
            words = "it ended while the request went out"
        case _:
            words = str(error)
    return words or type(error).__name__


def _cause(error: Exception) -> BaseException | None:
    """Give what the system said, without frames; aiohttp's own errors hold the request."""
    for link in chain(error):
        if isinstance(link, OSError) and not isinstance(link, aiohttp.ClientError):
            return type(link)(*link.args)
    return None
