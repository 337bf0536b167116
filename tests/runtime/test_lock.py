from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from modelwrap.runtime import lock as lock_module
from modelwrap.runtime.lock import Lock


def test_threads_that_a_young_child_starts_at_once_exclude_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = Lock()
    inside: list[int] = []
    together: list[int] = []

    def made_slowly() -> threading.Lock:
        time.sleep(0.02)
        return threading.Lock()

    def enter(number: int) -> None:
        time.sleep(number * 0.005)
        with lock:
            inside.append(number)
            together.append(len(inside))
            time.sleep(0.02)
            inside.remove(number)

    lock.__enter__()  # by a thread that the child does not have
    monkeypatch.setattr(lock_module, "os", SimpleNamespace(getpid=lambda: -1))
    monkeypatch.setattr(lock_module, "threading", SimpleNamespace(Lock=made_slowly))
    threads = [threading.Thread(target=enter, args=[number], daemon=True) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(1)

    assert together == [1, 1, 1]
