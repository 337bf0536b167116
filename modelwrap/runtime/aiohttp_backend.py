"""Send through aiohttp inside an event loop: several times the calls of httpx2 when hundreds run at once.

What aiohttp does of its own accord is switched off: cookies, redirects, second attempts, decompression, `.netrc`,
proxies of the environment, its own headers and its own timeouts.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import io
import re
import socket
from collections.abc import Iterable, Iterator
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from multidict import CIMultiDict
from yarl import URL

from modelwrap.errors import CallError, chain
from modelwrap.runtime import failures, proxies, tls
from modelwrap.runtime.addresses import check_public, look_up, numeric
from modelwrap.runtime.base import Deadline, Limit
from modelwrap.runtime.conversation import LARGEST_HEAD, MOST_HEADERS, MOST_INFORMATIONAL, TooManyInformational
from modelwrap.runtime.outgoing import Target, header_items, read_limit, target_of
from modelwrap.runtime.places import Places
from modelwrap.runtime.pools import Key
from modelwrap.runtime.response import Response, joined
from modelwrap.runtime.sockets import has_something_to_say
from modelwrap.secrets import Scrubber, Secret
from modelwrap.wire.http import HttpRequest

# How long an idle connection is kept, in seconds.
_KEPT = 30.0

# How much is read ahead of the reader.
_READ_AHEAD = 64 * 1024

# aiohttp rounds timeouts above this up to whole seconds.
_NO_ROUNDING = 1e9

# Above this, aiohttp wants a body as a file, which it reads piece by piece.
_LARGEST_AT_ONCE = 2**20

_CLIENT_ERRORS = (aiohttp.ClientError, TooManyInformational, TimeoutError, OSError, ValueError)

_NO_TYPE = CIMultiDict({"content-type": None})

_END_OF_HEAD = re.compile(rb"\n\r?\n")
_CHUNKED = re.compile(rb"\ntransfer-encoding[ \t]*:", re.IGNORECASE)
_LENGTH = re.compile(rb"\ncontent-length[ \t]*:[^\n]*(?=\n)", re.IGNORECASE)


class _Stale(aiohttp.ServerDisconnectedError):
    """Say that a connection which had been idle was closed before any byte of an answer came."""


class _Connection(ResponseHandler):
    """Be aiohttp's end of one connection, which lets no answer pass for another's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.exchanges = 0
        self._informational = 0
        self._answered = True
        self._asked = False
        self._head = b""

    def set_response_params(self, **params: Any) -> None:
        # Called when a request is about to go out.
        self.exchanges += 1
        self._informational = 0
        self._answered = False
        self._asked = True
        super().set_response_params(**params)

    def is_connected(self) -> bool:
        """Tell whether another request may go out: not where anything came that nobody asked for."""
        if not super().is_connected() or self._buffer or self._exception is not None:
            return False
        assert self.transport is not None
        return not has_something_to_say(self.transport.get_extra_info("socket").fileno())

    def data_received(self, data: bytes) -> None:
        if data and self._is_idle():
            self.close()
            return
        self._answered = self._answered or bool(data)
        if self._asked and (self._head or data.startswith(b"HTTP/1")):
            data = self._whole_head(data)
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._head:
            data, self._head = self._head, b""
            super().data_received(data)
        super().connection_lost(exc)

    def _whole_head(self, data: bytes) -> bytes:
        """Keep what comes until a head is whole, and take a length out that stands beside chunks.

        The standard lets chunks win, and has the connection closed; aiohttp's parser refuses such an answer.
        """
        begin = max(0, len(self._head) - 3)
        head, self._head = self._head + data, b""
        end = _END_OF_HEAD.search(head, begin)
        if end is None and len(head) < LARGEST_HEAD:
            self._head = head
            return b""
        if end is not None and _CHUNKED.search(head, 0, end.end()) and _LENGTH.search(head, 0, end.end()):
            self.force_close()
            return _LENGTH.sub(b"", head[: end.end()]) + head[end.end() :]
        return head

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
                self.set_exception(TooManyInformational())
                self.close()
                return
        else:
            self._asked = False
        super().feed_data(data, size)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        if isinstance(exc, (aiohttp.ServerDisconnectedError, OSError)) and self.exchanges > 1 and not self._answered:
            exc = _Stale()
        super().set_exception(exc, *cause)


