"""Many calls at once while everything goes wrong that can: each is answered once, or fails by name."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from modelwrap.local import dispatch
from modelwrap.local.dispatch import Dispatch
from modelwrap.local.engine import Feed
from modelwrap.local.replicas import Replicas
from modelwrap.local.work import Event, Failed, Finished, Job
from modelwrap.local.workers import ThreadWorker
from tests.local.fake_runner import FakeRunner, job, processes, told, wait_until

WRONGS = ["raise_at", "exit_at", "fail_at", "refuse", "confuse"]


@dataclass
class Asked:
    """Be a call, and what is to become of it."""

    jobs: list[Job]
    at_once: bool
    leaves_after: int | None
    """After how many pieces its caller goes away."""
    events: list[Event] = field(default_factory=list)

    @property
    def wrongs(self) -> list[str]:
        return [name for each in self.jobs for name in each.body if name != "tokens"]

    def outcome(self) -> str:
        """Say what became of it; an assertion fails where that is not what had to."""
        said = {
            each.number: told([event for event in self.events if event.number == each.number]) for each in self.jobs
        }
        assert all(pieces == list(range(len(pieces))) for pieces in said.values())
        ends = [event for event in self.events if isinstance(event, (Finished, Failed))]
        assert len({event.number for event in ends}) == len(ends)
        failed = [event for event in ends if isinstance(event, Failed)]
        if self.leaves_after is not None and len(ends) < len(self.jobs) and not failed:
            return "left"
        if failed:
            assert self.wrongs
            assert str(failed[0].error)
            assert self.events[-1] is failed[0]
            return "failed"
        assert not self.wrongs
        assert len(ends) == len(self.jobs)
        assert all(len(said[each.number]) == each.body["tokens"] for each in self.jobs)
        return "answered"


def random_call(dice: random.Random, wrongs: list[str]) -> Asked:
    jobs = []
    for _ in range(dice.choice([1, 1, 1, 1, 2, 3])):
        tokens = dice.randrange(24)
        wrong = {dice.choice(wrongs): dice.randrange(tokens + 1)} if dice.random() < 0.06 else {}
        jobs.append(job(tokens, **wrong))
    leaves_after = dice.randrange(6) if dice.random() < 0.15 else None
    return Asked(jobs, dice.random() < 0.5, leaves_after)


def ask(replicas: Replicas, asked: Asked) -> None:
    feed = replicas.submit(asked.jobs, at_once=asked.at_once)
    try:
        while not leaves(asked) and (some := feed.next().result(60)) is not None:
            asked.events += some
    finally:
        feed.abandon()


async def ask_in_loop(replicas: Replicas, asked: Asked, free: asyncio.Semaphore) -> None:
    async with free:
        feed: Feed[list[Event]] = replicas.submit(asked.jobs, at_once=asked.at_once)
        try:
            while not leaves(asked):
                some = await asyncio.wait_for(asyncio.wrap_future(feed.next()), 60)
                if some is None:
                    break
                asked.events += some
        finally:
            feed.abandon()


def leaves(asked: Asked) -> bool:
    return asked.leaves_after is not None and len(asked.events) >= asked.leaves_after


@contextmanager
def replicas_coming_and_going(replicas: Replicas, dice: random.Random) -> Iterator[Counter[str]]:
    done: Counter[str] = Counter()
    over = threading.Event()

    def change() -> None:
        while not over.is_set():
            if len(replicas.devices) < 4 and dice.random() < 0.6:
                replicas.add(f"d{dice.randrange(100)}")
                done["added"] += 1
            elif len(replicas.devices) > 1:
                replicas.remove()
                done["removed"] += 1
            over.wait(dice.random() * 0.01)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join(60)
        assert not thread.is_alive()


def storm(replicas: Replicas, number: int, seed: int, wrongs: list[str]) -> tuple[Counter[str], Counter[str]]:
    """Make so many calls in both colours, and count what became of them and of the replicas."""
    dice = random.Random(seed)
    calls = [random_call(dice, wrongs) for _ in range(number)]
    in_threads, in_loop = calls[::2], calls[1::2]

    async def ask_all() -> None:
        free = asyncio.Semaphore(64)
        await asyncio.gather(*[ask_in_loop(replicas, asked, free) for asked in in_loop])

    with replicas_coming_and_going(replicas, dice) as changed, ThreadPoolExecutor(17) as threads:
        looping = threads.submit(asyncio.run, ask_all())
        list(threads.map(lambda asked: ask(replicas, asked), in_threads))
        looping.result(120)
    return Counter(asked.outcome() for asked in calls), changed


def nothing_left(replicas: Replicas) -> None:
    """Wait until the engine knows no job any more."""
    engine = replicas._dispatch
    assert isinstance(engine, Dispatch)
    wait_until(lambda: not (engine._tickets or engine._queue or engine._suspects))
    wait_until(lambda: not any(replica.inside or replica.broken for replica in engine._replicas))


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let threads interrupt one another everywhere."""
    monkeypatch.setattr(dispatch, "_FIRST_PAUSE", 0.01)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def test_a_thousand_calls_in_threads_are_answered_once_or_fail_by_name() -> None:
    runners: list[FakeRunner] = []

    def make() -> FakeRunner:
        runners.append(FakeRunner())
        return runners[-1]

    replicas = Replicas(lambda device: ThreadWorker(make, f"modelwrap-fake-{device}"), ["a", "b"], "fake")

    outcomes, changed = storm(replicas, 1000, 20261120, WRONGS)

    nothing_left(replicas)
    replicas.close()
    assert outcomes.total() == 1000
    assert min(outcomes[end] for end in ("answered", "failed", "left")) > 30
    assert min(changed["added"], changed["removed"]) > 2
    wait_until(lambda: all(runner.closed for runner in runners))
    assert not [row for runner in runners[:-1] for row in runner.rows]


@pytest.mark.timeout(90)
def test_calls_in_processes_are_answered_once_or_fail_by_name() -> None:
    replicas = Replicas(processes(), ["a", "b"], "fake")

    outcomes, _ = storm(replicas, 200, 1, ["fail_at", "refuse", "die_at"])

    nothing_left(replicas)
    replicas.close()
    assert outcomes.total() == 200
    assert min(outcomes[end] for end in ("answered", "failed", "left")) > 5


@pytest.mark.prove
@pytest.mark.timeout(600)
@pytest.mark.parametrize("where", ["threads", "processes"])
def test_many_storms_leave_nothing_behind(where: str) -> None:
    calls = 2000 if where == "threads" else 300
    in_threads = where == "threads"
    workers = (lambda device: ThreadWorker(FakeRunner, f"modelwrap-fake-{device}")) if in_threads else processes()
    wrongs = WRONGS if in_threads else ["fail_at", "refuse", "die_at", "garbage_at"]
    replicas = Replicas(workers, ["a", "b"], "fake")
    outcomes: Counter[str] = Counter()
    taken: list[int] = []
    tracemalloc.start()

    for seed in range(12):
        outcomes += storm(replicas, calls, seed, wrongs)[0]
        nothing_left(replicas)
        gc.collect()
        taken.append(tracemalloc.get_traced_memory()[0])

    tracemalloc.stop()
    replicas.close()
    assert outcomes.total() == 12 * calls
    assert max(taken[6:]) < max(taken[:6]) + 200_000
