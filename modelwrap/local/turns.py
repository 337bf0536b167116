"""Who loads a model, and who waits for one: one at a time, and never for one another."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from modelwrap.errors import WouldDeadlock
from modelwrap.runtime.lock import Lock


class Loadable(Protocol):
    """Be a model that others may wait for until it is loaded."""

    @property
    def name(self) -> str: ...

    def runs_in(self, maker: object) -> bool:
        """Tell whether `maker` is, or is a part of, what loads it."""


class _Making:
    """Be the loading of one model, while it lasts."""

    def __init__(self, maker: object) -> None:
        self.maker = maker
        self.lasts = True


class _Thread(threading.local):
    def __init__(self) -> None:
        self.has_turn = False
        self.waits = 0
        """For how many models it waits: tasks of one thread do so beside one another."""


# What is loaded here, each by the one before. Threads and tasks that are begun meanwhile belong to it.
_makings: ContextVar[tuple[_Making, ...]] = ContextVar("makings", default=())
_this_thread = _Thread()
_turn = threading.Lock()
_books = Lock()
_waits: list[tuple[object, Loadable]] = []


@contextmanager
def making(maker: object) -> Iterator[None]:
    """Load a model here."""
    this = _Making(maker)
    earlier = _makings.set((*_makings.get(), this))
    try:
        yield
    finally:
        this.lasts = False
        _makings.reset(earlier)


def _makers() -> list[object]:
    return [making.maker for making in _makings.get() if making.lasts]


@contextmanager
def making_alone(maker: object) -> Iterator[None]:
    """Load a model in this thread while no other does: libraries change settings of the whole process meanwhile."""
    with _turn:
        _this_thread.has_turn = True
        try:
            with making(maker):
                yield
        finally:
            _this_thread.has_turn = False


@contextmanager
def waiting_for(model: Loadable) -> Iterator[None]:
    """Wait for a model where another may be loaded, which lets that be loaded meanwhile.

    `WouldDeadlock` where that waits for what is loaded here.
    """
    makers = _makers()
    waits = [(maker, model) for maker in makers]
    with _books:
        if (way := _way_back(makers, model)) is not None:
            raise WouldDeadlock(f"these load one another, so that none is ever there: {' → '.join([way[-1], *way])}")
        _waits.extend(waits)
    _step_aside()
    try:
        yield
    finally:
        _step_back()
        with _books:
            for wait in waits:
                _waits.remove(wait)


def _way_back(makers: list[object], model: Loadable, *passed: Loadable) -> list[str] | None:
    """Give the names of those who wait for one another, from one model to what is loaded here; None if it is not so."""
    if any(map(model.runs_in, makers)):
        return [model.name]
    for maker, other in _waits:
        onwards = model.runs_in(maker) and other not in passed
        if onwards and (way := _way_back(makers, other, model, *passed)) is not None:
            return [model.name, *way]
    return None


def _step_aside() -> None:
    if _this_thread.has_turn and not _this_thread.waits:
        _turn.release()
    _this_thread.waits += 1


def _step_back() -> None:
    _this_thread.waits -= 1
    if _this_thread.has_turn and not _this_thread.waits:
        _turn.acquire()
