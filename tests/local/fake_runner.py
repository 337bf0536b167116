"""A runner without a model: it counts. What a job's body asks for goes wrong at the token that it names."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

from modelwrap.errors import BadRequest, ConfigError, ServerFailed
from modelwrap.local.child import KINDS, main
from modelwrap.local.engine import Feed
from modelwrap.local.messages import Recipe
from modelwrap.local.process_worker import ProcessWorker
from modelwrap.local.work import Event, Failed, Finished, Job, Piece

numbers = count(1)


def job(tokens: int, **body: Any) -> Job:
    """Ask for an answer that counts to `tokens`."""
    return Job(next(numbers), {"tokens": tokens, **body})


def told(events: Iterable[Event]) -> list[int]:
    """Give what the pieces of an answer say."""
    return [event.data["says"] for event in events if isinstance(event, Piece)]


def read(feed: Feed[list[Event]]) -> list[Event]:
    events: list[Event] = []
    while (some := feed.next().result(10)) is not None:
        events += some
    return events


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


class Row:
    def __init__(self, job: Job) -> None:
        self.number = job.number
        self.body = job.body
        self.made = len(job.done)
        assert list(job.done) == list(range(self.made))


class FakeRunner:
    def __init__(self, *, batch_size: int = 4, step: float = 0.0) -> None:
        self._batch_size = batch_size
        self._seconds = step
        self.rows: dict[int, Row] = {}
        self.steps = 0
        self.most = 0
        self.closed = False
        self.shared: list[tuple[str, ...]] = []

    @property
    def room(self) -> int:
        return self._batch_size - len(self.rows)

    @property
    def busy(self) -> bool:
        return bool(self.rows)

    def begin(self, job: Job) -> None:
        assert self.room > 0
        assert job.number not in self.rows
        if "refuse" in job.body:
            raise BadRequest(f"refuses {job.body['refuse']}", sent=False)
        if "confuse" in job.body:
            raise KeyError(job.body["confuse"])
        self.rows[job.number] = Row(job)
        self.most = max(self.most, len(self.rows))

    def cancel(self, number: int) -> None:
        self.rows.pop(number, None)

    def step(self) -> list[Event]:
        self.steps += 1
        time.sleep(self._seconds)
        events: list[Event] = []
        for row in list(self.rows.values()):
            self._spoil(row)
            events += self._one(row)
        return events

    def share(self, devices: Sequence[str]) -> None:
        self.shared.append(tuple(devices))

    def close(self) -> None:
        self.closed = True

    def _one(self, row: Row) -> list[Event]:
        if row.body.get("fail_at") == row.made:
            del self.rows[row.number]
            return [Failed(row.number, ServerFailed(f"fails at {row.made}", retryable=False))]
        if row.made == row.body["tokens"]:
            del self.rows[row.number]
            return [Finished(row.number)]
        row.made += 1
        shared = {"shared": list(self.shared[-1])} if "tell_share" in row.body else {}
        return [Piece(row.number, {"says": row.made - 1, **shared}, (row.made - 1,))]

    def _spoil(self, row: Row) -> None:
        if row.body.get("raise_at") == row.made:
            raise RuntimeError(f"breaks at {row.made}")
        if row.body.get("exit_at") == row.made:
            sys.exit("a hook leaves")
        if row.body.get("die_at") == row.made:
            os.kill(os.getpid(), signal.SIGKILL)
        if row.body.get("garbage_at") == row.made:
            write_garbage()


def write_garbage() -> None:
    """Write into every pipe that this process can write to, but its stdin, stdout and stderr."""
    for handle in range(3, 32):
        with suppress(OSError):
            if stat.S_ISFIFO(os.fstat(handle).st_mode):
                os.write(handle, b"no report\n")


def make(settings: dict[str, Any], device: str) -> FakeRunner:
    """Make the runner of a recipe, which may say what goes wrong before there is one."""
    print(f"loading on {device}")
    if "exit" in settings:
        print("this machine is too small", file=sys.stderr)
        os._exit(settings["exit"])
    if "unloadable" in settings:
        raise ConfigError(settings["unloadable"])
    if "raises" in settings:
        raise OSError(settings["raises"])
    time.sleep(settings.get("loading", 0.0))
    return FakeRunner(batch_size=settings.get("batch_size", 4), step=settings.get("step", 0.0))


def program() -> list[str]:
    start = f"import sys; sys.path[:] = {sys.path!r}; from tests.local.fake_runner import run; run()"
    return [sys.executable, "-P", "-c", start]


def run() -> None:
    KINDS["fake"] = "tests.local.fake_runner:make"
    main()


def processes(**settings: Any) -> Callable[[str], ProcessWorker]:
    """Give what makes a worker in a process for a device."""
    return lambda device: ProcessWorker(Recipe("fake", settings, device), f"modelwrap-fake-{device}", program)
