"""The same sockets for callers inside an event loop; closing one awaits nothing."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from typing import Any, cast

import httpcore2

from modelwrap.runtime.addresses import check_public, look_up
from modelwrap.runtime.clamp import HELD, heard, seconds_left
from modelwrap.runtime.conversation import Conversation
from modelwrap.runtime.sockets import has_something_to_say
from modelwrap.runtime.socks import Socks, Steps
from modelwrap.runtime.tunnels import Tunnel, failures_of_proxy

# A body goes out in pieces, because each has its own time.
WRITE_PIECE = 256 * 1024

# How much may lie unread before the other end has to wait.
_MOST_UNREAD = 256 * 1024

# How long one address is tried alone.
_HEAD_START = 0.25


async def caught_up(transport: asyncio.Transport) -> None:
    """Let the loop take in what has come: a socket that breaks over a write loses what nobody has read.

    That may be an early answer, or on a new connection why TLS was refused.
    """
    while not transport.is_closing() and transport.is_reading():
        if not has_something_to_say(transport.get_extra_info("socket").fileno()):
            return
        await asyncio.sleep(0)


class _Socket(asyncio.Protocol):
    """Keep what came until it is read, and wake whoever waits to read or to write."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.unread = bytearray()
        self.ended = False
        self.error: BaseException | None = None
        self._paused_reading = False
        self._paused_writing = False
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an instance of it everywhere: other loops bring transports of their own.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.unread += data
        if len(self.unread) > _MOST_UNREAD and self.transport is not None:
            self.transport.pause_reading()
            self._paused_reading = True
        self._wake()

    def eof_received(self) -> None:
        self.ended = True
        self._wake()

    def connection_lost(self, error: BaseException | None) -> None:
        self.ended = True
        self.error = error
        self._paused_writing = False
        self._wake()

    def pause_writing(self) -> None:
        self._paused_writing = True

    def resume_writing(self) -> None:
        self._paused_writing = False
        self._wake()

    async def readable(self, timeout: float | None) -> None:
        while not self.unread and not self.ended:
            await self._wait(timeout)

    async def more(self) -> None:
        await self._wait(None)

    async def writable(self, timeout: float | None) -> None:
        # A server that answers while the request still goes out may want no more of it.
        while self._paused_writing and not self.unread:
            await self._wait(timeout)

    def take(self, most: int) -> bytes:
        data = bytes(self.unread[:most])
        del self.unread[:most]
        if self._paused_reading and self.transport is not None and not self.ended:
            self.transport.resume_reading()
            self._paused_reading = False
        return data

    async def _wait(self, timeout: float | None) -> None:
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        timer = None if timeout is None else loop.call_later(timeout, _expire, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


class LoopStream(httpcore2.AsyncNetworkStream):
    def __init__(self, socket: _Socket) -> None:
        assert socket.transport is not None
        self._socket = socket
        self._transport = socket.transport
        self._held = bytearray()
        self._write_limit: float | None = None
        self.conversation = Conversation()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        socket = self._socket
        try:
            await self._flush()
        except httpcore2.WriteError:
            # A server that hangs up over a request may have said why before.
            self._held.clear()
        if not socket.unread:
            try:
                await socket.readable(seconds_left(timeout, httpcore2.ReadTimeout))
            except TimeoutError as error:
                raise httpcore2.ReadTimeout from error
        if not socket.unread and socket.error is not None and not self.conversation.stale:
            raise httpcore2.ReadError(str(socket.error)) from socket.error
        return heard(self.conversation, socket.take(max_bytes))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.conversation.asks()
        self._held += buffer
        self._write_limit = timeout
        if len(self._held) > HELD:
            await self._flush()

    async def _flush(self) -> None:
        if not self._held:
            return
        view = memoryview(bytes(self._held))
        self._held.clear()
        for start in range(0, len(view), WRITE_PIECE):
            if start or self.conversation.exchanges == 1:
                await caught_up(self._transport)
            seconds = seconds_left(self._write_limit, httpcore2.WriteTimeout)
            await self._write(view[start : start + WRITE_PIECE], seconds)

    async def _write(self, piece: memoryview, timeout: float | None) -> None:
        socket = self._socket
        if self._transport.is_closing():
            raise httpcore2.WriteError(str(socket.error or "the connection is closed")) from socket.error
        self._transport.write(piece)
        try:
            await socket.writable(timeout)
        except TimeoutError as error:
            raise httpcore2.WriteTimeout from error

    async def aclose(self) -> None:
        # A farewell of TLS would keep the socket for as long as the other end likes.
        self._transport.abort()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        inner = _Socket()
        try:
            async with asyncio.timeout(seconds_left(timeout, httpcore2.ConnectTimeout)):
                if self._transport.is_closing():
                    raise httpcore2.ConnectError(str(self._socket.error or "the connection is closed"))
                inner.transport = await asyncio.get_running_loop().start_tls(
                    self._transport, inner, ssl_context, server_hostname=server_hostname
                )
        except BaseException as error:  # a cancelled caller leaves no socket behind either
            await self.aclose()
            if isinstance(error, TimeoutError):
                raise httpcore2.ConnectTimeout from error
            if isinstance(error, OSError):
                raise httpcore2.ConnectError(str(error)) from error
            raise
        return LoopStream(inner)

    def get_extra_info(self, info: str) -> Any:
        if info != "is_readable":
            return self._transport.get_extra_info(info)
        # The client takes a connection that has something to say while it is idle for closed.
        if self.conversation.spent or self._socket.unread or self._socket.ended:
            return True
        # The loop may not have looked since it came.
        return has_something_to_say(self._transport.get_extra_info("socket").fileno())


class _TunnelStream(LoopStream):
    def __init__(self, socket: _Socket, limit: float | None) -> None:
        super().__init__(socket)
        self._tunnel = Tunnel(limit)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with failures_of_proxy():
            return self._tunnel.heard(await super().read(max_bytes, self._tunnel.limit))


class LoopBackend(httpcore2.AsyncNetworkBackend):
    def __init__(self, *, public_only: bool, tunnels: bool = False, socks: Socks | None = None) -> None:
        self._public_only = public_only
        self._tunnels = tunnels
        self._socks = socks

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            async with asyncio.timeout(seconds_left(timeout, httpcore2.ConnectTimeout)):
                if self._socks is not None:
                    socket = await self._reached(self._socks.host, self._socks.port)
                    await _pass_socks(socket, self._socks.steps(host, port))
                else:
                    socket = await self._reached(host, port)
                return _TunnelStream(socket, timeout) if self._tunnels else LoopStream(socket)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout from error
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(str(error)) from error

    async def _reached(self, host: str, port: int) -> _Socket:
        addresses = await asyncio.wrap_future(look_up(host, port))
        if self._public_only:
            check_public(host, addresses)
        return await _connected(addresses, port)


async def _pass_socks(socket: _Socket, steps: Steps) -> None:
    """Talk to a SOCKS proxy until it passes on."""
    assert socket.transport is not None
    try:
        data, missing = next(steps)
        while True:
            socket.transport.write(data)
            while len(socket.unread) < missing:
                if socket.ended:
                    raise httpcore2.ProxyError(str(socket.error or "it hung up"))
                await socket.more()
            data, missing = steps.send(socket.take(missing))
    except StopIteration:
        return
    except BaseException:  # a cancelled caller leaves no socket behind either
        socket.transport.abort()
        raise


async def _connected(addresses: list[str], port: int) -> _Socket:
    """Connect to the first address that answers; each gets a head start on the next."""
    if len(addresses) == 1:
        return await _open(addresses[0], port)
    racing: set[asyncio.Task[_Socket]] = set()
    waiting = list(addresses)
    failed: BaseException = OSError("the host has no address")
    try:
        while waiting or racing:
            if waiting:
                racing.add(asyncio.create_task(_open(waiting.pop(0), port)))
            head_start = _HEAD_START if waiting else None
            done, racing = await asyncio.wait(racing, timeout=head_start, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if error is None:
                    racing |= done - {task}
                    return task.result()
                failed = error
    finally:
        for task in racing:
            task.add_done_callback(_abandon)
            task.cancel()
    raise failed


async def _open(address: str, port: int) -> _Socket:
    _, socket = await asyncio.get_running_loop().create_connection(_Socket, address, port)
    return socket


def _abandon(task: asyncio.Task[_Socket]) -> None:
    """Close what came out of a race that another has won."""
    if not task.cancelled() and task.exception() is None:
        transport = task.result().transport
        if transport is not None:
            transport.abort()
