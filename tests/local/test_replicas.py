"""A queue and those who take from it, with runners that count in place of models."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from modelwrap.errors import BadRequest, ConfigError, MissingPackage, ServerFailed, WouldDeadlock
from modelwrap.local import dispatch
from modelwrap.local.here import Here
from modelwrap.local.replicas import Replicas
from modelwrap.local.work import Event, Failed, Finished, Job, Piece, Runner
from modelwrap.local.workers import Gone, Report, Stepped, ThreadWorker
from tests.local.fake_runner import FakeRunner, job, read, told, wait_until


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("modelwrap-fake")]


class Fakes:
    """Make runners and the replicas that use them; all are gone at the end."""

    def __init__(self) -> None:
        self.runners: list[FakeRunner] = []
        self.replicas: list[Replicas] = []

    def __call__(self, *devices: str, make: Callable[[], Runner] | None = None, **settings: Any) -> Replicas:
        def make_runner() -> Runner:
            self.runners.append(FakeRunner(**settings))
            return self.runners[-1]

        def make_worker(device: str) -> ThreadWorker:
            return ThreadWorker(make or make_runner, f"modelwrap-fake-{device}")

        self.replicas.append(Replicas(make_worker, devices or ["cpu"], "fake"))
        return self.replicas[-1]


@pytest.fixture
def fakes() -> Iterator[Fakes]:
    fakes = Fakes()
    yield fakes
    for replicas in fakes.replicas:
        replicas.close()
    wait_until(lambda: not threads())
    assert all(runner.closed for runner in fakes.runners)


def test_answers_come_whole_and_in_order(fakes: Fakes) -> None:
    replicas = fakes()
    jobs = [job(tokens) for tokens in (5, 0, 3, 8, 1, 2, 9, 4)]

    answers = [read(feed) for feed in [replicas.submit([job]) for job in jobs]]

    assert [told(answer) for answer in answers] == [list(range(job.body["tokens"])) for job in jobs]
    assert [answer[-1] for answer in answers] == [Finished(job.number) for job in jobs]


def test_each_replica_is_told_of_all_that_come_and_go(fakes: Fakes) -> None:
    replicas = fakes("cpu", "cpu")
    replicas.load()
    wait_until(lambda: [runner.shared[-1:] for runner in fakes.runners] == [[("cpu", "cpu")]] * 2)

    replicas.add("cuda:0")
    wait_until(lambda: [runner.shared[-1:] for runner in fakes.runners] == [[("cpu", "cpu", "cuda:0")]] * 3)
    replicas.remove("cpu")

    wait_until(lambda: [runner.shared[-1] for runner in fakes.runners if not runner.closed] == [("cpu", "cuda:0")] * 2)


def test_who_does_not_stream_is_woken_once(fakes: Fakes) -> None:
    feed = fakes().submit([job(20)], at_once=False)

    first = feed.next().result(10)
    second = feed.next()

    assert first is not None
    assert told(first) == list(range(20))
    assert second.done()
    assert second.result() is None


def test_the_answers_of_one_call_come_in_one_feed(fakes: Fakes) -> None:
    jobs = [job(3), job(5)]

    events = read(fakes().submit(jobs))

    assert [told([event for event in events if event.number == job.number]) for job in jobs] == [
        [*range(3)],
        [*range(5)],
    ]


def test_a_newcomer_joins_at_the_next_step(fakes: Fakes) -> None:
    replicas = fakes(step=0.01)
    long = replicas.submit([job(1000)])
    long.next().result(10)
    begun = fakes.runners[0].steps

    newcomer = replicas.submit([job(1)])
    newcomer.next().result(10)

    assert fakes.runners[0].steps - begun <= 3
    assert fakes.runners[0].most == 2
    long.abandon()


def test_no_more_jobs_are_in_a_runner_than_it_has_room_for(fakes: Fakes) -> None:
    replicas = fakes(batch_size=3)

    answers = [read(feed) for feed in [replicas.submit([job(4)]) for _ in range(20)]]

    assert [told(answer) for answer in answers] == [[0, 1, 2, 3]] * 20
    assert fakes.runners[0].most == 3


def test_first_come_is_first_served(fakes: Fakes) -> None:
    replicas = fakes(batch_size=1, step=0.001)
    order: list[int] = []

    feeds = [replicas.submit([job(2)]) for _ in range(6)]
    readers = [threading.Thread(target=lambda n=n: (read(feeds[n]), order.append(n))) for n in range(6)]  # type: ignore[misc]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()

    assert order == [0, 1, 2, 3, 4, 5]


def test_a_job_goes_to_the_replica_that_is_free(fakes: Fakes) -> None:
    replicas = fakes("a", "b", batch_size=1, step=0.005)
    replicas.load()
    long = replicas.submit([job(1000)])
    long.next().result(10)

    short = [replicas.submit([job(1)]) for _ in range(3)]

    assert [told(read(feed)) for feed in short] == [[0]] * 3
    long.abandon()


def test_jobs_are_spread_over_replicas(fakes: Fakes) -> None:
    replicas = fakes("a", "b", step=0.005)
    replicas.load()

    feeds = [replicas.submit([job(20)]) for _ in range(4)]
    for feed in feeds:
        read(feed)

    assert [runner.most for runner in fakes.runners] == [2, 2]


def test_an_abandoned_job_stops_and_makes_room(fakes: Fakes) -> None:
    replicas = fakes(batch_size=1, step=0.001)
    running, queued = replicas.submit([job(10**9)]), replicas.submit([job(10**9)])
    running.next().result(10)

    queued.abandon()
    running.abandon()

    assert told(read(replicas.submit([job(2)]))) == [0, 1]
    assert not fakes.runners[0].rows


def test_a_stream_that_the_collector_closes_is_given_up(fakes: Fakes) -> None:
    replicas = fakes(step=0.001)

    class Reader:
        def __init__(self) -> None:
            self.feed = replicas.submit([job(10**9)])
            self.itself = self

        def __del__(self) -> None:
            self.feed.abandon()

    Reader().feed.next().result(10)
    gc.collect()

    wait_until(lambda: not fakes.runners[0].rows)


def test_a_cancelled_job_ends_the_wait_for_it(fakes: Fakes) -> None:
    replicas = fakes(step=0.001)
    endless = job(10**9)
    feed = replicas.submit([endless], at_once=False)
    beyond = 10**12

    replicas.cancel([endless.number, beyond])

    assert all(isinstance(event, Piece) for event in read(feed))


def test_what_a_runner_refuses_fails_alone(fakes: Fakes) -> None:
    replicas = fakes(step=0.001)
    beside = replicas.submit([job(30)])

    refused = read(replicas.submit([job(1, refuse="too hot")]))
    confused = read(replicas.submit([job(1, confuse="seed")]))
    failed = read(replicas.submit([job(5, fail_at=2)]))

    assert [type(events[-1]) for events in (refused, confused, failed)] == [Failed] * 3
    assert isinstance(error_of(refused), BadRequest)
    assert "KeyError: 'seed'" in str(error_of(confused))
    assert told(failed) == [0, 1]
    assert told(read(beside)) == list(range(30))


def error_of(events: list[Event]) -> Exception:
    assert isinstance(events[-1], Failed)
    return events[-1].error


def test_one_failed_answer_ends_its_call(fakes: Fakes) -> None:
    replicas = fakes(step=0.001)

    events = read(replicas.submit([job(10**9), job(5, fail_at=2), job(10**9)], at_once=False))

    assert str(error_of(events)) == "fails at 2"
    wait_until(lambda: not fakes.runners[0].rows)


@pytest.mark.parametrize("how", ["raise_at", "exit_at"])
def test_the_job_that_breaks_a_step_fails_alone_by_name(fakes: Fakes, how: str) -> None:
    replicas = fakes(batch_size=8, step=0.001)
    jobs = [job(12, **({how: 6} if number == 5 else {})) for number in range(8)]

    answers = [read(feed) for feed in [replicas.submit([job]) for job in jobs]]

    broken = answers.pop(5)
    assert [told(answer) for answer in answers] == [list(range(12))] * 7
    assert all(isinstance(answer[-1], Finished) for answer in answers)
    assert told(broken) == list(range(6))
    error = error_of(broken)
    assert isinstance(error, ServerFailed)
    assert not error.retryable
    assert {"raise_at": "RuntimeError: breaks at 6", "exit_at": "SystemExit: a hook leaves"}[how] in str(error)
    assert len(fakes.runners) == 1


def test_those_beside_the_job_that_breaks_a_step_do_not_wait_for_one_another(fakes: Fakes) -> None:
    replicas = fakes(batch_size=8, step=0.001)
    feeds = [replicas.submit([job(10**9, **({"raise_at": 6} if number == 5 else {}))]) for number in range(8)]
    broken = feeds.pop(5)

    assert isinstance(read(broken)[-1], Failed)

    for feed in feeds:
        said: list[int] = []
        while len(said) < 60:
            said += told(feed.next().result(10) or [])
        assert said == list(range(len(said)))
        feed.abandon()


def test_what_came_after_a_broken_step_waits_for_the_suspects(fakes: Fakes) -> None:
    replicas = fakes(batch_size=2, step=0.001)
    feeds = [replicas.submit([job(8, raise_at=4)]) for _ in range(4)]
    late = [replicas.submit([job(3)]) for _ in range(4)]

    assert all(isinstance(read(feed)[-1], Failed) for feed in feeds)
    assert [told(read(feed)) for feed in late] == [[0, 1, 2]] * 4


def test_a_runner_that_cannot_forget_is_made_anew(fakes: Fakes) -> None:
    class Stubborn(FakeRunner):
        def cancel(self, number: int) -> None:
            raise RuntimeError("no")

    made: list[FakeRunner] = []

    def make() -> FakeRunner:
        made.append(FakeRunner() if made else Stubborn())
        return made[-1]

    replicas = fakes(make=make)

    assert isinstance(read(replicas.submit([job(5, raise_at=2)]))[-1], Failed)
    assert told(read(replicas.submit([job(2)]))) == [0, 1]
    assert len(made) == 2


def test_why_a_model_cannot_be_loaded_reaches_every_caller(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def make() -> Runner:
        tries.append(1)
        if len(tries) < 3:
            raise MissingPackage("needs torch")
        return FakeRunner()

    replicas = fakes(make=make)
    feeds = [replicas.submit([job(1)]) for _ in range(5)]

    errors = [error_of(read(feed)) for feed in feeds]
    with pytest.raises(MissingPackage, match="needs torch"):
        replicas.load()

    assert [type(error) for error in errors] == [MissingPackage] * 5
    assert len({id(error) for error in errors}) == 5
    assert len(tries) == 2
    assert isinstance(error_of(read(replicas.submit([job(1)]))), MissingPackage)
    assert len(tries) == 2
    replicas.load()
    assert told(read(replicas.submit([job(1)]))) == [0]


def test_a_model_that_could_not_be_loaded_is_tried_again_after_a_rest(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_REST", 0.05)
    tries: list[int] = []

    def make() -> Runner:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("no memory")
        return FakeRunner()

    replicas = fakes(make=make)

    first = error_of(read(replicas.submit([job(1)])))

    assert isinstance(first, ConfigError)
    assert "OSError: no memory" in str(first)
    time.sleep(0.06)
    assert told(read(replicas.submit([job(1)]))) == [0]


def test_a_device_that_fails_leaves_the_work_to_the_others(fakes: Fakes) -> None:
    def make() -> Runner:
        if threading.current_thread().name.endswith("-bad"):
            raise ConfigError("no such device")
        return FakeRunner()

    replicas = fakes("good", "bad", make=make)

    assert told(read(replicas.submit([job(2)]))) == [0, 1]
    with pytest.raises(ConfigError, match="no such device"):
        replicas.load()
    assert told(read(replicas.submit([job(2)]))) == [0, 1]


def test_replicas_are_added_and_removed_while_they_serve(fakes: Fakes) -> None:
    replicas = fakes("a", batch_size=1, step=0.002)
    feeds = [replicas.submit([job(20)]) for _ in range(6)]

    replicas.add("b")
    replicas.add("c")
    listed = replicas.devices
    replicas.remove("b")
    replicas.remove()

    assert listed == ["a", "b", "c"]
    assert replicas.devices == ["a"]
    assert [told(read(feed)) for feed in feeds] == [list(range(20))] * 6
    wait_until(lambda: len(threads()) == 2)
    with pytest.raises(ConfigError, match="no replica on b; it has a"):
        replicas.remove("b")


def test_a_replica_that_cannot_be_started_is_not_added(fakes: Fakes) -> None:
    def make() -> Runner:
        if threading.current_thread().name.endswith("-bad"):
            raise ConfigError("no such device")
        return FakeRunner()

    replicas = fakes("a", make=make)

    with pytest.raises(ConfigError, match="no such device"):
        replicas.add("bad")

    assert replicas.devices == ["a"]


class Silent:
    """Be a worker that is never ready, and ends when it is told to, as a process that is killed while it loads."""

    def start(self, report: Callable[[Report], None]) -> None:
        self.report = report

    def begin(self, job: Job) -> None:
        pass

    def cancel(self, number: int) -> None:
        pass

    def share(self, devices: Sequence[str]) -> None:
        pass

    def stop(self) -> None:
        threading.Thread(target=self.report, args=(Gone(None),), daemon=True).start()

    def join(self, timeout: float) -> bool:
        return True


def test_nobody_waits_for_a_replica_that_was_removed_before_it_was_ready() -> None:
    replicas = Replicas(lambda device: Silent(), ["cpu"], "fake")
    loading = replicas._begun().load()
    replicas.remove()
    added = replicas._begun().add("more")
    replicas.remove()
    replicas.close()

    assert [ready.result(10) for ready in loading] == [None]
    with pytest.raises(ConfigError, match="fake on more was removed before it was ready"):
        added.result(10)


def test_a_runner_that_leaves_while_it_is_freed_is_gone_all_the_same(fakes: Fakes) -> None:
    class Leaving(FakeRunner):
        def close(self) -> None:
            super().close()
            sys.exit("a hook leaves")

    replicas = fakes(make=Leaving)
    replicas.load()

    replicas.remove()

    assert replicas.devices == []


def test_a_hook_that_leaves_while_a_job_begins_fails_that_job_alone(fakes: Fakes) -> None:
    class Leaving(FakeRunner):
        def begin(self, job: Job) -> None:
            if "leave" in job.body:
                sys.exit("a hook leaves")
            super().begin(job)

    made: list[Leaving] = []

    def make() -> Leaving:
        made.append(Leaving())
        return made[-1]

    replicas = fakes(make=make)
    other = replicas.submit([job(3)])

    error = error_of(read(replicas.submit([job(1, leave=True)])))

    assert "SystemExit: a hook leaves" in str(error)
    assert told(read(other)) == [0, 1, 2]
    assert len(made) == 1


def test_without_a_replica_a_call_fails_at_once(fakes: Fakes) -> None:
    replicas = fakes("a", step=0.005)
    running = replicas.submit([job(10)])
    running.next().result(10)
    removing = threading.Thread(target=replicas.remove)
    removing.start()
    wait_until(lambda: not replicas.devices)

    refused = error_of(read(replicas.submit([job(1)])))
    rest = read(running)
    removing.join(10)

    assert "no replica of fake is active" in str(refused)
    assert told(rest)[-1] == 9
    replicas.add("b")
    assert told(read(replicas.submit([job(1)]))) == [0]


def test_closing_ends_what_is_in_flight_by_name_and_leaves_no_thread(fakes: Fakes) -> None:
    replicas = fakes("a", "b", batch_size=1, step=0.001)
    feeds = [replicas.submit([job(10**9)], at_once=False) for _ in range(5)]
    promises = [feed.next() for feed in feeds]

    replicas.close()

    errors = [error_of(promise.result(10) or []) for promise in promises]
    assert all("closed" in str(error) for error in errors)
    wait_until(lambda: not threads())
    assert told(read(replicas.submit([job(1)]))) == [0]
    assert replicas.devices == ["a", "b"]


def test_who_forgets_a_model_leaves_no_thread() -> None:
    replicas = Replicas(lambda device: ThreadWorker(FakeRunner, "modelwrap-fake"), ["cpu"], "fake")
    read(replicas.submit([job(1)]))

    del replicas
    gc.collect()

    wait_until(lambda: not threads())


def test_a_call_in_the_thread_that_would_have_to_answer_it_is_refused(fakes: Fakes) -> None:
    class Curious(FakeRunner):
        def begin(self, job: Job) -> None:
            replicas.submit([job])

    replicas = fakes(make=Curious)

    error = error_of(read(replicas.submit([job(1)])))

    assert isinstance(error, WouldDeadlock)


@pytest.mark.parametrize("act", ["load", "add", "remove"])
def test_who_computes_does_not_wait_for_itself(fakes: Fakes, act: str) -> None:
    class Waiting(FakeRunner):
        def step(self) -> list[Event]:
            getattr(replicas, act)(*["more"] * (act == "add"))
            return super().step()

    replicas = fakes(make=Waiting)

    error = error_of(read(replicas.submit([job(1)])))

    assert "WouldDeadlock" in str(error) or isinstance(error, WouldDeadlock)


def test_a_model_that_loads_another_does_not_stand_in_its_way(fakes: Fakes) -> None:
    inner = fakes()

    def make() -> FakeRunner:
        inner.load()
        inner.add("more")
        return FakeRunner()

    outer = fakes(make=make)
    with ThreadPoolExecutor(2) as pool:
        loading = [pool.submit(replicas.load) for replicas in (outer, inner)]

        assert [future.result(10) for future in loading] == [None, None]
    assert inner.devices == ["cpu", "more"]


def test_what_is_told_to_stop_before_its_turn_to_load_is_not_loaded(fakes: Fakes) -> None:
    loads, go_on = threading.Event(), threading.Event()
    made: list[FakeRunner] = []

    def make() -> FakeRunner:
        loads.set()
        go_on.wait(10)
        made.append(FakeRunner())
        return made[-1]

    replicas = fakes("one", "two", "three", make=make)
    loading = replicas._begun().load()
    loads.wait(10)
    threading.Timer(0.1, go_on.set).start()

    replicas.close()

    assert all(isinstance(future.exception(10), ConfigError) for future in loading)
    wait_until(lambda: not threads())
    assert len(made) == 1


def test_many_tasks_wait_without_a_thread_each(fakes: Fakes) -> None:
    replicas = fakes(batch_size=64)

    async def ask() -> list[int]:
        feed = replicas.submit([job(3)])
        events: list[Event] = []
        while (some := await asyncio.wrap_future(feed.next())) is not None:
            events += some
        return told(events)

    async def ask_all() -> tuple[list[list[int]], int]:
        answers = await asyncio.gather(*[ask() for _ in range(500)])
        return answers, threading.active_count()

    before = threading.active_count()
    answers, after = asyncio.run(ask_all())

    assert answers == [[0, 1, 2]] * 500
    assert after <= before + 2


def test_pieces_that_only_tell_tokens_are_not_shown(fakes: Fakes) -> None:
    class Silent(FakeRunner):
        def step(self) -> list[Event]:
            return [
                Piece(event.number, {}, event.tokens) if isinstance(event, Piece) else event for event in super().step()
            ]

    replicas = fakes(make=Silent)

    events = read(replicas.submit([job(5, raise_at=3)]))

    assert told(events) == []
    assert "breaks at 3" in str(error_of(events))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_is_told_that_it_cannot_go_on(fakes: Fakes) -> None:
    replicas = fakes()
    read(replicas.submit([job(1)]))

    pid = os.fork()
    if pid == 0:
        try:
            error = error_of(read(replicas.submit([job(1)])))
            os._exit(0 if isinstance(error, ConfigError) and "spawn" in str(error) else 1)
        finally:
            os._exit(2)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert code == 0
    assert told(read(replicas.submit([job(1)]))) == [0]


def test_an_interpreter_ends_with_work_in_flight() -> None:
    script = """
