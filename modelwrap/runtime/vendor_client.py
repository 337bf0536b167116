"""Vendors' clients that log in for our requests: what one prepares and signs is sent by a runtime, and by nothing else.

Such a client is given an HTTP client of ours. It makes the request, and hands it to us; the answer is read by a codec,
so that the vendor's client sees of it no more than the status and the headers.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

import httpx2

from modelwrap.errors import CallError, CredentialError, InvalidResponse, MissingPackage, chain
from modelwrap.runtime.base import Deadline, HttpResponse, Runtime, run_sync
from modelwrap.runtime.lock import Lock
from modelwrap.secrets import Secret, is_sensitive
from modelwrap.wire.http import HttpRequest

# They belong to a connection, which is not the vendor's client's.
_OF_CONNECTIONS = frozenset({"connection", "content-length", "host", "transfer-encoding"})

# Of an answer the vendor's client gets no body and keeps no cookies.
_NOT_TOLD = frozenset({"content-encoding", "content-length", "set-cookie", "transfer-encoding"})

# How much longer than the call a login may take before it is broken off, so that the call's own limit is told first.
_SLACK = 0.5


class Clients:
    """Hold one client for the threads of this process and one for each event loop, all made alike."""

    def __init__(self, make_blocking: Callable[[Any], Any], make_concurrent: Callable[[Any], Any]) -> None:
        self._make_blocking = make_blocking
        self._make_concurrent = make_concurrent
        self._lock = Lock()
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._blocking: Any = None
        self._concurrent: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = WeakKeyDictionary()

    def of_thread(self) -> Any:
        with self._lock:
            self._leave_the_parents()
            if self._blocking is None:
                self._blocking = self._make_blocking(httpx2.Client(transport=_Handing(), trust_env=False))
            return self._blocking

    def of_loop(self) -> Any:
        loop = asyncio.get_running_loop()
        with self._lock:
            self._leave_the_parents()
            if loop not in self._concurrent:
                http_client = httpx2.AsyncClient(transport=_HandingInLoop(), trust_env=False)
                self._concurrent[loop] = self._make_concurrent(http_client)
            return self._concurrent[loop]

    def _leave_the_parents(self) -> None:
        # A lock inside of one may have been held, at the fork, by a thread that is not here.
        if self._pid != os.getpid():
            self._start()


@dataclass(slots=True)
class Errand:
    """Be one request on its way through a vendor's client."""

    request: HttpRequest
    """As the codec wrote it."""
    deadline: Deadline
    runtime: Runtime
    only_show: bool = False
    """Send nothing; what would be sent is in `prepared`."""
    prepared: HttpRequest | None = None
    """As the client wrote and signed it."""
    response: HttpResponse | None = None
    failure: BaseException | None = None
    secrets: list[Secret] = field(default_factory=list)

    async def send(self, native: httpx2.Request, content: bytes) -> httpx2.Response:
        """Send what the client has made of the request, and tell it how that was answered."""
        self.prepared = _to_request(native, content, self.request)
        self.secrets += self.prepared.secrets
        await self.give_up()
        if self.only_show:
            return httpx2.Response(200, request=native)
        try:
            self.response = await self.runtime.send(self.prepared, self.deadline)
        except BaseException as error:
            # Kept, because the client wraps it into something of its own.
            self.failure = error
            raise
        told = [(name, value) for name, value in self.response.headers.items() if name not in _NOT_TOLD]
        return httpx2.Response(self.response.status, headers=told, request=native)

    async def give_up(self) -> None:
        """Hang up on an answer that nobody will read: a client that logs in anew asks again."""
        response, self.response = self.response, None
        if response is not None:
            await response.aclose()

    @property
    def refused(self) -> bool:
        return self.response is not None and not 200 <= self.response.status < 300


_errand: ContextVar[Errand] = ContextVar("errand")


class _Handing(httpx2.BaseTransport):
    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return run_sync(_errand.get().send(request, request.read()))


class _HandingInLoop(httpx2.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await _errand.get().send(request, await request.aread())


async def carry(
    errand: Errand, clients: Clients, path: str, query: Mapping[str, str], headers: Mapping[str, str]
) -> None:
    """Have a vendor's client make a request of ours; afterwards the errand holds what came of it.

    What the client raises by itself is a `CredentialError`: all that is left to it is to log in.
    """
    options = {
        "headers": dict(headers),
        "params": dict(query),
        "max_retries": 0,
        # Told to the server by some clients, and otherwise of no effect: the deadline is the runtime's.
        "timeout": errand.deadline.total,
    }
    token = _errand.set(errand)
    failed: BaseException | None = None
    try:
        await _ask(errand, clients, path, options)
        if errand.prepared is None:
            failed = CredentialError("the client sent its request past the http_client that it was given", sent=False)
    except Exception as error:  # whatever a vendor's login raises is its refusal
        failed = errand.failure or (None if errand.refused else _failed(error, errand))
    except BaseException:  # also a cancelled or interrupted call gives the connection back
        await errand.give_up()
        raise
    finally:
        _errand.reset(token)
    if failed is not None:
        await errand.give_up()
        # Out here, where nothing of the client's hangs on it: its frames hold keys.
        raise failed


async def _ask(errand: Errand, clients: Clients, path: str, options: dict[str, Any]) -> None:
    request = errand.request
    method = request.method.lower()
    given: dict[str, Any] = {"cast_to": httpx2.Response, "options": options}
    if method == "get":
        pass
    elif request.holds_json:
        given["body"] = request.json
    else:
        # Told of a form, clients would write one of their own; its type is put back in `_to_request`.
        given["content"] = request.content
        options["headers"].pop("content-type", None)
    if errand.runtime.blocking:
        getattr(clients.of_thread(), method)(path, **given)
        return
    try:
        async with asyncio.timeout(errand.deadline.remaining() + _SLACK):
            await getattr(clients.of_loop(), method)(path, **given)
    except TimeoutError:
        raise errand.deadline.passed() from None


def _failed(error: Exception, errand: Errand) -> Exception:
    if isinstance(error, CallError):
        return error
    words = f"{type(error).__name__}: {error}"
    if errand.prepared is not None:
        return InvalidResponse(f"the client failed over the answer: {words}")
    if any(isinstance(link, ImportError) for link in chain(error)):
        return MissingPackage(f"the login needs a package that is not installed: {error}")
    return CredentialError(f"the client could not log in: {words}", sent=False)


def _to_request(native: httpx2.Request, content: bytes, written: HttpRequest) -> HttpRequest:
    headers = {
        name: Secret(value) if is_sensitive(name) else value
        for name, value in native.headers.items()
        if name not in _OF_CONNECTIONS
    }
    if not written.holds_json:
        headers["content-type"] = written.headers["content-type"]
    body = json.loads(content) if content and written.holds_json else written.json
    return replace(written, method=native.method, url=str(native.url), headers=headers, json=body, content=content)
