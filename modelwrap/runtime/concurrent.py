"""The colour of callers inside an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from typing import Any, TypeVar

from modelwrap.runtime import backends
from modelwrap.runtime.base import Deadline, HttpResponse
from modelwrap.runtime.pools import running_loop
from modelwrap.wire.http import HttpRequest

S = TypeVar("S")
T = TypeVar("T")


class Concurrent:
    """Await what takes time on the loop that runs in this thread."""

    blocking = False

    def now(self) -> float:
        return time.monotonic()

    async def send(self, request: HttpRequest, deadline: Deadline) -> HttpResponse:
        return await backends.send_concurrent(request, deadline)

    async def sleep(self, seconds: float) -> None:
        running_loop()
        await asyncio.sleep(seconds)

    async def run(self, function: Callable[..., T], /, *arguments: Any) -> T:
        running_loop()
        return await asyncio.to_thread(function, *arguments)

    async def wait(self, future: Future[T], deadline: Deadline) -> T:
        running_loop()
        waiter = asyncio.wrap_future(future)
        try:
            async with asyncio.timeout(max(0.0, deadline.remaining())):
                return await waiter
        except TimeoutError:
            # The answer may have come at the last moment, or be a TimeoutError itself.
            if future.done() and not future.cancelled():
                return future.result()
            raise deadline.passed() from None

    async def each(self, function: Callable[[S], Coroutine[Any, Any, T]], items: Iterable[S]) -> list[T]:
        running_loop()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(function(item)) for item in items]
        except BaseExceptionGroup as failed:
            first = failed.exceptions[0]
            raise first from first.__cause__
        return [task.result() for task in tasks]
