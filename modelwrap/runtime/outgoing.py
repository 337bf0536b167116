"""Requests on their way into an HTTP client, whichever it is."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx2

from modelwrap.errors import BadRequest
from modelwrap.runtime.base import Deadline, Limit
from modelwrap.wire.http import HttpRequest, wrong_header


@dataclass(frozen=True, slots=True)
class Target:
    """Be a URL taken apart, as it stands on the wire."""

    origin: str
    """Equal for all URLs that share connections."""
    scheme: bytes
    host: bytes
    port: int | None
    path: bytes = field(repr=False)
    """With the query behind it, in which a key may stand."""
    named: str
    """The host as a request's own header gives it."""


@functools.lru_cache(maxsize=256)
def target_of(url: str) -> Target:
    """Take a URL apart; a user and a password in it go nowhere."""
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise BadRequest(f"the request cannot be written as HTTP: {error}", sent=False) from None
    named = parsed.netloc.decode("ascii")
    if parsed.scheme not in ("http", "https") or not parsed.raw_host:
        raise BadRequest("the request cannot be written as HTTP: its URL is none of http or https", sent=False)
    if parsed.port is not None and not 0 < parsed.port < 2**16:
        raise BadRequest(f"the request cannot be written as HTTP: there is no port {parsed.port}", sent=False)
    origin = f"{parsed.scheme}://{named}"
    return Target(origin, parsed.raw_scheme, parsed.raw_host, parsed.port, parsed.raw_path, named)


def header_items(request: HttpRequest, target: Target) -> Iterator[tuple[str, str]]:
    """Give a request's headers with their credentials revealed: for the client, never for a variable."""
    if "host" not in request.headers:
        yield "host", target.named
    for name, value in request.headers.items():
        if isinstance(value, str):
            yield _checked(name, value)
        else:
            _check(name, fits=_fits_http(value.reveal()))
            yield name.lower(), value.reveal()
    if request.content or request.method not in ("GET", "HEAD"):
        yield "content-length", str(len(request.content))


@functools.lru_cache(maxsize=1024)
def _checked(name: str, value: str) -> tuple[str, str]:
    _check(name, fits=_fits_http(value))
    return name.lower(), value


def _check(name: str, *, fits: bool) -> None:
    if wrong := wrong_header(name):
        raise BadRequest(f"header {name!r}: {wrong}", sent=False)
    if not fits:
        raise BadRequest(f"header {name}: holds a character that HTTP cannot carry", sent=False)


def _fits_http(value: str) -> bool:
    return value.isascii() and value.isprintable()


def read_limit(request: HttpRequest, deadline: Deadline) -> Limit:
    """Say how long the first byte of an answer may take."""
    if request.stream:
        limit = Limit(request.timeouts.first_token, deadline, "first_token")
        limit.begin()
        return limit
    # A whole answer is silent until it is finished, so only the deadline bounds the wait for its headers.
    return Limit(deadline.total, deadline, "total")
