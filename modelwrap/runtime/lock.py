"""A lock that a forked child never finds held by a thread that it does not have."""

from __future__ import annotations

import os
import threading
from types import TracebackType


class Lock:
    def __init__(self) -> None:
        self._by_process: dict[int, threading.Lock] = {}

    def __enter__(self) -> None:
        process = os.getpid()
        # In one step, because threads of a young child may come here at the same time.
        lock = self._by_process.get(process) or self._by_process.setdefault(process, threading.Lock())
        lock.acquire()
        self._held = lock

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._held.release()
