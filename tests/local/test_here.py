"""A runner that computes in the threads of its callers."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from modelwrap.errors import ConfigError, ServerFailed, TimedOut, WouldDeadlock
from modelwrap.local.here import Here
from modelwrap.local.work import Event, Failed, Job
from modelwrap.runtime.base import Deadline
from tests.local.fake_runner import FakeRunner, job, read, told


def soon() -> Deadline:
    return Deadline(10)


def test_a_call_is_computed_in_its_own_thread() -> None:
    steps: list[str] = []

    class Watched(FakeRunner):
        def step(self) -> list[Event]:
            steps.append(threading.current_thread().name)
            return super().step()

    here = Here(Watched, "fake")

    answer = read(here.submit([job(3)], soon()))

    assert told(answer) == [0, 1, 2]
    assert set(steps) == {threading.current_thread().name}


def test_a_stream_is_computed_as_it_is_read_and_a_whole_answer_at_once() -> None:
    here = Here(FakeRunner, "fake")
    runner = here.runner
    assert isinstance(runner, FakeRunner)

    stream = here.submit([job(3)], soon())
    first = stream.next().result()
    steps = runner.steps
    rest = read(stream)
    whole = here.submit([job(3)], soon(), at_once=False).next().result()

    assert first is not None
    assert whole is not None
    assert (told(first), steps, told(rest)) == ([0], 1, [1, 2])
    assert told(whole) == [0, 1, 2]


def test_several_answers_go_one_after_another_where_there_is_room_for_one() -> None:
    here = Here(lambda: FakeRunner(batch_size=1), "fake")
    jobs = [job(2), job(3)]

    events = read(here.submit(jobs, soon(), at_once=False))

    assert told(events) == [0, 1, 0, 1, 2]


def test_one_failed_answer_ends_its_call() -> None:
    here = Here(FakeRunner, "fake")

    events = read(here.submit([job(9), job(5, fail_at=2), job(9)], soon()))

    assert isinstance(events[-1], Failed)
    assert not here.runner.busy


def test_what_goes_wrong_reaches_the_caller_as_it_is() -> None:
    here = Here(FakeRunner, "fake")

    with pytest.raises(RuntimeError, match="breaks at 1") as raised:
        read(here.submit([job(3, raise_at=1)], soon()))

    assert raised.traceback[-1].name == "_spoil"
    assert told(read(here.submit([job(1)], soon()))) == [0]


def test_a_call_that_takes_too_long_is_stopped() -> None:
    here = Here(lambda: FakeRunner(step=0.01), "fake")

    with pytest.raises(TimedOut):
        read(here.submit([job(10**9)], Deadline(0.05), at_once=False))

    assert not here.runner.busy


def test_calls_of_other_threads_wait_for_their_turn() -> None:
    here = Here(FakeRunner, "fake")
    runner = here.runner

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: told(read(here.submit([job(number)], soon()))), range(40)))

    assert answers == [list(range(number)) for number in range(40)]
    assert isinstance(runner, FakeRunner)
    assert runner.most == 1


def test_a_call_beside_an_open_stream_of_the_same_thread_is_refused() -> None:
    here = Here(FakeRunner, "fake")
    stream = here.submit([job(5)], soon())
    stream.next()

    with pytest.raises(WouldDeadlock, match="fake"):
        here.submit([job(1)], soon()).next()

    stream.abandon()
    assert told(read(here.submit([job(1)], soon()))) == [0]


def test_another_threads_stream_is_waited_for_no_longer_than_the_call_may_take() -> None:
    here = Here(FakeRunner, "fake")
    stream = here.submit([job(5)], soon())
    threading.Thread(target=stream.next).start()

    with pytest.raises(TimedOut):
        here.submit([job(1)], Deadline(0.05)).next()

    stream.abandon()


def test_a_stream_that_is_open_when_the_model_is_closed_fails_by_name() -> None:
    here = Here(FakeRunner, "fake")
    runner = here.runner
    stream = here.submit([job(5)], soon())
    stream.next()

    here.close()

    with pytest.raises(ServerFailed, match="closed"):
        stream.next()
    assert isinstance(runner, FakeRunner)
    assert runner.closed
    assert told(read(here.submit([job(1)], soon()))) == [0]


def test_a_model_that_cannot_be_made_leaves_the_turn_to_others() -> None:
    def make() -> FakeRunner:
        raise ServerFailed("no")

    here = Here(make, "fake")

    for _ in range(2):
        with pytest.raises(ServerFailed, match="no"):
            here.submit([Job(1, {})], soon()).next()


def test_what_makes_a_model_cannot_call_it() -> None:
    made: list[str] = []

    def make() -> FakeRunner:
        made.append("once")
        here.load()
        return FakeRunner()

    here = Here(make, "fake")

    with pytest.raises(WouldDeadlock, match="fake is called by what it is made of"):
        here.load()
    assert made == ["once"]


def test_a_model_is_not_freed_in_the_middle_of_a_step() -> None:
    stepping, go_on = threading.Event(), threading.Event()

    class Slow(FakeRunner):
        def step(self) -> list[Event]:
            stepping.set()
            go_on.wait(10)
            assert not self.closed
            return super().step()

    here = Here(Slow, "fake")
    runner = here.runner
    with ThreadPoolExecutor(1) as threads:
        caller = threads.submit(lambda: read(here.submit([job(3)], soon())))
        stepping.wait(10)

        here.close()
        go_on.set()

        with pytest.raises(ServerFailed, match="closed"):
            caller.result(10)
    assert isinstance(runner, Slow)
    assert runner.closed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_is_told_that_it_cannot_go_on() -> None:
    here = Here(FakeRunner, "fake")
    read(here.submit([job(1)], soon()))
    stream = here.submit([job(5)], soon())
    stream.next()

    pid = os.fork()
    if not pid:
        status = 1
        try:
            here.submit([job(1)], soon()).next()
        except ConfigError as error:
            status = 0 if "before the fork" in str(error) else 2
        finally:
            here.close()
            os._exit(status)

    assert os.waitpid(pid, 0)[1] == 0
    stream.abandon()
