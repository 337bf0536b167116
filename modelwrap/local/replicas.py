"""A model on one or several devices, which is started when it is needed and survives a fork."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from weakref import WeakSet, finalize

from modelwrap.errors import WouldDeadlock
from modelwrap.local.dispatch import Dispatch
from modelwrap.local.engine import Feed
from modelwrap.local.turns import waiting_for
from modelwrap.local.work import Event, Job
from modelwrap.local.workers import Worker, worker_of_thread
from modelwrap.runtime.lock import Lock

logger = logging.getLogger("modelwrap")

PATIENCE = 10.0
"""For how many seconds a step is waited for that is still gone while everything ends."""


class Replicas:
    """Have jobs computed by workers, one for each device, all of which `make_worker` makes."""

    def __init__(self, make_worker: Callable[[str], Worker], devices: Sequence[str], name: str) -> None:
        self._make_worker = make_worker
        self._devices = list(devices)
        self._name = name
        self._lock = Lock()
        self._dispatch: Dispatch | None = None

    @property
    def devices(self) -> list[str]:
        with self._lock:
            return list(self._devices if self._dispatch is None else self._dispatch.devices)

    def submit(self, jobs: Sequence[Job], *, at_once: bool = True) -> Feed[list[Event]]:
        """Queue the jobs of one call. Their events come as they are made, or all together when the last is done.

        An event `Failed` ends the feed, and the other jobs of the call with it.
        """
        return self._from_outside().submit(jobs, at_once=at_once)

    def cancel(self, numbers: Iterable[int]) -> None:
        """Forget jobs; those that are done do not matter. Who abandons a feed need not call this."""
        self._begun().cancel(numbers)

    def load(self) -> None:
        """Start on every device, and wait until all are ready; raises what is in the way of the first that is not."""
        with self.loading() as ready:
            wait(ready)
        for future in ready:
            future.result()

    @contextmanager
    def loading(self) -> Iterator[list[Future[None]]]:
        """Start on every device, and promise of each that it will be ready; whoever waits for that does so inside."""
        dispatch = self._from_outside()
        with waiting_for(dispatch):
            yield dispatch.load()

    def add(self, device: str) -> None:
        """Start on another device, or on one a second time, and wait until that is ready."""
        dispatch = self._from_outside()
        with waiting_for(dispatch):
            dispatch.add(device).result()

    def remove(self, device: str | None = None) -> None:
        """Leave the device that was added last, there or anywhere, when what is computed on it is done."""
        self._from_outside().remove(device).result()

    def close(self) -> None:
        """Stop; what was not answered fails. The next call starts anew."""
        with self._lock:
            dispatch = self._dispatch
            self._forget()
        if dispatch is not None and dispatch.pid == os.getpid() and not dispatch.close(PATIENCE):
            logger.warning("%s: a step goes on after %g s, and is left behind", self._name, PATIENCE)

    def _from_outside(self) -> Dispatch:
        """Refuse to wait for what only the thread that would wait can do."""
        dispatch = self._begun()
        worker = worker_of_thread()
        if worker is not None and dispatch.runs_in(worker):
            raise WouldDeadlock(f"{self._name} is called in the thread that computes it")
        return dispatch

    def _begun(self) -> Dispatch:
        with self._lock:
            if self._dispatch is not None and self._dispatch.pid != os.getpid():
                self._forget()
            if self._dispatch is not None:
                return self._dispatch
            dispatch = Dispatch(self._make_worker, self._devices, self._name)
            _running.add(dispatch)
            # Who forgets a model without closing it leaves nothing behind.
            self._forgotten = finalize(self, dispatch.close_soon)
            self._forgotten.atexit = False
            self._dispatch = dispatch
            return dispatch

    def _forget(self) -> None:
        if self._dispatch is not None:
            self._devices = self._dispatch.devices
            self._dispatch = None
            self._forgotten.detach()


# Threads that still compute when the interpreter takes them down would take the process with them.
_running: WeakSet[Dispatch] = WeakSet()


@atexit.register
def _stop_all() -> None:
    for dispatch in list(_running):
        if dispatch.pid == os.getpid():
            dispatch.close(PATIENCE)
