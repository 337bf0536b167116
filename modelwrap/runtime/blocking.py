"""The colour of callers that wait in their own thread: nothing here ever suspends."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from typing import Any, TypeVar

from modelwrap.runtime import backends
from modelwrap.runtime.base import LONGEST_WAIT, Deadline, HttpResponse
from modelwrap.wire.http import HttpRequest

S = TypeVar("S")
T = TypeVar("T")


class Blocking:
    """Do the work and return; the coroutine that awaits it ends at its first `send(None)`."""

    blocking = True

    def now(self) -> float:
        return time.monotonic()

    async def send(self, request: HttpRequest, deadline: Deadline) -> HttpResponse:
        return await backends.send_blocking(request, deadline)

    async def sleep(self, seconds: float) -> None:
        while seconds > LONGEST_WAIT:
            time.sleep(LONGEST_WAIT)
            seconds -= LONGEST_WAIT
        time.sleep(seconds)

    async def run(self, function: Callable[..., T], /, *arguments: Any) -> T:
        return function(*arguments)

    async def wait(self, future: Future[T], deadline: Deadline) -> T:
        try:
            return future.result(timeout=max(0.0, deadline.remaining()))
        except TimeoutError:
            # The answer may have come at the last moment, or be a TimeoutError itself.
            if not future.cancel() and future.done():
                return future.result()
            raise deadline.passed() from None

    async def each(self, function: Callable[[S], Coroutine[Any, Any, T]], items: Iterable[S]) -> list[T]:
        return [await function(item) for item in items]
