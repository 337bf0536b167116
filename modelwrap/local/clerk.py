"""A thread for small errands, which anyone may give at any moment."""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections.abc import Callable
from itertools import count
from queue import Empty, SimpleQueue
from typing import TypeAlias

logger = logging.getLogger("modelwrap")

Errand: TypeAlias = Callable[[], object]


class Clerk:
    """Run errands one after another.

    To give one takes no lock that the same thread could hold: the collector of garbage may do it inside of anything.
    """

    def __init__(self, name: str) -> None:
        self._given: SimpleQueue[tuple[float, Errand] | None] = SimpleQueue()
        self._waiting: list[tuple[float, int, Errand]] = []
        self._numbers = count()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def do(self, errand: Errand, after: float = 0.0) -> None:
        self._given.put((time.monotonic() + after, errand))

    def dismiss(self) -> None:
        """Let the thread go; what waits for its time is not done any more."""
        self._given.put(None)

    def _work(self) -> None:
        while True:
            try:
                given = self._given.get(timeout=self._seconds_to_next())
            except Empty:
                self._run(heapq.heappop(self._waiting)[2])
                continue
            if given is None:
                return
            due, errand = given
            if due <= time.monotonic():
                self._run(errand)
            else:
                heapq.heappush(self._waiting, (due, next(self._numbers), errand))
            # A thread that waits for the next must not keep alive what this one holds.
            del given, errand

    def _seconds_to_next(self) -> float | None:
        return max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else None

    def _run(self, errand: Errand) -> None:
        try:
            errand()
        except Exception:  # the other errands must be run whatever becomes of one
            logger.exception("an errand failed")