from modelwrap.local.here import Here
from modelwrap.local.replicas import Replicas
from modelwrap.local.workers import ThreadWorker
from tests.local.fake_runner import FakeRunner, job
replicas = Replicas(lambda device: ThreadWorker(lambda: FakeRunner(step=0.05), "busy"), ["cpu"], "fake")
feeds = [replicas.submit([job(10**9)]) for _ in range(8)]
feeds[0].next().result(10)
"""
    started = time.monotonic()

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert time.monotonic() - started < 10


def test_an_error_holds_nothing_of_what_was_computed(fakes: Fakes, caplog: pytest.LogCaptureFixture) -> None:
    # A record of the log, which pytest keeps, would hold the frames of the error.
    caplog.set_level(logging.INFO, "modelwrap")

    class Tensor:
        pass

    held: list[weakref.ref[Tensor]] = []

    class Broken(FakeRunner):
        def step(self) -> list[Event]:
            tensor = Tensor()
            held.append(weakref.ref(tensor))
            try:
                raise MemoryError("inner")
            except MemoryError as error:
                raise RuntimeError("out of memory") from error

    error = error_of(read(fakes(make=Broken).submit([job(1)])))
    gc.collect()

    assert "out of memory" in str(error)
    assert held
    assert [reference() for reference in held] == [None] * len(held)


def test_a_runner_that_is_busy_with_nothing_is_made_anew(fakes: Fakes) -> None:
    class Restless(FakeRunner):
        @property
        def busy(self) -> bool:
            return self.begun_one

        begun_one = False

        def begin(self, job: Job) -> None:
            self.begun_one = True
            super().begin(job)

        def close(self) -> None:
            raise RuntimeError("cannot be closed")

    made: list[FakeRunner] = []

    def make() -> FakeRunner:
        made.append(FakeRunner() if made else Restless())
        return made[-1]

    replicas = fakes(make=make)

    assert "breaks at 2" in str(error_of(read(replicas.submit([job(5, raise_at=2)]))))
    assert told(read(replicas.submit([job(2)]))) == [0, 1]
    assert len(made) == 2


def test_an_interrupt_in_a_worker_reaches_the_main_thread() -> None:
    script = """
