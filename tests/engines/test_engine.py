from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from functools import partial

import pytest

from modelwrap.local.engine import Crew, Feed


def test_a_feed_hands_on_what_came_before_it_was_asked_for() -> None:
    feed: Feed[int] = Feed()
    feed.put(1)
    feed.put(2)
    feed.end()

    pieces = [feed.next().result(0) for _ in range(4)]

    assert pieces == [1, 2, None, None]


def test_a_feed_answers_who_asked_before_it_came() -> None:
    feed: Feed[int] = Feed()

    first = feed.next()
    feed.put(1)
    second = feed.next()
    feed.end()

    assert (first.result(0), second.result(0)) == (1, None)


def test_a_feed_raises_what_went_wrong_after_all_that_came() -> None:
    feed: Feed[int] = Feed()
    feed.put(1)
    feed.end(KeyError("engine"))

    assert feed.next().result(0) == 1
    with pytest.raises(KeyError, match="engine"):
        feed.next().result(0)

    waiting: Feed[int] = Feed()
    promise = waiting.next()
    waiting.end(KeyError("engine"))
    with pytest.raises(KeyError, match="engine"):
        promise.result(0)


def test_a_piece_that_nobody_waits_for_any_more_is_kept_for_the_next_who_asks() -> None:
    feed: Feed[int] = Feed()
    feed.next().cancel()

    feed.put(1)

    assert feed.next().result(0) == 1


def test_the_end_reaches_who_asks_after_giving_up_once() -> None:
    feed: Feed[int] = Feed()
    feed.next().cancel()

    feed.end()

    assert feed.next().result(0) is None


@pytest.fixture
def hurried() -> Iterator[None]:
    """Let threads interrupt one another everywhere."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.timeout(60)
def test_no_piece_is_lost_between_two_threads(hurried: None) -> None:
    for _ in range(200):
        feed: Feed[int] = Feed()

        def make(feed: Feed[int] = feed) -> None:
            for piece in range(20):
                feed.put(piece)
            feed.end()

        thread = threading.Thread(target=make)
        thread.start()
        taken: list[int] = []
        while (piece := feed.next().result(10)) is not None:
            taken.append(piece)
        thread.join()

        assert taken == list(range(20))


def test_a_piece_may_be_put_in_the_midst_of_each_line_of_who_asks_for_it() -> None:
    lines = 0

    def ask(feed: Feed[int], at: int) -> None:
        """Put the one piece when so many lines of the engine have run, as a signal handler may."""
        nonlocal lines
        lines = 0

        def trace(frame: object, event: str, argument: object) -> object:
            nonlocal lines
            if event == "line" and "engine" in frame.f_code.co_filename:  # type: ignore[attr-defined]  # a frame
                lines += 1
                if lines == at:
                    sys.settrace(None)
                    feed.put(1)
                    feed.end()
            return trace

        earlier = sys.gettrace()
        sys.settrace(trace)  # type: ignore[arg-type]  # as above
        try:
            promise = feed.next()
        finally:
            sys.settrace(earlier)
        if lines < at:
            feed.put(1)
            feed.end()
        assert [promise.result(0), feed.next().result(0)] == [1, None]

    at = 0
    while at <= lines:
        at += 1
        ask(Feed(), at)
    assert at > 5


def test_a_crew_runs_as_many_jobs_at_once_as_it_has_hands() -> None:
    crew = Crew(2, "test")
    running, most = [0], [0]
    lock = threading.Lock()
    done: Feed[int] = Feed()

    def job() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.02)
        with lock:
            running[0] -= 1
        done.put(1)

    for _ in range(5):
        crew.submit(job)
    for _ in range(5):
        done.next().result(5)

    assert most == [2]
    crew.dismiss()


def test_a_dismissed_crew_finishes_what_it_was_given_and_leaves() -> None:
    crew = Crew(2, "leaving")
    done: list[int] = []

    for number in range(5):
        crew.submit(lambda number=number: done.append(number))  # type: ignore[misc]
    crew.dismiss()

    assert sorted(done) == [0, 1, 2, 3, 4]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("leaving")]


def test_a_crew_has_no_more_threads_than_jobs() -> None:
    crew = Crew(8, "few")

    crew.submit(lambda: None)
    named = [thread for thread in threading.enumerate() if thread.name.startswith("few")]

    assert len(named) <= 1
    crew.dismiss()


def test_a_dismissed_crew_takes_no_job_and_keeps_nobody_waiting() -> None:
    crew = Crew(2, "late")
    taken: list[bool] = []
    crew.submit(lambda: None)

    def submit_many() -> None:
        while not taken or taken[-1]:
            taken.append(crew.submit(lambda: None))

    late = threading.Thread(target=submit_many)
    late.start()
    leaving = [threading.Thread(target=crew.dismiss, daemon=True) for _ in range(3)]
    for thread in leaving:
        thread.start()
    for thread in (late, *leaving):
        thread.join(5)

    assert not taken[-1]
    assert not any(thread.is_alive() for thread in leaving)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("late")]


def test_a_hand_that_waits_keeps_nothing_of_the_job_it_did() -> None:
    class Held:
        pass

    crew = Crew(1, "holding")
    held = Held()
    gone = weakref.ref(held)
    done: Feed[int] = Feed()

    def job(held: Held) -> None:
        done.put(1)

    crew.submit(partial(job, held))
    del held
    done.next().result(5)
    deadline = time.monotonic() + 5
    while gone() is not None and time.monotonic() < deadline:
        time.sleep(0.005)

    assert gone() is None
    crew.dismiss()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_all_that_computes_is_imported_where_no_process_forks() -> None:
    script = (
        "import os; del os.fork, os.register_at_fork\n"
        "import modelwrap.local.llama_cpp, modelwrap.local.process_worker, modelwrap.local.replicas"
    )

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")
