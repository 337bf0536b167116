"""Sockets for httpcore2 that read their limit anew at each operation, so that no server can stretch a call."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any

import httpcore2

from modelwrap.runtime.addresses import check_public, look_up
from modelwrap.runtime.base import Limit
from modelwrap.runtime.conversation import Conversation, TooManyInformational

# A body goes out in pieces, because each has its own time.
WRITE_PIECE = 256 * 1024

# So much is kept until more comes or an answer is awaited: a head and a short body leave together.
HELD = 16 * 1024


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
    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream
        self._held = bytearray()
        self._write_limit: float | None = None
        self.conversation = Conversation()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            self._flush()
        except httpcore2.WriteError:
            # A server that hangs up over a request may have said why before.
            self._held.clear()
        try:
            data = self._stream.read(max_bytes, seconds_left(timeout, httpcore2.ReadTimeout))
        except httpcore2.ReadError:
            if self.conversation.stale:
                raise Stale from None
            raise
        return heard(self.conversation, data)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.conversation.asks()
        self._held += buffer
        self._write_limit = timeout
        if len(self._held) > HELD:
            self._flush()

    def _flush(self) -> None:
        if not self._held:
            return
        view = memoryview(bytes(self._held))
        self._held.clear()
        for start in range(0, len(view), WRITE_PIECE):
            seconds = seconds_left(self._write_limit, httpcore2.WriteTimeout)
            self._stream.write(bytes(view[start : start + WRITE_PIECE]), seconds)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        try:
            seconds = seconds_left(timeout, httpcore2.ConnectTimeout)
            return ClampedStream(self._stream.start_tls(ssl_context, server_hostname, seconds))
        except BaseException:  # an interrupted caller leaves no socket behind either
            self.close()
            raise

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable" and self.conversation.spent:
            # The client takes a connection that has something to say while it is idle for closed.
            return True
        return self._stream.get_extra_info(info)


class ClampedBackend(httpcore2.SyncBackend):
    def __init__(self, *, public_only: bool) -> None:
        self._public_only = public_only

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        failed: Exception | None = None
        addresses = _addresses(host, port, timeout)
        if self._public_only:
            check_public(host, addresses)
        for others_left, address in reversed(list(enumerate(reversed(addresses)))):
            seconds = seconds_left(timeout, httpcore2.ConnectTimeout)
            if seconds is not None and others_left:
                seconds /= 2
            try:
                return ClampedStream(super().connect_tcp(address, port, seconds, local_address, socket_options or ()))
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failed = error
        raise failed or httpcore2.ConnectError(f"{host} has no address")


def _addresses(host: str, port: int, timeout: float | None) -> list[str]:
    try:
        return look_up(host, port).result(seconds_left(timeout, httpcore2.ConnectTimeout))
    except TimeoutError as error:
        raise httpcore2.ConnectTimeout(f"{host} was not resolved in time") from error
    except (OSError, UnicodeError) as error:
        raise httpcore2.ConnectError(str(error)) from error
