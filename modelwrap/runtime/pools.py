"""Who owns which connections: the threads of this process theirs, each event loop its own, a forked child none."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import AsyncGenerator, Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from modelwrap.errors import ConfigError
from modelwrap.runtime.base import Deadline, HttpResponse, next_or_none
from modelwrap.runtime.lock import Lock
from modelwrap.runtime.outgoing import Target
from modelwrap.wire.http import Connection, HttpRequest

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop


class BlockingPool(Protocol):
    """Hold the connections of threads to one origin."""

    async def send(self, request: HttpRequest, target: Target, deadline: Deadline) -> HttpResponse:
        """Send without ever suspending."""

    def tidy(self) -> None:
        """Close what has been idle for too long."""

    def retire(self) -> None:
        """Close what is idle now, and what is in use when its call ends."""

    def close(self) -> None:
        """Close everything."""


class LoopPool(Protocol):
    """Hold the connections of one event loop to one origin."""

    async def send(self, request: HttpRequest, target: Target, deadline: Deadline) -> HttpResponse: ...

    async def tidy(self) -> None: ...

    async def retire(self) -> None: ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Key:
    """Be what calls have in common that share connections."""

    origin: str
    connection: Connection


def running_loop() -> AbstractEventLoop:
    """Give the event loop of this thread; `ConfigError` where there is none, or one that is not asyncio's."""
    import asyncio  # blocking callers never pay for it

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigError(
            "the async methods of a model run on asyncio, and no asyncio loop runs in this thread; "
            "under trio call the blocking methods in a thread"
        ) from None


class Pools:
    """Own every open connection of this process: one table for threads, one for each event loop."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.blocking: dict[Key, BlockingPool] = {}
        self.loops: WeakKeyDictionary[AbstractEventLoop, dict[Key, LoopPool]] = WeakKeyDictionary()
        self.owners: WeakKeyDictionary[AbstractEventLoop, AsyncGenerator[None, None]] = WeakKeyDictionary()

    def for_thread(self, key: Key, make: Callable[[Key], BlockingPool]) -> BlockingPool:
        pool = self.blocking.get(key)
        if pool is None:
            with self.lock:
                pool = self.blocking.get(key)
                if pool is None:
                    # Whoever goes to many places comes back to few of them.
                    for other in list(self.blocking.values()):
                        other.tidy()
                    pool = self.blocking[key] = make(key)
        return pool

    async def for_loop(self, key: Key, make: Callable[[Key], LoopPool]) -> LoopPool:
        loop = running_loop()
        pools = self.loops.get(loop)
        if pools is None:
            with self.lock:
                for closed in [known for known in self.loops if known.is_closed()]:
                    # It ended without shutting its generators down, and its sockets with it.
                    self._forget(closed)
                pools = self.loops.setdefault(loop, {})
                # The loop closes its generators when it shuts down, and this one closes the loop's connections.
                self.owners[loop] = owner = self._own(loop, pools)
            # Begun by the loop itself: whoever asks may be cancelled now, or keep the loop from adopting generators.
            loop.call_soon(lambda: loop.create_task(next_or_none(owner)))
        pool = pools.get(key)
        if pool is None:
            pool = pools[key] = make(key)
            for other in list(pools.values()):
                await other.tidy()
        return pool

    async def _own(self, loop: AbstractEventLoop, pools: dict[Key, LoopPool]) -> AsyncGenerator[None, None]:
        import asyncio

        try:
            yield
        finally:
            with self.lock:
                self._forget(loop)
            for pool in pools.values():
                await pool.aclose()
            # A transport closes its socket when its loop comes round next, one under TLS a turn later.
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    def _forget(self, loop: AbstractEventLoop) -> None:
        self.loops.pop(loop, None)
        self.owners.pop(loop, None)

    def close_blocking(self) -> None:
        with self.lock:
            closing, self.blocking = self.blocking, {}
        for pool in closing.values():
            pool.close()

    def retire_blocking(self, origin: str) -> None:
        with self.lock:
            retired = [self.blocking.pop(key) for key in list(self.blocking) if key.origin == origin]
        for pool in retired:
            pool.retire()

    async def retire_of_loop(self, origin: str) -> None:
        pools = self.loops.get(running_loop(), {})
        retired = [pools.pop(key) for key in list(pools) if key.origin == origin]
        for pool in retired:
            await pool.retire()


_pools = Pools()
_left_to_the_parent: list[Hashable] = []


def current() -> Pools:
    return _pools


def _start_afresh() -> None:
    """Leave the parent's sockets alone in a forked child: two processes must not talk over one."""
    global _pools
    _left_to_the_parent.append(_pools)
    _pools = Pools()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)


@atexit.register
def _close_at_exit() -> None:
    """Close what nobody reads.

    A daemon thread whose connection went would write of it while Python ends, which may abort it.
    """
    if threading.active_count() == 1:
        _pools.close_blocking()
    for pool in list(_pools.blocking.values()):
        pool.retire()
