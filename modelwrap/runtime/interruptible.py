"""Blocking sockets whose callers can be interrupted at once, and leave none open.

httpcore2's stay until nobody holds the error.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import httpcore2
from httpcore2._backends.sync import SyncStream  # what httpcore2 connects comes as this, too

from modelwrap.runtime.base import LONGEST_WAIT

# Older versions give no reason for an end either.
_NAMES_ENDS = ssl.OPENSSL_VERSION_INFO >= (3,)


def connected(address: str, port: int, seconds: float | None) -> httpcore2.NetworkStream:
    """Connect to an address, which is no name, within so many seconds."""
    family, kind, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    connection = socket.socket(family, kind, protocol)
    with _closed_where_it_fails(connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(seconds)
        connection.connect(place)
    return _Stream(connection)


def secured(
    stream: httpcore2.NetworkStream, context: ssl.SSLContext, host: str | None, seconds: float | None
) -> httpcore2.NetworkStream:
    """Agree on TLS over a stream within so many seconds."""
    plain = stream.get_extra_info("socket")
    if not isinstance(plain, socket.socket) or isinstance(plain, ssl.SSLSocket):
        # TLS within that of a proxy leaves the socket with its stream.
        return stream.start_tls(context, host, seconds)
    with _closed_where_it_fails(plain):
        plain.settimeout(seconds)
        connection = context.wrap_socket(
            plain, server_hostname=host, do_handshake_on_connect=False, suppress_ragged_eofs=False
        )
    with _closed_where_it_fails(connection):
        connection.do_handshake()
    return _SecuredStream(connection)


class _Stream(SyncStream):
    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        while timeout is None or timeout > LONGEST_WAIT:
            try:
                return super().read(max_bytes, LONGEST_WAIT)
            except httpcore2.ReadTimeout:
                if timeout is not None:
                    timeout -= LONGEST_WAIT
        return super().read(max_bytes, timeout)


class _SecuredStream(_Stream):
    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            return super().read(max_bytes, timeout)
        except httpcore2.ReadError as error:
            end = error.__cause__
            if not isinstance(end, ssl.SSLEOFError):
                raise
            # Many servers end without the farewell of TLS. A reset looks alike but for its missing reason.
            if end.reason or not _NAMES_ENDS:
                return b""
            raise httpcore2.ReadError("reset") from ConnectionResetError(errno.ECONNRESET, "reset")


@contextmanager
def _closed_where_it_fails(connection: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException as error:  # an interrupted caller leaves no socket behind either
        connection.close()
        if isinstance(error, TimeoutError):
            raise httpcore2.ConnectTimeout(str(error)) from error
        if isinstance(error, OSError):
            raise httpcore2.ConnectError(str(error)) from error
        raise
