"""Work in threads of its own, and answers that callers of either colour can wait for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Feed(Generic[T]):
    """Hand pieces from the thread that makes them to the one caller who wants them, who asks for one at a time.

    There is no lock: the collector of garbage or a signal may run anything in the midst of each line, in either thread.
    """

    def __init__(self, on_abandon: Callable[[], None] | None = None) -> None:
        """Call `on_abandon` once if the caller leaves before the end.

        The collector of garbage may close a caller's stream at any moment, inside of any lock, so it must not wait.
        """
        self._on_abandon = on_abandon
        self._pieces: deque[T] = deque()
        self._waiting: deque[Future[T | None]] = deque()
        self._ended = False
        self._error: BaseException | None = None
        self.unwanted = False
        """Whether nobody will take another piece: whoever makes them should stop."""

    def put(self, piece: T) -> None:
        self._pieces.append(piece)
        self._match()

    def end(self, error: BaseException | None = None) -> None:
        """Say that no piece will follow, or why."""
        self._error = error
        self._ended = True
        self._match()

    def next(self) -> Future[T | None]:
        """Promise the next piece; None after the last."""
        promise: Future[T | None] = Future()
        self._waiting.append(promise)
        self._match()
        return promise

    def abandon(self) -> None:
        told, self.unwanted = self.unwanted, True
        if not (told or self._ended or self._on_abandon is None):
            self._on_abandon()

    def _match(self) -> None:
        """Bring together who waits and what there is; whoever takes the promise out of its place is alone with it."""
        while self._waiting and (self._pieces or self._ended):
            try:
                promise = self._waiting.popleft()
            except IndexError:
                return
            # Asked before the pieces are: none comes after the end.
            ended = self._ended
            if not (self._pieces or ended):
                self._waiting.append(promise)
            elif promise.set_running_or_notify_cancel():
                self._settle(promise)

    def _settle(self, promise: Future[T | None]) -> None:
        if self._pieces:
            promise.set_result(self._pieces.popleft())
        elif self._error is not None:
            promise.set_exception(self._error)
        else:
            promise.set_result(None)


class Crew:
    """Run jobs in a bounded number of daemon threads, first come, first served.

    They are daemons because an interpreter that ends must not wait for a model that talks.
    """

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._jobs: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._dismissed = False

    def submit(self, job: Callable[[], None]) -> bool:
        """Have a job done; False from a crew that was dismissed, which does no more."""
        with self._changed:
            if self._dismissed:
                return False
            self._jobs.append(job)
            if len(self._jobs) > self._idle and len(self._threads) < self._size:
                name = f"{self._name}-{len(self._threads)}"
                thread = threading.Thread(target=self._work, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()
            else:
                self._changed.notify()
            return True

    def release(self) -> None:
        """Let the threads go once they have done what was submitted before."""
        with self._changed:
            self._dismissed = True
            self._changed.notify_all()

    def dismiss(self) -> None:
        """Let the threads go, and wait until they have."""
        self.release()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (job := self._next_job()) is not None:
            job()
            # A thread that waits for the next must not keep alive what this one holds.
            del job

    def _next_job(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._jobs:
                if self._dismissed:
                    return None
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            return self._jobs.popleft()
