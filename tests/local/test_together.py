"""What one thread does for all who wait, some of whom leave."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from modelwrap import runtime as runtimes
from modelwrap.errors import TimedOut, WeightsUnavailable
from modelwrap.local.progress import Progress
from modelwrap.local.together import Together
from modelwrap.runtime.base import Deadline, run_sync
from tests.local.fake_runner import wait_until

pytestmark = pytest.mark.timeout(30)


class Slow:
    """Take until somebody says that it is enough, and tell meanwhile how far it is."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.enough = threading.Event()

    def __call__(self, progress: Progress) -> int:
        self.begun += 1
        try:
            while not self.enough.wait(0.002):
                progress(1, 2, "waiting")
            return self.begun
        finally:
            self.ended += 1


@pytest.fixture
def slow() -> Iterator[Slow]:
    slow = Slow()
    yield slow
    slow.enough.set()
    wait_until(lambda: slow.ended == slow.begun)


def blocking(together: Together[int], seconds: float = 10.0) -> int:
    return run_sync(together.wait(runtimes.of_thread(), Deadline(seconds)))


async def concurrent(together: Together[int], seconds: float = 10.0) -> int:
    return await together.wait(runtimes.of_loop(), Deadline(seconds))


def test_many_of_both_colours_wait_for_one(slow: Slow) -> None:
    together = Together(slow, "it")

    async def wait_for_all() -> list[int]:
        tasks = [asyncio.create_task(concurrent(together)) for _ in range(100)]
        await asyncio.sleep(0.01)
        slow.enough.set()
        return await asyncio.gather(*tasks)

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(blocking, together)
        wait_until(lambda: slow.begun == 1)
        threads = threading.active_count()
        answers = asyncio.run(wait_for_all())

        assert [*answers, other.result(10)] == [1] * 101
    assert threading.active_count() <= threads


def test_who_is_out_of_time_leaves_and_it_goes_on(slow: Slow) -> None:
    together = Together(slow, "it")

    for _ in range(3):
        with pytest.raises(TimedOut):
            blocking(together, 0.02)
    slow.enough.set()
    wait_until(lambda: slow.ended == 1)

    assert slow.begun == 1


def test_it_stops_when_the_last_who_waits_is_cancelled_and_begins_anew_with_the_next(slow: Slow) -> None:
    together = Together(slow, "it")

    async def cancel_both() -> int:
        tasks = [asyncio.create_task(concurrent(together)) for _ in range(2)]
        await asyncio.sleep(0.01)
        tasks[0].cancel()
        await asyncio.sleep(0.02)
        ended = slow.ended
        tasks[1].cancel()
        await asyncio.wait(tasks)
        return ended

    assert asyncio.run(cancel_both()) == 0
    wait_until(lambda: slow.ended == 1)
    slow.enough.set()
    assert blocking(together) == 2


def test_who_comes_before_it_has_stopped_is_answered_all_the_same() -> None:
    stopping, go_on = threading.Event(), threading.Event()
    begun: list[int] = []

    def work(progress: Progress) -> int:
        begun.append(1)
        if len(begun) == 1:
            stopping.wait(10)
            try:
                progress(1, 2, "waiting")
            finally:
                go_on.wait(10)
        return len(begun)

    together = Together(work, "it")

    async def cancel_and_come() -> int:
        task = asyncio.create_task(concurrent(together))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        stopping.set()
        await asyncio.sleep(0.02)
        newcomer = asyncio.create_task(concurrent(together))
        await asyncio.sleep(0.01)
        go_on.set()
        return await newcomer

    assert asyncio.run(cancel_and_come()) == 2


def test_who_waits_is_told_that_it_was_closed_and_the_next_waits_for_the_end_of_the_first(slow: Slow) -> None:
    together = Together(slow, "it")

    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(blocking, together) for _ in range(2)]
        wait_until(lambda: together._going is not None and together._going.waiting == 2)
        together.close()
        errors = [one.exception(10) for one in waiting]

    assert [str(error) for error in errors] == ["it was closed while it was being loaded"] * 2
    assert errors[0] is not errors[1]
    slow.enough.set()
    assert blocking(together) == 2
    assert slow.ended == 2


def test_each_who_waits_gets_an_error_of_its_own(slow: Slow) -> None:
    def fail(progress: Progress) -> int:
        slow(progress)
        raise WeightsUnavailable("nowhere") from OSError("no route")

    together = Together(fail, "it")
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(blocking, together) for _ in range(2)]
        wait_until(lambda: together._going is not None and together._going.waiting == 2)
        slow.enough.set()
        errors = [one.exception(10) for one in waiting]

    assert [(type(error), str(error), str(error and error.__cause__)) for error in errors] == [
        (WeightsUnavailable, "nowhere", "no route")
    ] * 2
    assert errors[0] is not errors[1]


def test_an_interpreter_ends_in_the_midst_of_it() -> None:
    script = """
import time
from modelwrap import runtime
from modelwrap.local.together import Together
from modelwrap.runtime.base import Deadline, run_sync
together = Together(lambda progress: time.sleep(60), "it")
try:
    run_sync(together.wait(runtime.of_thread(), Deadline(0.05)))
except Exception as error:
    print(type(error).__name__)
"""
    started = time.monotonic()

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=False)

    assert (ended.stdout, ended.stderr, ended.returncode) == ("TimedOut\n", "", 0)
    assert time.monotonic() - started < 10


def test_an_interpreter_that_ends_waits_for_what_is_inside_of_a_library() -> None:
    script = """
import time
from modelwrap import runtime
from modelwrap.local.together import Together
from modelwrap.runtime.base import Deadline, run_sync
def work(progress):
    time.sleep(0.2)
    print("ended")
try:
    run_sync(Together(work, "it", patience=10).wait(runtime.of_thread(), Deadline(0.05)))
except Exception as error:
    pass
"""

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=False)

    assert (ended.stdout, ended.stderr) == ("ended\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_begins_anew(slow: Slow) -> None:
    together = Together(slow, "it")
    with pytest.raises(TimedOut):
        blocking(together, 0.02)
    going = together._going
    assert going is not None

    held, free = threading.Event(), threading.Event()

    def look() -> None:
        with going.done._condition:
            held.set()
            free.wait(10)

    looking = threading.Thread(target=look)
    looking.start()
    held.wait(10)
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(20)
            together.join()
            slow.enough.set()
            os._exit(0 if blocking(together) == 2 else 1)
        finally:
            os._exit(2)
    free.set()
    looking.join()

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_closing_what_nobody_began_is_nothing() -> None:
    together = Together(lambda progress: 1, "it")

    together.close()

    assert blocking(together) == 1
