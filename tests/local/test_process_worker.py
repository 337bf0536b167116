"""Computing in processes of their own, which may die at any moment."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelwrap.errors import BadRequest, ConfigError, ServerFailed
from modelwrap.local import dispatch
from modelwrap.local.messages import Recipe
from modelwrap.local.process_worker import ProcessWorker
from modelwrap.local.replicas import Replicas
from modelwrap.local.work import Event, Failed, Finished, Piece
from modelwrap.secrets import Secret
from tests.local.fake_runner import job, processes, read, told, wait_until

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="what is open is counted by /proc"),
]


def children() -> list[int]:
    """Give the processes that this one has started and that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("modelwrap-fake")]


def pipes() -> int:
    def is_pipe(entry: Path) -> bool:
        try:
            return str(entry.readlink()).startswith("pipe:")
        except OSError:
            return False

    return sum(map(is_pipe, Path("/proc/self/fd").iterdir()))


Make = Callable[..., Replicas]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Make replicas whose workers are processes; neither they nor their pipes nor threads are there at the end."""
    monkeypatch.setattr(dispatch, "_FIRST_PAUSE", 0.01)
    before, open_before = children(), pipes()
    made: list[Replicas] = []

    def make(*devices: str, **settings: Any) -> Replicas:
        made.append(Replicas(processes(**settings), devices or ["cpu"], "fake"))
        return made[-1]

    yield make
    for replicas in made:
        replicas.close()
    wait_until(lambda: not threads())
    wait_until(lambda: children() == before)
    assert pipes() == open_before


def error_of(events: list[Event]) -> Exception:
    assert isinstance(events[-1], Failed)
    return events[-1].error


@pytest.fixture
def worker_pid(make: Make) -> Callable[[], int]:
    before = children()
    return lambda: next(pid for pid in children() if pid not in before)


def test_a_process_is_told_of_all_replicas_before_it_computes(make: Make) -> None:
    replicas = make("cpu", "cuda:0")

    event = read(replicas.submit([job(1, tell_share=True)]))[0]

    assert isinstance(event, Piece)
    assert event.data["shared"] == ["cpu", "cuda:0"]


def test_a_process_answers_as_a_thread_does(make: Make) -> None:
    replicas = make()
    jobs = [job(tokens) for tokens in (5, 0, 3, 8, 1, 2)]

    answers = [read(feed) for feed in [replicas.submit([job]) for job in jobs]]
    refused = error_of(read(replicas.submit([job(1, refuse="too hot")])))
    unsent = error_of(read(replicas.submit([job(1, odd={1, 2})])))

    assert [told(answer) for answer in answers] == [list(range(job.body["tokens"])) for job in jobs]
    assert isinstance(refused, BadRequest)
    assert (str(refused), refused.sent) == ("refuses too hot", False)
    assert isinstance(unsent, BadRequest)
    assert "a set is nothing that can be sent" in str(unsent)


def test_an_answer_goes_on_where_its_process_was_killed(make: Make, worker_pid: Callable[[], int]) -> None:
    replicas = make(step=0.002)
    feeds = [replicas.submit([job(60)]) for _ in range(4)]
    starts = [feed.next().result(20) for feed in feeds]

    os.kill(worker_pid(), signal.SIGKILL)

    answers = [[*(start or []), *read(feed)] for start, feed in zip(starts, feeds, strict=True)]
    assert [told(answer) for answer in answers] == [list(range(60))] * 4
    assert all(isinstance(answer[-1], Finished) for answer in answers)


@pytest.mark.parametrize(
    "how, said",
    [
        ({"die_at": 3}, "killed by SIGKILL"),
        ({"garbage_at": 3}, "no report"),
        ({"raise_at": 3}, "RuntimeError: breaks at 3"),
        ({"exit_at": 3}, "SystemExit: a hook leaves"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_the_job_that_ends_its_process_fails_alone_by_name(make: Make, how: dict[str, Any], said: str) -> None:
    replicas = make(step=0.002)
    feeds = [replicas.submit([job(8, **(how if number == 2 else {}))]) for number in range(4)]

    answers = [read(feed) for feed in feeds]

    broken = answers.pop(2)
    assert [told(answer) for answer in answers] == [list(range(8))] * 3
    assert told(broken) == [0, 1, 2]
    error = error_of(broken)
    assert isinstance(error, ServerFailed)
    assert not error.retryable
    assert said in str(error)
    assert "computed alone, the request fails again" in str(error)


def test_why_a_process_cannot_load_reaches_every_caller(make: Make) -> None:
    replicas = make(unloadable="pip install something")

    errors = [error_of(read(feed)) for feed in [replicas.submit([job(1)]) for _ in range(3)]]

    assert [(type(error), str(error)) for error in errors] == [(ConfigError, "pip install something")] * 3
    with pytest.raises(ConfigError, match="pip install something"):
        replicas.load()


def test_a_process_that_dies_while_it_loads_is_started_a_few_times_only(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    replicas = make(exit=3)

    with caplog.at_level(logging.DEBUG, logger="modelwrap"):
        error = error_of(read(replicas.submit([job(1)])))

    assert "ended with status 3" in str(error)
    assert "its last words: loading on cpu | this machine is too small" in str(error)
    assert caplog.text.count("this machine is too small") == 3


def test_secrets_of_a_recipe_show_nowhere(
    make: Make, worker_pid: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    token = "hf_abcdefghijklmnop"
    caplog.set_level(logging.DEBUG, logger="modelwrap")
    replicas = make(token=Secret(token))
    replicas.load()

    arguments = Path(f"/proc/{worker_pid()}/cmdline").read_text()
    told = error_of(read(make(raises=f"no entry for {token}", token=Secret(token)).submit([job(1)])))

    assert token not in arguments
    assert token not in str(told)
    assert "no entry for ***" in str(told)
    assert token not in caplog.text


def test_a_process_ends_when_its_parent_is_killed() -> None:
    script = """
