from __future__ import annotations

import gc
import logging
import threading
import time
import weakref

import pytest

from modelwrap.local.clerk import Clerk
from tests.local.fake_runner import wait_until


def test_errands_are_run_in_their_order_and_at_their_time() -> None:
    clerk = Clerk("clerk-of-test")
    done: list[str] = []

    clerk.do(lambda: done.append("later"), after=0.05)
    clerk.do(lambda: done.append("soon"), after=0.02)
    clerk.do(lambda: done.append("first"))
    clerk.do(lambda: done.append("second"))

    wait_until(lambda: len(done) == 4)
    assert done == ["first", "second", "soon", "later"]
    clerk.dismiss()


def test_an_errand_that_fails_is_told_and_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    clerk = Clerk("clerk-of-test")
    done = threading.Event()

    clerk.do(lambda: {}["missing"])
    clerk.do(done.set)

    assert done.wait(10)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "KeyError: 'missing'" in caplog.text
    clerk.dismiss()


def test_a_dismissed_clerk_leaves_and_forgets_what_it_was_to_do() -> None:
    clerk = Clerk("clerk-that-leaves")
    done: list[int] = []

    clerk.do(lambda: done.append(1), after=0.02)
    clerk.dismiss()

    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "clerk-that-leaves"])
    time.sleep(0.03)
    assert not done


def test_a_clerk_that_waits_keeps_nothing_of_the_errand_before() -> None:
    class Held:
        def run(self) -> None:
            pass

    clerk = Clerk("clerk-of-test")
    held = Held()
    gone = weakref.ref(held)

    clerk.do(held.run)
    del held
    gc.collect()

    wait_until(lambda: gone() is None)
    clerk.dismiss()
