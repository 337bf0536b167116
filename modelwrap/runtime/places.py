"""How many calls at a time have a connection to one origin, and in which order the others wait."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Generic, TypeVar
from weakref import ref

from modelwrap.runtime import failures
from modelwrap.runtime.base import Deadline
from modelwrap.runtime.lock import Lock

# A bound for the sockets' sake. Who wants fewer calls at once says so by a limit, not by a pool that runs dry.
MOST = 1000


L = TypeVar("L")


class Place(Generic[L]):
    """Be what a call holds while it has a connection."""

    line: L | None = None
    """The connection, where its client leaves it to us."""


class Places(Generic[L]):
    """Hand out so many places, first come first served.

    A place that nobody holds any more is free, whether or not its holder came to say so: a signal may end a call
    between any two steps, also between those that take a place or give it back.
    """

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._most = MOST
        self._lock = Lock()
        self._held: set[ref[Place[L]]] = set()
        # What is built in has no steps between which a signal could come.
        self._forget = self._held.discard
        self._waiting: OrderedDict[Future[Place[L]], None] = OrderedDict()

    @property
    def empty(self) -> bool:
        """Whether nobody has a place, and nobody waits for one."""
        return not (self._held or self._waiting)

    def held(self) -> list[Place[L]]:
        """Give the places that are taken."""
        return [place for entry in list(self._held) if (place := entry()) is not None]

    def take_blocking(self, deadline: Deadline) -> Place[L]:
        """Take a place, or wait for one until the deadline."""
        place = self._free()
        if place is not None:
            return place
        waiting = self._queue()
        try:
            return waiting.result(timeout=max(0.0, deadline.remaining()))
        except BaseException as error:
            self._turn_away(waiting)
            if isinstance(error, TimeoutError):
                raise failures.crowded(self._most, self._origin) from None
            raise

    async def take(self, deadline: Deadline) -> Place[L]:
        """Take a place, or await one until the deadline."""
        place = self._free()
        if place is not None:
            return place
        waiting = self._queue()
        try:
            async with asyncio.timeout(max(0.0, deadline.remaining())):
                return await asyncio.wrap_future(waiting)
        except BaseException as error:
            self._turn_away(waiting)
            if isinstance(error, TimeoutError):
                raise failures.crowded(self._most, self._origin) from None
            raise

    def leave(self, place: Place[L]) -> None:
        """Give a place to whoever waits longest; it may have been given back before."""
        self._forget(ref(place))
        self._let_in()

    def _free(self) -> Place[L] | None:
        """Take a place that nobody has."""
        place: Place[L] = Place()
        with self._lock:
            if len(self._held) < self._most:
                self._held.add(ref(place, self._forget))
                return place
        return None

    def _queue(self) -> Future[Place[L]]:
        waiting: Future[Place[L]] = Future()
        self._waiting[waiting] = None
        # One may have become free since it was looked for.
        self._let_in()
        return waiting

    def _let_in(self) -> None:
        while self._waiting and self._lets_one_in():
            pass

    def _lets_one_in(self) -> bool:
        """Give one free place to whoever waits longest, and tell whether there was one."""
        place = self._free()
        if place is not None:
            # Where nobody takes it, it is lost at the end of this function, and free again.
            with suppress(KeyError, InvalidStateError):
                waiting, _ = self._waiting.popitem(last=False)
                waiting.set_result(place)
        return place is not None

    def _turn_away(self, waiting: Future[Place[L]]) -> None:
        """Take somebody out of the queue; the place that came at the last moment goes on to the next."""
        self._waiting.pop(waiting, None)
        if not waiting.cancel():
            self.leave(waiting.result())