import time
from modelwrap.local.here import Here
from modelwrap.local.replicas import Replicas
from modelwrap.local.workers import ThreadWorker
from tests.local.fake_runner import FakeRunner, job
class Interrupted(FakeRunner):
    def step(self):
        raise KeyboardInterrupt
replicas = Replicas(lambda device: ThreadWorker(Interrupted, "fake"), ["cpu"], "fake")
replicas.submit([job(1)])
try:
    for _ in range(1000):
        time.sleep(0.01)
except KeyboardInterrupt:
    print("interrupted")
"""

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=False)

    assert ended.stdout == "interrupted\n"


def test_callers_of_both_colours_are_served_together(fakes: Fakes) -> None:
    replicas = fakes("a", "b")

    def ask(number: int) -> list[int]:
        return told(read(replicas.submit([job(number % 7)], at_once=number % 2 == 0)))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(200)))

    assert answers == [list(range(number % 7)) for number in range(200)]


def test_nobody_is_blamed_for_a_job_that_was_given_up_beside_it(fakes: Fakes) -> None:
    met, go_on = threading.Event(), threading.Event()

    class Slow(FakeRunner):
        def step(self) -> list[Event]:
            bad = [row for row in self.rows.values() if "bad" in row.body]
            if bad and len(self.rows) == 2:
                met.set()
                go_on.wait(10)
                raise RuntimeError("breaks with two")
            return super().step()

    held = threading.Event()
    replicas = fakes(make=lambda: held.wait(10) and Slow())
    guilty, innocent = job(10**9, bad=1), job(5)
    # Three of which one is to blame, so that the guilty one and the innocent are tried together.
    feeds = [replicas.submit([asked]) for asked in (guilty, innocent, job(0, raise_at=0))]
    held.set()
    met.wait(10)

    feeds[0].abandon()
    time.sleep(0.02)
    go_on.set()

    assert told(read(feeds[1])) == list(range(5))


class Interrupting(Silent):
    """Be a worker whose `begin`, which the engine calls in the midst of its books, does what a finalizer may do."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act
        self.met: list[BaseException] = []

    def start(self, report: Callable[[Report], None]) -> None:
        super().start(report)
        threading.Thread(target=report, args=(Stepped([], 0, 0, 1),), daemon=True).start()

    def begin(self, job: Job) -> None:
        try:
            self.act()
        except WouldDeadlock as error:
            self.met.append(error)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("act", ["submit", "load", "add", "remove"])
