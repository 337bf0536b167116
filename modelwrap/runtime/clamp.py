"""Sockets that read their limit anew at each operation, so that no server can stretch a call past its deadline."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import httpcore2

from modelwrap.runtime.addresses import check_public, numeric
from modelwrap.runtime.base import Limit

_WRITE_PIECE = 1024 * 1024


def _seconds(timeout: float | None, passed: type[Exception]) -> float | None:
    if not isinstance(timeout, Limit):
        return timeout
    left = timeout.left()
    if left <= 0:
        raise passed("no time is left")
    return left


class _ClampedStream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _seconds(timeout, httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # Handed on in pieces, because the client gives the same limit to each of many sends.
        view = memoryview(buffer)
        for start in range(0, len(view), _WRITE_PIECE):
            self._stream.write(bytes(view[start : start + _WRITE_PIECE]), _seconds(timeout, httpcore2.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        try:
            seconds = _seconds(timeout, httpcore2.ConnectTimeout)
        except httpcore2.ConnectTimeout:
            # The client leaves this to its streams.
            self.close()
            raise
        return _ClampedStream(self._stream.start_tls(ssl_context, server_hostname, seconds))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class ClampedBackend(httpcore2.SyncBackend):
    def __init__(self, *, public_only: bool = False) -> None:
        self._public_only = public_only

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore2.NetworkStream:
        failed: Exception | None = None
        addresses = _addresses(host, port)
        if self._public_only:
            check_public(host, addresses)
        # One by one, because the client would give each address of a name the whole limit.
        for address in addresses:
            seconds = _seconds(timeout, httpcore2.ConnectTimeout)
            try:
                return _ClampedStream(super().connect_tcp(address, port, seconds, local_address, socket_options))
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failed = error
        raise failed or httpcore2.ConnectError(f"{host} has no address")


def _addresses(host: str, port: int) -> list[str]:
    try:
        return numeric(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except OSError as error:
        raise httpcore2.ConnectError(str(error)) from error


class _ClampedAsyncStream(httpcore2.AsyncNetworkStream):
    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max_bytes, _seconds(timeout, httpcore2.ReadTimeout))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, _seconds(timeout, httpcore2.WriteTimeout))

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        try:
            seconds = _seconds(timeout, httpcore2.ConnectTimeout)
        except httpcore2.ConnectTimeout:
            await self.aclose()
            raise
        return _ClampedAsyncStream(await self._stream.start_tls(ssl_context, server_hostname, seconds))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class ClampedAsyncBackend(httpcore2.AsyncNetworkBackend):
    def __init__(self, backend: httpcore2.AsyncNetworkBackend, *, public_only: bool = False) -> None:
        self._backend = backend
        self._public_only = public_only

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore2.AsyncNetworkStream:
        if not self._public_only:
            return await self._connect(host, port, timeout, local_address, socket_options)
        failed: Exception | None = None
        addresses = await _addresses_in_loop(host, port, timeout)
        check_public(host, addresses)
        for address in addresses:
            try:
                return await self._connect(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failed = error
        raise failed or httpcore2.ConnectError(f"{host} has no address")

    async def _connect(self, host: str, port: int, timeout: float | None, *rest: Any) -> httpcore2.AsyncNetworkStream:
        seconds = _seconds(timeout, httpcore2.ConnectTimeout)
        return _ClampedAsyncStream(await self._backend.connect_tcp(host, port, seconds, *rest))

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


async def _addresses_in_loop(host: str, port: int, timeout: float | None) -> list[str]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_seconds(timeout, httpcore2.ConnectTimeout)):
            return numeric(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except TimeoutError as error:
        raise httpcore2.ConnectTimeout(f"{host} was not resolved") from error
    except OSError as error:
        raise httpcore2.ConnectError(str(error)) from error
