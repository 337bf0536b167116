"""How the world is touched: the two colours of a call, the HTTP client under them, and recordings in their place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from modelwrap.errors import ConfigError, RealRequestForbidden
from modelwrap.runtime.base import Runtime
from modelwrap.runtime.lock import Lock
from modelwrap.wire.urls import host_of, origin

FORBID_VARIABLE = "MODELWRAP_FORBID_REQUESTS"

_lock = Lock()
_tape: Callable[[Runtime], Runtime] | None = None
_forbidden_by: list[tuple[str, bool]] = []
_permitted: list[str] = []


def of_thread() -> Runtime:
    """Give the runtime of a caller that waits in its own thread."""
    from modelwrap.runtime.blocking import Blocking

    runtime = Blocking()
    return _tape(runtime) if _tape else runtime


def of_loop() -> Runtime:
    """Give the runtime of the event loop that runs in this thread."""
    from modelwrap.runtime.concurrent import Concurrent

    runtime = Concurrent()
    return _tape(runtime) if _tape else runtime


@contextmanager
def played_by(tape: Callable[[Runtime], Runtime]) -> Iterator[None]:
    """Let `tape` wrap the runtime of every call that starts in this process, whatever its thread."""
    global _tape
    with _lock:
        if _tape is not None:
            raise ConfigError("a recording or a replay is already active; they do not nest")
        _tape = tape
    try:
        yield
    finally:
        with _lock:
            _tape = None


@contextmanager
def forbidden(reason: str, *, allow_loopback: bool = False) -> Iterator[None]:
    """Make every real request of this process raise `RealRequestForbidden`."""
    entry = (reason, allow_loopback)
    with _lock:
        _forbidden_by.append(entry)
    try:
        yield
    finally:
        with _lock:
            _forbidden_by.remove(entry)


@contextmanager
def permitted(url: str) -> Iterator[None]:
    """Let requests go to the origin of a URL though others are forbidden: a test has put a server there."""
    place = origin(url)
    with _lock:
        _permitted.append(place)
    try:
        yield
    finally:
        with _lock:
            _permitted.remove(place)


def check_allowed(url: str) -> None:
    """Be asked by the HTTP client before it touches a socket."""
    reason = _why_forbidden(url)
    if reason is not None:
        raise RealRequestForbidden(
            f"{reason}: no request goes to {origin(url)}; replay a recording, or use a model of modelwrap.testing"
        )


def _why_forbidden(url: str) -> str | None:
    if _permitted and origin(url) in _permitted:
        return None
    for reason, allow_loopback in _forbidden_by:
        if not (allow_loopback and _is_loopback(url)):
            return reason
    if os.environ.get(FORBID_VARIABLE, "0") not in ("", "0"):
        return f"{FORBID_VARIABLE} is set"
    return None


def _is_loopback(url: str) -> bool:
    host = host_of(url)
    return host in ("localhost", "::1") or host.startswith("127.")