def test_what_is_asked_of_a_model_in_the_midst_of_its_own_books_is_refused(act: str) -> None:
    arguments: dict[str, list[Any]] = {"submit": [[job(1)]], "load": [], "add": ["more"], "remove": []}
    worker = Interrupting(lambda: getattr(replicas, act)(*arguments[act]))
    replicas = Replicas(lambda device: worker, ["cpu"], "fake")
    replicas.load()

    replicas.submit([job(1)])

    assert [str(error) for error in worker.met] == [
        "fake is called by a finalizer or a signal, in the midst of another call of it"
    ]
    replicas.close()


@pytest.mark.timeout(10)
def test_a_model_that_is_closed_in_the_midst_of_its_own_books_is_closed_behind_them() -> None:
    worker = Interrupting(lambda: replicas.close())
    replicas = Replicas(lambda device: worker, ["cpu"], "fake")
    replicas.load()

    feed = replicas.submit([job(1)])

    assert "closed" in str(error_of(read(feed)))
    assert not worker.met


@pytest.mark.timeout(10)
def test_a_job_that_is_cancelled_in_the_midst_of_the_books_is_forgotten_behind_them() -> None:
    asked = job(1)
    worker = Interrupting(lambda: replicas.cancel([asked.number]))
    replicas = Replicas(lambda device: worker, ["cpu"], "fake")
    replicas.load()

    assert read(replicas.submit([asked])) == []

    replicas.close()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("number", [2, 3])
