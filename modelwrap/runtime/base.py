"""The contract between models and the world, and what lets one `async def` serve blocking callers too."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from types import coroutine
from typing import Any, Protocol, TypeVar

from modelwrap.errors import TimedOut
from modelwrap.wire.http import HttpRequest

S = TypeVar("S")
T = TypeVar("T")

# Some three weeks, in seconds: more is a number too large for the system calls that wait.
_LONGEST = 2_000_000.0

LONGEST_WAIT = 0.5
"""How many seconds one system call waits where nobody else can end it: a signal that comes just before it is heard
when it returns."""


class Deadline:
    """Be the moment at which a call ends whatever happens, on a clock that nobody sets."""

    __slots__ = ("_clock", "at", "total")

    def __init__(self, total: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.total = min(total, _LONGEST)
        self.at = clock() + self.total

    def now(self) -> float:
        return self._clock()

    def remaining(self) -> float:
        return self.at - self._clock()

    def check(self) -> None:
        if self.remaining() <= 0:
            raise self.passed()

    def passed(self, *, sent: bool = True) -> TimedOut:
        words = f"the call took longer than {self.total:g} s in all"
        return TimedOut(words, limit="total", retryable=False, sent=sent)


class Limit(float):
    """Be a timeout that a socket operation reads when it starts: never more than the deadline leaves.

    HTTP clients hand one number to every operation of a request. This is that number, and the network
    backend asks it anew each time, so a server that drips bytes cannot stretch a call.
    """

    __slots__ = ("begun", "deadline", "name", "seconds")

    deadline: Deadline
    seconds: float
    name: str
    begun: float | None
    """Since when it counts; None gives all its seconds to each operation."""

    def __new__(cls, seconds: float, deadline: Deadline, name: str) -> Limit:
        limit = super().__new__(cls, seconds)
        limit.seconds = seconds
        limit.deadline = deadline
        limit.name = name
        limit.begun = None
        return limit

    def begin(self) -> None:
        """Count from now on, over all operations until it begins anew."""
        self.begun = self.deadline.now()

    def left(self) -> float:
        passed = 0.0 if self.begun is None else self.deadline.now() - self.begun
        return min(self.seconds - passed, self.deadline.remaining())

    def change(self, seconds: float, name: str) -> None:
        self.seconds = seconds
        self.name = name

    def passed(self) -> TimedOut:
        if self.deadline.remaining() <= 0:
            return self.deadline.passed()
        words = {
            "connect": "no connection within",
            "first_token": "no first token within",
            "idle": "nothing came for",
        }
        return TimedOut(f"{words.get(self.name, self.name)} {self.seconds:g} s", limit=self.name)


class HttpResponse(Protocol):
    """Be an answer whose headers have come and whose body has not been read."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    read_limit: Limit
    """How long one read may take; a stream changes it when its first event has come."""

    async def read(self) -> bytes:
        """Read the whole body and give the connection back."""

    def stream(self) -> AsyncGenerator[bytes, None]:
        """Give the body as it comes."""

    async def aclose(self) -> None: ...


class Runtime(Protocol):
    """Touch the world. Models await nothing but these."""

    @property
    def blocking(self) -> bool:
        """Whether callers wait in their own thread, and nothing may suspend."""

    def now(self) -> float: ...

    async def send(self, request: HttpRequest, deadline: Deadline) -> HttpResponse: ...

    async def sleep(self, seconds: float) -> None: ...

    async def run(self, function: Callable[..., T], /, *arguments: Any) -> T:
        """Call a function that blocks."""

    async def wait(self, future: Future[T], deadline: Deadline) -> T:
        """Wait for what another thread will answer."""

    async def each(self, function: Callable[[S], Coroutine[Any, Any, T]], items: Iterable[S]) -> list[T]:
        """Await a function for each of some items, at the same time where the colour can; one error ends them all."""


class StrayAwait(BaseException):
    """Stop a blocking call that awaited something other than its runtime.

    No `except Exception` may swallow it: the code that awaits is wrong, not the call.
    """


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, in this thread, with or without a running loop."""
    hooks = sys.get_asyncgen_hooks()
    try:
        # A running loop would adopt the generators made in here and close them when it ends.
        sys.set_asyncgen_hooks(None, None)
        coroutine.send(None)
    except StopIteration as finished:
        result: T = finished.value
        return result
    else:
        stray = StrayAwait("a blocking call awaited something other than its runtime")
        try:
            coroutine.throw(stray)
        except StopIteration:
            pass
        finally:
            coroutine.close()
        raise stray
    finally:
        sys.set_asyncgen_hooks(*hooks)


@coroutine
def unadopted(steps: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Await a coroutine whose async generators the running loop must not adopt.

    A loop that shuts down closes all generators at once, those inside others too, and tells of each that is in the
    way of another. Whoever awaits this closes what it opened.
    """
    resume: Callable[[], Any] = partial(steps.send, None)
    while True:
        hooks = sys.get_asyncgen_hooks()
        try:
            sys.set_asyncgen_hooks(None, _leave_alone)
            awaited = resume()
        except StopIteration as finished:
            result: T = finished.value
            return result
        finally:
            sys.set_asyncgen_hooks(*hooks)
        try:
            resume = partial(steps.send, (yield awaited))
        except BaseException as error:  # whatever is thrown in, a cancellation above all, is the coroutine's to see
            resume = partial(steps.throw, error)


def _leave_alone(generator: AsyncGenerator[Any, Any]) -> None:
    """Let go of a generator that nobody closed: its loop is gone, and what it would await with it."""


async def next_or_none(iterator: AsyncIterator[T]) -> T | None:
    """Take the next item; None at the end."""
    try:
        return await anext(iterator)
    except StopAsyncIteration:
        return None
