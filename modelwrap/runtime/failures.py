"""What goes wrong on the way to an endpoint and back, in the same words whichever client met it."""

from __future__ import annotations

import os
import socket
import ssl

from modelwrap.errors import BadRequest, CallError, ConnectionFailed, InvalidResponse, TimedOut, chain
from modelwrap.runtime import tls
from modelwrap.runtime.addresses import UNKNOWN
from modelwrap.runtime.base import Limit
from modelwrap.wire.http import HttpRequest


def not_connected(error: BaseException, words: str, *, proxied: bool) -> CallError:
    """Say why there is no connection; nothing was sent."""
    for cause in chain(error):
        # A loop tells a clean end in the middle of TLS by an error that bears no number.
        if isinstance(cause, ssl.SSLEOFError) or (isinstance(cause, ConnectionResetError) and cause.errno is None):
            return tls.broken_off()
        if isinstance(cause, ssl.SSLError):
            return tls.failure(cause)
        if isinstance(cause, socket.gaierror):
            whose = "the proxy's name" if proxied else "the host's name"
            return ConnectionFailed(
                f"{whose} cannot be resolved: {cause.strerror}", sent=False, retryable=cause.errno not in UNKNOWN
            )
    what = "the proxy cannot be reached" if proxied else "no connection"
    return ConnectionFailed(f"{what}: {_system_words(error) or words}", sent=False)


def proxy_refused(words: str, status: int | None, *, retryable: bool = True) -> CallError:
    """Say that a proxy answered, and would not make the way free."""
    retryable = retryable and (status is None or status >= 500)
    return ConnectionFailed(f"the proxy failed: {words}", sent=False, retryable=retryable)


def not_connected_in_time(request: HttpRequest, limit: Limit) -> CallError:
    if limit.deadline.remaining() <= 0:
        return limit.deadline.passed(sent=False)
    return TimedOut(f"no connection within {request.timeouts.connect:g} s", limit="connect", sent=False)


def not_sent_in_time(request: HttpRequest, limit: Limit) -> CallError:
    if limit.deadline.remaining() <= 0:
        return limit.deadline.passed()
    return TimedOut(f"the request could not be sent for {request.timeouts.idle:g} s", limit="idle")


def cut(error: BaseException, words: str) -> CallError:
    """Say that a connection ended before the answer did."""
    for cause in chain(error):
        # Under TLS 1.3 a server that refuses the client says so only when the request has gone out.
        if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""):
            return tls.failure(cause, sent=True)
    return ConnectionFailed(f"the connection was cut: {_system_words(error) or words}")


def not_http(words: str) -> CallError:
    return InvalidResponse(f"the answer is not HTTP: {words}", retryable=True)


def not_writable(words: str) -> CallError:
    return BadRequest(f"the request cannot be written as HTTP: {words}", sent=False)


def crowded(most: int, origin: str) -> CallError:
    """Say that no connection became free before the call had to end."""
    return ConnectionFailed(f"all {most} connections of the pool for {origin} were in use", sent=False)


def _system_words(error: BaseException) -> str:
    """Give what the system calls it: clients put hosts and URLs beside that."""
    # The numbers of TLS are none of the system's.
    links = (link for link in chain(error) if isinstance(link, OSError) and not isinstance(link, ssl.SSLError))
    numbers = [link.errno for link in links if link.errno]
    return os.strerror(numbers[-1]) if numbers else ""