def test_models_that_load_one_another_are_told_so_by_name(number: int) -> None:
    """Each waits for the next, and the last for the first."""
    ring: list[Replicas] = []

    def make_of(place: int) -> Callable[[], Runner]:
        def make() -> Runner:
            ring[(place + 1) % number].load()
            return FakeRunner()

        return make

    for place in range(number):
        make = make_of(place)
        ring.append(Replicas(lambda device, make=make: ThreadWorker(make, "ring"), ["cpu"], "abc"[place]))  # type: ignore[misc]

    with pytest.raises(WouldDeadlock) as told:
        ring[0].load()

    ways = {2: ["b → a → b"], 3: ["c → a → b → c"]}[number]
    assert any(way in str(told.value) for way in ways)
    for replicas in ring:
        replicas.close()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("first", ["here", "thread"])
def test_a_model_in_its_callers_thread_and_one_that_loads_it_are_told_so_too(first: str) -> None:
    def outer() -> Runner:
        replicas.load()
        return FakeRunner()

    def inner() -> Runner:
        here.load()
        return FakeRunner()

    here = Here(outer, "here")
    replicas = Replicas(lambda device: ThreadWorker(inner, "ring"), ["cpu"], "thread")

    with pytest.raises(WouldDeadlock, match="here|thread"):
        (here if first == "here" else replicas).load()

    replicas.close()


@pytest.mark.timeout(20)
def test_two_that_load_the_same_third_stand_in_nobodys_way(fakes: Fakes) -> None:
    third = fakes()

    def make() -> FakeRunner:
        third.load()
        return FakeRunner()

    with ThreadPoolExecutor(2) as pool:
        loading = [pool.submit(replicas.load) for replicas in (fakes(make=make), fakes(make=make))]

        assert [future.result(10) for future in loading] == [None, None]


@pytest.mark.timeout(20)
def test_a_model_may_be_made_of_several_that_are_loaded_at_once(fakes: Fakes) -> None:
    parts = [fakes(make=lambda: time.sleep(0.02) or FakeRunner()) for _ in range(4)]  # type: ignore[func-returns-value]

    async def wait_for(part: Replicas) -> None:
        with part.loading() as loading:
            for ready in loading:
                await asyncio.wrap_future(ready)

    async def wait_for_all() -> None:
        await asyncio.gather(*map(wait_for, parts))

    def make() -> FakeRunner:
        asyncio.run(wait_for_all())
        return FakeRunner()

    fakes(make=make).load()

    assert [part._begun()._replicas[0].ready for part in parts] == [True] * 4
