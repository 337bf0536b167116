from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import pytest

from modelwrap.runtime.lock import Lock


def exit_code_of_child(child: Callable[[], bool]) -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(0 if child() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def taken_elsewhere(lock: threading.RLock) -> bool:
    """Tell whether another thread gets the lock."""
    taken: list[bool] = []

    def take() -> None:
        taken.append(lock.acquire(timeout=0.1))
        if taken == [True]:
            lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return taken == [True]


def test_threads_exclude_each_other() -> None:
    lock = Lock()
    inside: list[int] = []
    together: list[int] = []

    def enter(number: int) -> None:
        with lock:
            inside.append(number)
            together.append(len(inside))
            time.sleep(0.01)
            inside.remove(number)

    threads = [threading.Thread(target=enter, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert together == [1] * 4


def test_what_runs_within_a_thread_that_holds_it_may_take_it_too() -> None:
    lock = Lock()

    with lock:
        with lock:
            pass
        still_held = not taken_elsewhere(lock)

    assert still_held
    assert taken_elsewhere(lock)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_lock_that_another_thread_held_at_the_fork_is_free_in_the_child() -> None:
    lock = Lock()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)

    code = exit_code_of_child(lambda: taken_elsewhere(lock))
    done.set()
    thread.join()

    assert code == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_lock_that_the_forking_thread_held_is_still_its_own_in_the_child() -> None:
    lock = Lock()

    def child() -> bool:
        held = not taken_elsewhere(lock)
        lock.release()
        return held and taken_elsewhere(lock)

    with lock:
        code = exit_code_of_child(child)

    assert code == 0
