"""Work that a thread of its own does once for all who wait for it, as fetching a model is."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from modelwrap.errors import ConfigError, ModelwrapError, TimedOut
from modelwrap.local.progress import Progress, shown
from modelwrap.local.workers import fresh
from modelwrap.runtime.base import Deadline, Runtime
from modelwrap.runtime.lock import Lock

T = TypeVar("T")


class _GivenUp(Exception):
    """Nobody waited any more."""


class _Going(Generic[T]):
    """Be the work while it goes on."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.done: Future[T] = Future()
        # Whoever waits may leave, and must not take it along.
        self.done.set_running_or_notify_cancel()
        self.waiting = 0
        self.given_up = False


class Together(Generic[T]):
    """Do what takes long once for all who wait for it.

    Who is out of time leaves, and it goes on for whoever comes later. When the last who waits is interrupted or
    cancelled, it stops as soon as it tells how far it is, and is begun anew by the next.
    """

    def __init__(self, work: Callable[[Progress], T], name: str, *, patience: float = 0.0) -> None:
        """An interpreter that ends waits so many seconds for work that is in the midst of something."""
        self._work = work
        self._name = name
        self._patience = patience
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._lock = Lock()
        self._going: _Going[T] | None = None
        _all.add(self)

    async def wait(self, runtime: Runtime, deadline: Deadline) -> T:
        while True:
            going = self._joined()
            given_up = True
            try:
                return await runtime.wait(going.done, deadline)
            except _GivenUp:
                continue
            except TimedOut:
                given_up = False
                raise
            except ModelwrapError as error:
                raise fresh(error) from error.__cause__
            finally:
                self._leave(going, given_up=given_up)

    def close(self) -> None:
        """Stop it; who waits for it is told."""
        with self._lock:
            going, self._going = self._going, None
        # Of a forked child neither its thread is here nor who waits.
        if going is not None and going.pid == os.getpid():
            going.given_up = True
            going.done.set_exception(ConfigError(f"{self._name} was closed while it was being loaded"))

    def join(self) -> None:
        """Stop it, and wait a while for the end of its thread."""
        self.close()
        if self._thread is not None and self._pid == os.getpid():
            self._thread.join(self._patience)

    def _joined(self) -> _Going[T]:
        with self._lock:
            going = self._going
            if going is None or going.pid != os.getpid():
                going = self._going = _Going()
                name = f"modelwrap-{self._name}-loading"
                thread = threading.Thread(target=self._go, args=(going, self._thread), name=name, daemon=True)
                thread.start()
                self._thread, self._pid = thread, going.pid
            going.waiting += 1
            going.given_up = False
            return going

    def _leave(self, going: _Going[T], *, given_up: bool) -> None:
        with self._lock:
            going.waiting -= 1
            if given_up and not going.waiting:
                going.given_up = True

    def _go(self, going: _Going[T], before: threading.Thread | None) -> None:
        def told(done: int, total: int | None, what: str, /) -> None:
            if going.given_up:
                raise _GivenUp
            report(done, total, what)

        if before is not None:
            # What was closed in the midst of something has to come to its end.
            before.join()
        try:
            with shown(None) as report:
                result = self._work(told)
        except BaseException as error:  # nobody stands above this thread: whoever waits must hear of it
            if self._ended(going):
                going.done.set_exception(error)
        else:
            if self._ended(going):
                going.done.set_result(result)

    def _ended(self, going: _Going[T]) -> bool:
        """Tell whether it came to its end before it was closed."""
        with self._lock:
            if self._going is not going:
                return False
            self._going = None
            return True


_all: WeakSet[Together[Any]] = WeakSet()


@atexit.register
def _stop_all() -> None:
    """Let no thread be in the midst of a library when the interpreter takes that down."""
    for together in list(_all):
        together.join()
