"""Who computes what, in worlds where every message may be late: thousands of them, played by dice on one thread."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import cast

import pytest

from modelwrap.errors import ConfigError, ServerFailed
from modelwrap.local.clerk import Clerk
from modelwrap.local.dispatch import Dispatch
from modelwrap.local.engine import Feed
from modelwrap.local.work import Event, Failed, Finished, Job, Piece
from modelwrap.local.workers import Broke, Cancel, Gone, Message, Report, Stepped, Stop
from tests.local.fake_runner import told


class LateClerk:
    """Run errands when the dice say so."""

    def __init__(self) -> None:
        self.errands: deque[Callable[[], object]] = deque()

    def do(self, errand: Callable[[], object], after: float = 0.0) -> None:
        self.errands.append(errand)

    def dismiss(self) -> None:
        self.errands.clear()


class PlayedWorker:
    """Be a worker whose steps and reports happen when the dice say so."""

    def __init__(self, world: World, device: str) -> None:
        self.world = world
        self.device = device
        self.room = world.dice.randint(1, 5)
        self.inbox: deque[Message] = deque()
        self.pipe: deque[Report] = deque()
        self.rows: dict[int, tuple[Job, int]] = {}
        self.kept: dict[int, list[Event]] = {}
        self.begun = 0
        self.over = False
        self.loaded = False
        self.stillborn = world.dice.random() < world.deaths
        self.told = (0, 0, 0)

    def start(self, report: Callable[[Report], None]) -> None:
        self.report = report
        self.world.workers.append(self)

    def begin(self, job: Job) -> None:
        self.inbox.append(job)

    def cancel(self, number: int) -> None:
        self.inbox.append(Cancel(number))

    def share(self, devices: Sequence[str]) -> None:
        assert self.device in devices

    def stop(self) -> None:
        self.inbox.append(Stop())

    def join(self, timeout: float) -> bool:
        return True

    def act(self) -> None:
        if self.pipe and self.world.dice.random() < 0.6:
            self.report(self.pipe.popleft())
        elif not self.over:
            self.compute()

    def compute(self) -> None:
        if not self.loaded:
            self.load()
        elif self.inbox and self.world.dice.random() < 0.7:
            self.take(self.inbox.popleft())
        else:
            self.step()

    def load(self) -> None:
        if self.stillborn:
            self.end(Gone(ServerFailed("died", retryable=False), abrupt=True))
            return
        self.loaded = True
        self.tell([])

    def take(self, message: Message) -> None:
        if isinstance(message, Job):
            assert len(self.rows) < self.room, "more was sent than there is room for"
            assert list(message.done) == list(range(len(message.done)))
            self.begun += 1
            self.kept.pop(message.number, None)
            self.rows[message.number] = (message, len(message.done))
        elif isinstance(message, Cancel):
            self.rows.pop(message.number, None)
        else:
            assert not self.rows or self.world.closed
            self.end(Gone(None))
            return
        if self.world.dice.random() < 0.5:
            self.tell([])

    def step(self) -> None:
        if self.world.kills and self.world.dice.random() < self.world.kills:
            self.die()
            return
        events: list[Event] = []
        for number, (job, made) in list(self.rows.items()):
            if made == job.body.get("break_at"):
                self.break_down()
                return
            if made == job.body.get("fail_at"):
                del self.rows[number]
                events += [*self.kept.pop(number, []), Failed(number, ServerFailed("fails", retryable=False))]
            elif made == job.body["tokens"]:
                del self.rows[number]
                events += [*self.kept.pop(number, []), Finished(number)]
            else:
                self.rows[number] = (job, made + 1)
                events += self.said(job, made)
        if events or self.standing() != self.told:
            self.tell(events)

    def said(self, job: Job, made: int) -> list[Event]:
        """Tell a token, or keep it for a while where nobody reads along."""
        kept = self.kept.setdefault(job.number, [])
        kept.append(Piece(job.number, {"says": made}, (made,)))
        if len(kept) < job.body["told_after"]:
            return []
        return list(self.kept.pop(job.number))

    def break_down(self) -> None:
        if self.world.in_processes:
            self.die()
            return
        self.rows.clear()
        self.pipe.append(Broke(RuntimeError("breaks"), self.begun))
        self.tell([])

    def die(self) -> None:
        # What it wrote last may not have got through.
        while self.pipe and self.world.dice.random() < 0.5:
            self.pipe.pop()
        self.end(Gone(ServerFailed("breaks", retryable=False), abrupt=True))

    def end(self, gone: Gone) -> None:
        self.rows.clear()
        self.over = True
        self.pipe.append(gone)

    def tell(self, events: list[Event]) -> None:
        self.told = self.standing()
        self.pipe.append(Stepped(events, *self.told))

    def standing(self) -> tuple[int, int, int]:
        return self.begun, len(self.rows), self.room - len(self.rows)


@dataclass
class Asked:
    jobs: list[Job]
    feed: Feed[list[Event]]
    leaves: bool
    events: list[Event] = field(default_factory=list)
    left: bool = False

    @property
    def to_blame(self) -> bool:
        return any("break_at" in job.body or "fail_at" in job.body for job in self.jobs)


class World:
    """Be a dispatch, its workers and its callers."""

    def __init__(self, seed: int, *, in_processes: bool, deaths: float = 0.0, kills: float = 0.0) -> None:
        self.dice = random.Random(seed)
        self.in_processes = in_processes
        self.deaths, self.kills = deaths, kills
        self.closed = False
        # Whether there is mostly a queue, out of which many leave.
        self.crowded = seed % 2 == 0
        self.workers: list[PlayedWorker] = []
        self.calls: list[Asked] = []
        self.number = 0
        self.clerk = LateClerk()
        devices = ["a", "b"][: self.dice.randint(1, 2)]
        self.dispatch = Dispatch(lambda device: PlayedWorker(self, device), devices, "played")
        self.dispatch._clerk.dismiss()
        self.dispatch._clerk = cast("Clerk", self.clerk)
        self.awaited: list[Future[None]] = []

    def submit(self) -> None:
        jobs = []
        for _ in range(self.dice.choice([1, 1, 1, 2])):
            self.number += 1
            tokens = self.dice.choice([0, 1, 2, 3, 4, 12])
            how = self.dice.choice(["break_at", "break_at", "fail_at"])
            wrong = {how: self.dice.randrange(tokens + 1)} if self.dice.random() < 0.3 else {}
            jobs.append(Job(self.number, {"tokens": tokens, "told_after": self.dice.choice([1, 1, 3]), **wrong}))
        feed = self.dispatch.submit(jobs, at_once=self.dice.random() < 0.7)
        self.calls.append(Asked(jobs, feed, leaves=self.dice.random() < (0.6 if self.crowded else 0.2)))

    def resize(self) -> None:
        if len(self.dispatch.devices) < 3 and self.dice.random() < 0.5:
            self.awaited.append(self.dispatch.add("more"))
        elif len(self.dispatch.devices) > 1:
            self.awaited += [*self.dispatch.load(), self.dispatch.remove()]

    def leave(self) -> None:
        staying = [asked for asked in self.calls if asked.leaves and not asked.left]
        if staying:
            asked = self.dice.choice(staying)
            asked.left = True
            asked.feed.abandon()

    def turn(self) -> None:
        choice = self.dice.random() / (2 if self.crowded else 1)
        if choice < 0.06:
            self.submit()
        elif choice < 0.08:
            self.resize()
        elif choice < 0.11:
            self.leave()
        else:
            self.work()

    def work(self) -> bool:
        """Let someone do something; False where nobody has anything to do."""
        able = [worker for worker in self.workers if worker.pipe or not worker.over]
        if self.clerk.errands and self.dice.random() < 0.3:
            self.clerk.errands.popleft()()
        elif able:
            self.dice.choice(able).act()
        self.workers = [worker for worker in self.workers if worker.pipe or not worker.over]
        return bool(self.clerk.errands or any(worker.pipe or worker.inbox or worker.rows for worker in self.workers))

    def play(self, turns: int) -> None:
        for _ in range(turns):
            self.turn()
        self.kills = self.deaths = 0.0
        for _ in range(50_000):
            if not self.work() and not self.dispatch._tickets and all(future.done() for future in self.awaited):
                break
        assert all(future.done() for future in self.awaited), "somebody waits for ever"
        for asked in self.calls:
            asked.events += self.read(asked.feed)

    def read(self, feed: Feed[list[Event]]) -> list[Event]:
        events: list[Event] = []
        while True:
            promise = feed.next()
            assert promise.done(), "a caller waits for ever"
            some = promise.result()
            if some is None:
                return events
            events += some

    def check(self) -> None:
        for asked in self.calls:
            for job in asked.jobs:
                said = told([event for event in asked.events if event.number == job.number])
                assert said == list(range(len(said)))
            ends = [event for event in asked.events if not isinstance(event, Piece)]
            failed = [event for event in ends if isinstance(event, Failed)]
            assert len({event.number for event in ends}) == len(ends)
            if asked.left and len(ends) < len(asked.jobs):
                continue
            assert bool(failed) == asked.to_blame
            assert failed or len(ends) == len(asked.jobs)


def is_clean(dispatch: Dispatch) -> bool:
    busy = any(replica.inside or replica.broken or replica.tried for replica in dispatch._replicas)
    return not (dispatch._tickets or dispatch._queue or dispatch._suspects or busy)


@pytest.mark.parametrize("in_processes", [False, True], ids=["threads", "processes"])
def test_the_one_to_blame_fails_and_all_others_are_answered_once(in_processes: bool) -> None:
    for seed in range(150):
        world = World(seed, in_processes=in_processes)
        world.play(400)
        world.check()
        assert is_clean(world.dispatch), seed


def test_nobody_waits_for_ever_where_processes_are_killed_and_fail_to_start() -> None:
    for seed in range(150):
        world = World(seed, in_processes=True, deaths=0.3, kills=0.02)
        world.play(400)
        assert is_clean(world.dispatch), seed


def test_a_replica_that_cannot_be_started_is_not_kept() -> None:
    world = World(1, in_processes=True)
    before = world.dispatch.devices
    world.deaths = 1.0

    ready = world.dispatch.add("more")
    for _ in range(2000):
        world.work()

    assert isinstance(ready.exception(0), ServerFailed)
    assert world.dispatch.devices == before


def full(world: World) -> tuple[Dispatch, PlayedWorker]:
    """Give a dispatch whose one worker has one place, which job 1 has, while job 2 waits."""
    worker = PlayedWorker(world, "cpu")
    worker.room, worker.stillborn, worker.loaded = 1, False, True
    dispatch = Dispatch(lambda device: worker, ["cpu"], "full")
    dispatch.load()
    worker.report(Stepped([], 0, 0, 1))
    for number in (1, 2):
        dispatch.submit([Job(number, {"tokens": 9, "told_after": 1})], at_once=True)
    worker.take(worker.inbox.popleft())
    worker.report(Stepped([], 1, 1, 0))
    return dispatch, worker


def test_who_waits_is_sent_behind_the_word_that_frees_a_place() -> None:
    dispatch, worker = full(World(1, in_processes=False))

    dispatch.cancel([1])

    assert [message.number for message in worker.inbox if isinstance(message, Cancel | Job)] == [1, 2]
    assert [type(message) for message in worker.inbox] == [Cancel, Job]
    dispatch.close(0.0)


def test_a_place_that_its_job_left_by_itself_is_not_counted_twice() -> None:
    dispatch, worker = full(World(1, in_processes=False))
    dispatch.submit([Job(3, {})], at_once=True)

    dispatch.cancel([1])
    worker.report(Stepped([Finished(1)], 1, 0, 1))

    assert [type(message) for message in worker.inbox] == [Cancel, Job]
    dispatch.close(0.0)


def test_a_call_that_ends_for_its_sibling_frees_only_the_places_that_the_report_tells() -> None:
    worker = PlayedWorker(World(1, in_processes=False), "cpu")
    dispatch = Dispatch(lambda device: worker, ["cpu"], "full")
    dispatch.load()
    worker.report(Stepped([], 0, 0, 2))
    dispatch.submit([Job(1, {}), Job(2, {})], at_once=True)
    for number in (3, 4, 5):
        dispatch.submit([Job(number, {})], at_once=True)
    worker.inbox.clear()

    worker.report(Stepped([Failed(1, ServerFailed("fails")), Finished(2)], 2, 0, 2))

    assert [message.number for message in worker.inbox if isinstance(message, Job)] == [3, 4]
    dispatch.close(0.0)


def test_a_closed_dispatch_answers_all_who_wait_and_who_come_later() -> None:
    for seed in range(50):
        world = World(seed, in_processes=False)
        for _ in range(100):
            world.turn()
        loading = world.dispatch.load()

        world.closed = True
        world.dispatch.close(0.0)
        world.submit()

        assert all(future.done() for future in [*loading, *world.awaited])
        for asked in world.calls:
            world.read(asked.feed)
        with pytest.raises(ConfigError, match="closed"):
            world.dispatch.add("more")