import os, time
from modelwrap.local.messages import Recipe
from modelwrap.local.process_worker import ProcessWorker
from modelwrap.local.replicas import Replicas
from tests.local.fake_runner import job, processes
replicas = Replicas(processes(step=0.2), ["cpu"], "fake")
feed = replicas.submit([job(10**9)])
feed.next().result(20)
print(replicas._dispatch._replicas[0].worker._process.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent, parent.stdout:
        child = int(parent.stdout.readline())

        parent.kill()

    wait_until(lambda: not Path(f"/proc/{child}").exists() or "Z" in state_of(child))


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_a_forked_child_has_processes_of_its_own_and_holds_none_of_its_parents(
    make: Make, worker_pid: Callable[[], int]
) -> None:
    script = """
import os, signal, sys, time
from modelwrap.local.messages import Recipe
from modelwrap.local.process_worker import ProcessWorker
from modelwrap.local.replicas import Replicas
from tests.local.fake_runner import job, processes, read, told
replicas = Replicas(processes(), ["cpu"], "fake")
assert told(read(replicas.submit([job(2)]))) == [0, 1]
worker = replicas._dispatch._replicas[0].worker._process.pid
if (pid := os.fork()) == 0:
    good = told(read(replicas.submit([job(3)]))) == [0, 1, 2]
    replicas.close()
    print("good" if good else "bad", flush=True)
    time.sleep(60)
sys.stdin.readline()
print(worker, pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    parent = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    assert parent.stdin is not None
    with parent.stdin, parent.stdout:
        assert parent.stdout.readline() == "good\n"
        parent.stdin.write("go on\n")
        parent.stdin.flush()
        worker, forked = map(int, parent.stdout.readline().split())
        parent.wait()

    try:
        wait_until(lambda: state_of(worker) == "Z")
    finally:
        os.kill(forked, signal.SIGKILL)


def test_closing_ends_a_process_that_does_not_listen(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelwrap.local.process_worker._GRACE", 0.1)
    replicas = make(loading=60.0)
    feed = replicas.submit([job(1)])
    wait_until(lambda: len(children()) > 0)
    started = time.monotonic()

    replicas.close()

    assert time.monotonic() - started < 5
    assert "closed" in str(error_of(read(feed)))


def test_an_interpreter_that_ends_takes_its_processes_along() -> None:
    script = """
from modelwrap.local.messages import Recipe
from modelwrap.local.process_worker import ProcessWorker
from modelwrap.local.replicas import Replicas
from tests.local.fake_runner import job, processes
replicas = Replicas(processes(step=0.01), ["cpu"], "fake")
feeds = [replicas.submit([job(10**9)]) for _ in range(8)]
feeds[0].next().result(20)
print(replicas._dispatch._replicas[0].worker._process.pid, flush=True)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert not Path(f"/proc/{int(ended.stdout)}").exists()


def test_a_recipe_that_cannot_be_sent_is_refused_in_words(make: Make) -> None:
    replicas = make(odd={1, 2})

    error = error_of(read(replicas.submit([job(1)])))

    assert isinstance(error, ConfigError)
    assert "a set is nothing that can be sent" in str(error)


def test_a_process_that_cannot_be_started_says_why(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.local.fake_runner.program", lambda: ["/nowhere/python"])

    error = error_of(read(make().submit([job(1)])))

    assert isinstance(error, ConfigError)
    assert "no process can be started" in str(error)


def test_an_unknown_kind_of_recipe_is_refused() -> None:
    replicas = Replicas(lambda device: ProcessWorker(Recipe("strange", {}, device), "modelwrap-fake"), ["cpu"], "fake")

    error = error_of(read(replicas.submit([job(1)])))

    replicas.close()
    assert isinstance(error, ConfigError)
    assert "'strange' is no kind of model" in str(error)
