"""The way through a proxy before there is one: whatever goes wrong there, nothing of a request has gone out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpcore2

from modelwrap.runtime.conversation import LARGEST_HEAD

_BEGIN = b"HTTP/1."


class Tunnel:
    """Hold what a proxy says to CONNECT against what it may say, and bound the time it takes."""

    def __init__(self, limit: float | None) -> None:
        self.limit = limit
        self._said = b""

    def heard(self, data: bytes) -> bytes:
        """Let pass what came; nothing is the end of the connection."""
        self._said += data
        if not data:
            raise httpcore2.ProxyError("it hung up")
        if not self._said.startswith(_BEGIN[: len(self._said)]):
            raise httpcore2.ProxyError("it does not speak HTTP")
        if len(self._said) >= LARGEST_HEAD:
            raise httpcore2.ProxyError("its answer is too long")
        return data


@contextmanager
def failures_of_proxy() -> Iterator[None]:
    """Tell what goes wrong meanwhile as what it means where there is no connection yet."""
    try:
        yield
    except httpcore2.TimeoutException as error:
        raise httpcore2.ConnectTimeout(str(error)) from error
    except (httpcore2.NetworkError, httpcore2.RemoteProtocolError) as error:
        raise httpcore2.ProxyError(str(error)) from error
