"""Sockets for httpcore2 that read their limit anew at each operation, so that no server can stretch a call."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any

import httpcore2

from modelwrap.runtime.addresses import check_public, look_up
from modelwrap.runtime.base import Limit
from modelwrap.runtime.conversation import Conversation, TooManyInformational
from modelwrap.runtime.interruptible import connected, secured
from modelwrap.runtime.sockets import readiness
from modelwrap.runtime.socks import Socks, Steps
from modelwrap.runtime.tunnels import Tunnel, failures_of_proxy

# So much is kept until more comes or an answer is awaited: a head and a short body leave together. What is longer goes
# out in pieces of this size, each with a time of its own: what a socket takes at once that has any room.
HELD = 16 * 1024

# How long it may take to see that what came under TLS was no part of an answer.
_GLANCE = 0.001

_MOST_AT_ONCE = 64 * 1024


class Stale(httpcore2.ReadError):
    """Say that a connection which had been idle was closed before any byte of an answer came."""

    def __init__(self) -> None:
        super().__init__("the server closed an idle connection")


def seconds_left(timeout: float | None, passed: type[Exception]) -> float | None:
    if not isinstance(timeout, Limit):
        return timeout
    left = timeout.left()
    if left <= 0:
        raise passed("no time is left")
    return left


def heard(conversation: Conversation, data: bytes) -> bytes:
    """Let a conversation take note of what came; nothing is the end of the connection."""
    if not data:
        if conversation.stale:
            raise Stale
        if conversation.answered and conversation.in_head:
            raise httpcore2.RemoteProtocolError("it ended before its headers did")
        return data
    try:
        conversation.hears(data)
    except TooManyInformational as error:
        raise httpcore2.RemoteProtocolError(str(error)) from None
    return data


class ClampedStream(httpcore2.NetworkStream):
    """Send and listen at the same time: a server may answer before it has read all of a request, and read no more."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream
        self._unsent = bytearray()
        self._unread = b""
        self._write_limit: float | None = None
        self.conversation = Conversation()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            if self.conversation.answered:
                self._send(timeout, httpcore2.ReadTimeout)
            else:
                self._send(self._write_limit, httpcore2.WriteTimeout)
        except httpcore2.WriteError:
            # A server that hangs up over a request may have said why before.
            self._unsent.clear()
        if not self._unread:
            return heard(self.conversation, self._receive(max_bytes, seconds_left(timeout, httpcore2.ReadTimeout)))
        data, self._unread = self._unread[:max_bytes], self._unread[max_bytes:]
        return heard(self.conversation, data)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.conversation.asks()
        self._unsent += buffer
        self._write_limit = timeout
        if len(self._unsent) > HELD:
            self._send(timeout, httpcore2.WriteTimeout)

    def _send(self, limit: float | None, passed: type[Exception]) -> None:
        """Send what is left of the request, until something comes."""
        if not self.conversation.spent and 0 < len(self._unsent) <= HELD:
            # There is room for a short one.
            self._send_piece(seconds_left(limit, passed))
        while self._unsent and not self._unread:
            seconds = seconds_left(limit, passed)
            readable, writable = readiness(self._stream.get_extra_info("socket").fileno(), seconds)
            if readable:
                self._glance()
            elif writable:
                self._send_piece(seconds)
            else:
                raise passed

    def _send_piece(self, seconds: float | None) -> None:
        self._stream.write(bytes(self._unsent[:HELD]), seconds)
        del self._unsent[:HELD]

    def _glance(self) -> None:
        """Take what came; under TLS that may be nothing for us."""
        try:
            self._unread = self._receive(_MOST_AT_ONCE, _GLANCE)
        except httpcore2.ReadTimeout:
            return
        # A further request would have to wait for the rest of this one.
        self.conversation.spent = True
        if not self._unread:
            # Nobody is there any more who would read it.
            self._unsent.clear()

    def _receive(self, max_bytes: int, seconds: float | None) -> bytes:
        try:
            return self._stream.read(max_bytes, seconds)
        except httpcore2.ReadError:
            if self.conversation.stale:
                raise Stale from None
            raise

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        try:
            seconds = seconds_left(timeout, httpcore2.ConnectTimeout)
            return ClampedStream(secured(self._stream, ssl_context, server_hostname, seconds))
        except BaseException:  # an interrupted caller leaves no socket behind either
            self.close()
            raise

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable" and self.conversation.spent:
            # The client takes a connection that has something to say while it is idle for closed.
            return True
        return self._stream.get_extra_info(info)


class _TunnelStream(ClampedStream):
    def __init__(self, stream: httpcore2.NetworkStream, limit: float | None) -> None:
        super().__init__(stream)
        self._tunnel = Tunnel(limit)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with failures_of_proxy():
            return self._tunnel.heard(super().read(max_bytes, self._tunnel.limit))


class ClampedBackend(httpcore2.SyncBackend):
    def __init__(self, *, public_only: bool, tunnels: bool = False, socks: Socks | None = None) -> None:
        self._public_only = public_only
        self._tunnels = tunnels
        self._socks = socks

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        if self._socks is not None:
            stream = self._reached(self._socks.host, self._socks.port, timeout)
            _pass_socks(stream, self._socks.steps(host, port), timeout)
        else:
            stream = self._reached(host, port, timeout)
        return _TunnelStream(stream, timeout) if self._tunnels else ClampedStream(stream)

    def _reached(self, host: str, port: int, timeout: float | None) -> httpcore2.NetworkStream:
        failed: Exception = httpcore2.ConnectError(f"{host} has no address")
        addresses = _addresses(host, port, timeout)
        if self._public_only:
            check_public(host, addresses)
        for others_left, address in reversed(list(enumerate(reversed(addresses)))):
            seconds = seconds_left(timeout, httpcore2.ConnectTimeout)
            if seconds is not None and others_left:
                seconds /= 2
            try:
                return connected(address, port, seconds)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failed = error
        raise failed


def _pass_socks(stream: httpcore2.NetworkStream, steps: Steps, limit: float | None) -> None:
    """Talk to a SOCKS proxy until it passes on."""
    try:
        with failures_of_proxy():
            data, missing = next(steps)
            while True:
                stream.write(data, seconds_left(limit, httpcore2.ConnectTimeout))
                answer = b""
                while len(answer) < missing:
                    piece = stream.read(missing - len(answer), seconds_left(limit, httpcore2.ConnectTimeout))
                    if not piece:
                        raise httpcore2.ProxyError("it hung up")
                    answer += piece
                data, missing = steps.send(answer)
    except StopIteration:
        return
    except BaseException:  # an interrupted caller leaves no socket behind either
        stream.close()
        raise


def _addresses(host: str, port: int, timeout: float | None) -> list[str]:
    try:
        return look_up(host, port).result(seconds_left(timeout, httpcore2.ConnectTimeout))
    except TimeoutError as error:
        raise httpcore2.ConnectTimeout(f"{host} was not resolved in time") from error
    except (OSError, UnicodeError) as error:
        raise httpcore2.ConnectError(str(error)) from error
