"""Runtimes that write down what passes, and runtimes that play it back without touching the world."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from typing import Any, TypeVar

from modelwrap.errors import CallError, ReplayMismatch
from modelwrap.runtime.base import Deadline, HttpResponse, Limit, Runtime
from modelwrap.runtime.interactions import (
    Exchange,
    Recorded,
    differences,
    key_of,
    to_error,
    to_request,
)
from modelwrap.runtime.lock import Lock
from modelwrap.secrets import Scrubber, Secret
from modelwrap.types import JSON
from modelwrap.wire.http import HttpRequest

S = TypeVar("S")
T = TypeVar("T")

_MOST_DIFFERENCES = 8


class Recorder:
    """Keep every exchange of the runtimes that it wraps, in the order in which the requests went out."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._exchanges: list[Exchange] = []
        self._secrets: set[Secret] = set()

    def __call__(self, inner: Runtime) -> Runtime:
        return _Recording(inner, self)

    def begin(self, request: HttpRequest) -> Exchange:
        exchange = Exchange(request)
        with self._lock:
            self._exchanges.append(exchange)
            self._secrets.update(request.secrets)
        return exchange

    def forget(self, exchange: Exchange) -> None:
        with self._lock:
            self._exchanges = [other for other in self._exchanges if other is not exchange]

    def interactions(self) -> list[JSON]:
        """Give what was recorded so far, without credentials."""
        scrub = self.scrubber()
        with self._lock:
            return [exchange.to_json(scrub) for exchange in self._exchanges]

    def scrubber(self) -> Scrubber:
        """Give what finds the credentials of all requests, whichever request or answer they stand in."""
        with self._lock:
            return Scrubber(self._secrets)


class Player:
    """Answer the requests of the runtimes that it wraps from a recording, each recorded request once."""

    def __init__(self, interactions: Sequence[JSON], name: str = "recording") -> None:
        self._lock = Lock()
        self._recorded = [Recorded.from_json(record) for record in interactions]
        self._name = name
        self._ended = False
        self._first_mismatch: ReplayMismatch | None = None

    def __call__(self, inner: Runtime) -> Runtime:
        return _Replaying(inner, self)

    def take(self, request: HttpRequest) -> Recorded:
        """Find the first recorded request that equals this one and was not played yet."""
        # The key of a replay stands nowhere in the recording, but by chance it may stand in a message.
        scrubbed = to_request(request, Scrubber(request.secrets))
        keys = {key_of(scrubbed), key_of(to_request(request, Scrubber(())))}
        with self._lock:
            if self._ended:
                raise self.mismatch(f"the replay is over, and {_line(scrubbed)} is asked")
            for recorded in self._recorded:
                if recorded.key in keys and not recorded.played:
                    recorded.played = True
                    return recorded
            raise self.mismatch(self._why_not(scrubbed, keys))

    def mismatch(self, words: str) -> ReplayMismatch:
        error = ReplayMismatch(f"{self._name}: {words}")
        self._first_mismatch = self._first_mismatch or error
        return error

    def end(self) -> None:
        """Play nothing any more."""
        with self._lock:
            self._ended = True

    def check_played(self) -> None:
        """Raise unless everything recorded was asked for, and nothing else."""
        if self._first_mismatch is not None:
            # Code that catches every error may have hidden it.
            raise self._first_mismatch
        missed = [recorded.request for recorded in self._recorded if not recorded.played]
        if missed:
            raise ReplayMismatch(
                f"{self._name}: {len(missed)} of {len(self._recorded)} recorded requests were never asked, "
                f"first {_line(missed[0])}"
            )

    def _why_not(self, asked: JSON, keys: set[str]) -> str:
        if not self._recorded:
            return f"nothing is recorded, and {_line(asked)} is asked"
        times = sum(recorded.key in keys for recorded in self._recorded)
        if times:
            return f"{_line(asked)} was recorded {times} times and is asked once more"
        return self._compared(asked)

    def _compared(self, asked: JSON) -> str:
        compared = [
            (recorded.played, number, _differences(recorded.request, asked))
            for number, recorded in enumerate(self._recorded, start=1)
        ]
        played, number, found = min(compared, key=lambda entry: (len(entry[2]), entry[0]))
        head = f"no recorded request equals {_line(asked)}; the nearest is number {number} of {len(compared)}"
        more = [f"and {len(found) - _MOST_DIFFERENCES} more"] if len(found) > _MOST_DIFFERENCES else []
        note = " (already played)" if played else ""
        return "\n  ".join([f"{head}{note}, which differs in", *found[:_MOST_DIFFERENCES], *more])


