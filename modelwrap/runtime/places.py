"""How many calls at a time have a connection to one origin, and in which order the others wait."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Future

from modelwrap.runtime import failures
from modelwrap.runtime.base import Deadline
from modelwrap.runtime.lock import Lock

# A bound for the sockets' sake. Who wants fewer calls at once says so by a limit, not by a pool that runs dry.
MOST = 1000


class Places:
    """Hand out so many places, first come first served."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._most = self._free = MOST
        self._lock = Lock()
        self._waiting: deque[Future[None]] = deque()

    def take_blocking(self, deadline: Deadline) -> None:
        """Take a place, or wait for one until the deadline."""
        waiting = self._take()
        if waiting is None:
            return
        try:
            waiting.result(timeout=max(0.0, deadline.remaining()))
        except BaseException as error:
            self._turn_away(waiting)
            if isinstance(error, TimeoutError):
                raise failures.crowded(self._most, self._origin) from None
            raise

    async def take(self, deadline: Deadline) -> None:
        """Take a place, or await one until the deadline."""
        waiting = self._take()
        if waiting is None:
            return
        try:
            async with asyncio.timeout(max(0.0, deadline.remaining())):
                await asyncio.wrap_future(waiting)
        except BaseException as error:
            self._turn_away(waiting)
            if isinstance(error, TimeoutError):
                raise failures.crowded(self._most, self._origin) from None
            raise

    def leave(self) -> None:
        """Give the place to whoever waits longest."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._free += 1
                    return
                waiting = self._waiting.popleft()
            if waiting.set_running_or_notify_cancel():
                waiting.set_result(None)
                return

    def _take(self) -> Future[None] | None:
        waiting: Future[None] | None = None
        while True:
            with self._lock:
                if self._free:
                    self._free -= 1
                    return None
                if waiting is not None:
                    self._waiting.append(waiting)
                    return waiting
            # Made without the lock: whatever is made may have the garbage collector close a stream, and free a place.
            waiting = Future()

    def _turn_away(self, waiting: Future[None]) -> None:
        """Take somebody out of the queue; the place that came at the last moment goes on to the next."""
        if not waiting.cancel():
            self.leave()