class _Request(aiohttp.ClientRequest):
    def update_auto_headers(self, skip_auto_headers: Iterable[str] | None) -> None:
        """Add no header that nobody gave, and no type of content later on."""
        self._skip_auto_headers = _NO_TYPE


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
        # First what may raise, because a session that nobody closes complains.
        self._proxy = _Proxy(key, https=https)
        connector = aiohttp.TCPConnector(
            limit=0,
            keepalive_timeout=_KEPT,
            ssl=tls.context_for(key.connection.verify) if https else True,
            resolver=_Resolver(public_only=self._public_only),
            use_dns_cache=False,
        )
        connector._factory = functools.partial(_Connection, loop=connector._loop)  # type: ignore[assignment]  # a subclass
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            request_class=_Request,
            read_bufsize=_READ_AHEAD,
            max_line_size=LARGEST_HEAD,
            max_field_size=LARGEST_HEAD,
            max_headers=MOST_HEADERS,
        )
        # It would send a GET twice without telling.
        self._session._retry_connection = False
        self.places = Places(key.origin)
        self._calls = 0
        self._retired = False

    async def send(self, request: HttpRequest, target: Target, deadline: Deadline) -> Response:
        self._calls += 1
        try:
            await self.places.take(deadline)
        except BaseException:  # whoever leaves the queue has no place to give back
            await self._end_call()
            raise
        try:
            deadline.check()
            if self._public_only:
                _check_numeric(target)
            return await self._send(request, target, deadline)
        except BaseException:  # whatever ends a call, its place is free again
            await self.leave()
            raise

    async def _send(self, request: HttpRequest, target: Target, deadline: Deadline) -> Response:
        limit = read_limit(request, deadline)
        try:
            try:
                native = await self._ask(request, target, limit)
            except _Stale:
                # The server closed it for having been idle, as it may; that is no failure of this request.
                if not request.replayable:
                    raise
                native = await self._ask(request, target, limit)
            return _AiohttpResponse(native, self, request, limit)
        except _CLIENT_ERRORS as error:
            failed = self.failure(error, request, limit)
        # Raised out here, because what aiohttp raises holds the request, and with it its credentials.
        raise failed

    async def _ask(self, request: HttpRequest, target: Target, limit: Limit) -> aiohttp.ClientResponse:
        connect = Limit(request.timeouts.connect, limit.deadline, "connect").left()
        async with asyncio.timeout(max(0.0, limit.left())):
            # Credentials are revealed on the way into the client, never into a variable that a traceback could show.
            return await self._session.request(
                request.method,
                _native_url(target),
                headers=[*header_items(request, target), *self._proxy.headers_of_requests()],
                data=_body(request.content),
                allow_redirects=False,
                proxy=self._proxy.url,
                proxy_headers=self._proxy.headers_of_tunnels(),
                timeout=_timeout(connect),
            )

    def failure(self, error: Exception, request: HttpRequest, limit: Limit) -> CallError:
        """Make what aiohttp raised ours."""
        failure = _failure(error, request, limit, proxied=self._proxy.url is not None)
        failure.__cause__ = _cause(error)
        return failure

    async def leave(self) -> None:
        """End a call that had a place."""
        self.places.leave()
        await self._end_call()

    async def _end_call(self) -> None:
        self._calls -= 1
        if self._retired and not self._calls:
            await self._session.close()

    async def retire(self) -> None:
        self._retired = True
        if not self._calls:
            await self._session.close()

    async def aclose(self) -> None:
        await self._session.close()


class _AiohttpResponse(Response):
    def __init__(self, native: aiohttp.ClientResponse, pool: AiohttpPool, request: HttpRequest, limit: Limit) -> None:
        try:
            super().__init__(native.status, joined(native.raw_headers), request, limit)
        except BaseException:  # nobody will read it
            native.close()
            raise
        self._native = native
        self._pool = pool
        self._request = request
        assert isinstance(native._protocol, _Connection)
        self._connection = native._protocol
        self._exchange = self._connection.exchanges
        self._ended = False
        self._closed = False

    async def _next(self) -> bytes | None:
        content = self._native.content
        try:
            if data := content.read_nowait():
                return data
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
            self._native.close()
            # Where all of the answer has come, aiohttp takes the connection back whether it was read or not.
            if not self._ended and self._connection.exchanges == self._exchange:
                self._connection.close()
            await self._pool.leave()


class _Proxy:
    """Say through which proxy aiohttp goes, and what is shown to it."""

    def __init__(self, key: Key, *, https: bool) -> None:
        proxy = proxies.proxy_for(key.origin, key.connection)
        parsed = proxies.parsed(proxy, key.origin) if proxy else None
        self.url = None if parsed is None else URL(str(parsed.url), encoded=True)
        credentials = parsed.raw_auth if parsed else None
        self._authorization = Secret(_basic(*credentials)) if credentials else None
        self._https = https

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


def _body(content: bytes) -> bytes | io.BytesIO | None:
    if len(content) > _LARGEST_AT_ONCE:
        return io.BytesIO(content)
    return content or None


def _basic(user: bytes, password: bytes) -> str:
    return "Basic " + base64.b64encode(user + b":" + password).decode()


def _check_numeric(target: Target) -> None:
    """Check a host that is an address already, about which nobody is asked."""
    host = target.host.decode().strip("[]")
    check_public(host, numeric(host, target.port or 0) or [])


@functools.lru_cache(maxsize=256)
def _native_url(target: Target) -> URL:
    return URL(target.origin + target.path.decode("ascii"), encoded=True)


# What aiohttp raises, made ours.


def _failure(error: Exception, request: HttpRequest, limit: Limit, *, proxied: bool) -> CallError:
    words = Scrubber(request.secrets)(_words(error))
    match error:
        case aiohttp.ConnectionTimeoutError():
            return failures.not_connected_in_time(request, limit)
        case TimeoutError():
            return limit.passed()
        case aiohttp.ClientHttpProxyError():
            return failures.proxy_refused(f"{error.status} {words}", error.status)
        case aiohttp.ClientConnectorCertificateError():
            return failures.not_connected(error.certificate_error, words, proxied=proxied)
        case aiohttp.ClientConnectorError():
            return failures.not_connected(error.os_error, words, proxied=proxied)
        case aiohttp.ClientResponseError() | TooManyInformational():
            return failures.not_http(words)
        case aiohttp.NonHttpUrlClientError() | ValueError():
            return failures.not_writable(words)
    return failures.cut(error, words)


def _words(error: Exception) -> str:
    """Give what an error says, without the hosts and headers that aiohttp adds to it."""
    match error:
        case aiohttp.ClientResponseError():
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