class _Wrapped:
    """Leave to another runtime what a tape does not care about."""

    def __init__(self, inner: Runtime) -> None:
        self._inner = inner

    @property
    def blocking(self) -> bool:
        return self._inner.blocking

    def now(self) -> float:
        return self._inner.now()

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)

    async def run(self, function: Callable[..., T], /, *arguments: Any) -> T:
        return await self._inner.run(function, *arguments)

    async def wait(self, future: Future[T], deadline: Deadline) -> T:
        return await self._inner.wait(future, deadline)

    async def each(self, function: Callable[[S], Coroutine[Any, Any, T]], items: Iterable[S]) -> list[T]:
        return await self._inner.each(function, items)


class _Recording(_Wrapped):
    def __init__(self, inner: Runtime, recorder: Recorder) -> None:
        super().__init__(inner)
        self._recorder = recorder

    async def send(self, request: HttpRequest, deadline: Deadline) -> HttpResponse:
        exchange = self._recorder.begin(request)
        try:
            response = await self._inner.send(request, deadline)
        except CallError as error:
            exchange.error = to_error(error)
            raise
        except BaseException:
            # Forbidden, cancelled or interrupted: nothing came of it that could be played.
            self._recorder.forget(exchange)
            raise
        exchange.status = response.status
        exchange.headers = {name.lower(): value for name, value in response.headers.items()}
        return _RecordedResponse(response, exchange)


class _RecordedResponse:
    """Hand on an answer as it comes, and keep a copy."""

    def __init__(self, inner: HttpResponse, exchange: Exchange) -> None:
        self._inner = inner
        self._exchange = exchange
        self.status = inner.status
        self.headers = inner.headers
        self.read_limit = inner.read_limit

    async def read(self) -> bytes:
        try:
            body = await self._inner.read()
        except CallError as error:
            self._exchange.error = to_error(error)
            raise
        self._exchange.keep(body)
        self._exchange.ended = True
        return body

    async def stream(self) -> AsyncGenerator[bytes, None]:
        self._exchange.streamed = True
        try:
            async with aclosing(self._inner.stream()) as pieces:
                async for piece in pieces:
                    self._exchange.keep(piece)
                    yield piece
        except CallError as error:
            self._exchange.error = to_error(error)
            raise
        self._exchange.ended = True

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Replaying(_Wrapped):
    def __init__(self, inner: Runtime, player: Player) -> None:
        super().__init__(inner)
        self._player = player

    async def send(self, request: HttpRequest, deadline: Deadline) -> HttpResponse:
        recorded = self._player.take(request)
        if recorded.status is None:
            raise recorded.failure() or self._player.mismatch("the recording holds a request without an answer")
        return _ReplayedResponse(recorded, recorded.status, self._player, deadline)

    async def sleep(self, seconds: float) -> None:
        # The waits between attempts were waited when the recording was made; others still get their turn.
        await self._inner.sleep(0)


class _ReplayedResponse:
    def __init__(self, recorded: Recorded, status: int, player: Player, deadline: Deadline) -> None:
        self._recorded = recorded
        self._player = player
        self.status = status
        self.headers: Mapping[str, str] = recorded.headers
        self.read_limit = Limit(deadline.total, deadline, "total")

    async def read(self) -> bytes:
        return b"".join([piece async for piece in self.stream()])

    async def stream(self) -> AsyncGenerator[bytes, None]:
        for piece in self._recorded.pieces:
            yield piece
        if failure := self._recorded.failure():
            raise failure
        if self._recorded.left_off:
            raise self._player.mismatch(
                f"{_line(self._recorded.request)}: the answer was read only so far when it was recorded; record it anew"
            )

    async def aclose(self) -> None:
        pass


def _differences(recorded: JSON, asked: JSON) -> list[str]:
    names = [name for name in {**recorded, **asked} if name != "headers"]
    return [
        found
        for name in names
        # A body's places are named as the caller knows them, from its own keys on.
        for found in differences(recorded.get(name), asked.get(name), "" if name == "json" else name)
    ]


def _line(request: JSON) -> str:
    return f"{request['method']} {request['url']}"
