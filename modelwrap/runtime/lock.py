"""Locks that a forked child never finds held by a thread that it does not have."""

from __future__ import annotations

import os
import threading
from weakref import WeakSet

_locks: WeakSet[threading.RLock] = WeakSet()


def Lock() -> threading.RLock:  # noqa: N802 - named as what it stands for in `threading`
    """Make a lock that its thread may take twice.

    Between any two steps of a thread that holds it, the garbage collector may close what nobody holds any more, or a
    signal may come; what runs then may need the same lock.
    """
    lock = threading.RLock()
    _locks.add(lock)
    return lock


def held_here(lock: threading.RLock) -> bool:
    """Tell whether this thread has a lock: then whoever asks runs in the midst of what the lock is held for."""
    held: bool = lock._is_owned()  # type: ignore[attr-defined]  # as threading.Condition asks it
    return held


def _free_those_of_others() -> None:
    for lock in _locks:
        if not held_here(lock):
            lock._at_fork_reinit()  # type: ignore[attr-defined]  # as the standard library's own locks are made anew


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_those_of_others)
