"""One row of the table, tried on one column, and everything in which it falls short."""

from __future__ import annotations

import base64
import functools
import gc
import json
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from modelwrap.testing import FaultServer
from modelwrap.testing.faults import Seen
from modelwrap.testing.faults.answers import TEXT
from tests.faults.columns import KEY, Client, Column, Failure, Outcome, Settings

ROOT = Path(__file__).parents[2]

SLACK = 1.0
"""How much later than its deadline a call may end."""

LONGEST_MESSAGE = 2600
"""Two kilobytes of a body, and some words of one's own."""

Fetch = Callable[[], tuple[str, float]]

_SETTINGS = {one.name for one in fields(Settings)} - {"url"} | {"credential"}
_FORMS = (KEY, quote(KEY, safe=""), base64.b64encode(KEY.encode()).decode().rstrip("="), KEY[3:])


@dataclass(frozen=True)
class Short:
    """Say one thing in which a row falls short."""

    words: str
    common: bool = False
    """Whether every row asks it of its errors, so that it says little about this one."""

    def __str__(self) -> str:
        return self.words


class Case:
    """Drive one column through a row, and look at what the server saw."""

    def __init__(self, column: Column) -> None:
        self.column = column
        self.server = FaultServer()
        self.shorts: list[Short] = []
        self._clients: list[Client] = []
        self._faults: dict[str, None] = {}

    # What a row does.

    def client(self, fault: str, *, times: int | None = None, **given: Any) -> Client:
        """Make a client of a fault's URL; what is no setting is an option of the fault."""
        settings, options = self._split(given)
        self._faults[fault] = None
        return self.client_at(self.server.url(fault, times=times, **options), **settings)

    def client_at(self, url: str, *, credential: Fetch | None = None, **settings: Any) -> Client:
        """Make a client of any URL; `credential` fetches tokens."""
        known = Settings(url, **settings)
        column = self.column
        client = column.client_with_credential(known, credential) if credential else column.client(known)
        self._clients.append(client)
        return client

    def ask(
        self, fault: str, *, times: int | None = None, stream: bool = False, call: Any = None, **given: Any
    ) -> Tried:
        """Ask a new client once; `call` holds parameters of the call."""
        settings, _ = self._split(given)
        client = self.client(fault, times=times, **given)
        return self.ask_again(client, fault, stream=stream, total=settings.get("total", 3.0), **(call or {}))

    def ask_again(self, client: Client, fault: str, *, total: float = 3.0, stream: bool = False, **call: Any) -> Tried:
        before = self.server.seen(fault)
        with self._guard(total):
            outcome = client.ask(stream=stream, **call)
        tried = Tried(self, fault, outcome, self.server.seen(fault), before, total)
        tried.look_at_common()
        return tried

    def in_child(self, *asks: dict[str, Any]) -> list[tuple[str, Outcome]]:
        """Ask in a process of its own, and measure by how much its memory grows."""
        known = []
        for given in asks:
            settings, options = self._split({name: value for name, value in given.items() if name not in _CHILD})
            url = self.server.url(given["fault"], **options)
            known.append({"settings": {"url": url, **_PATIENT, **settings}, "stream": given.get("stream", False)})
        good = self.server.url("good")
        order = json.dumps({"column": self.column.place, "good": good, "asks": known})
        outcomes = [outcome_from(told) for told in said_by_child("tests.faults.child", order)]
        return [(given["fault"], outcome) for given, outcome in zip(asks, outcomes, strict=True)]

    def demand(self, kept: bool, words: str, *, common: bool = False) -> None:
        if not kept:
            self.shorts.append(Short(words, common))

    def finish(self) -> list[Short]:
        """Close everything and look at what is left."""
        for client in self._clients:
            for left in client.close():
                self.demand(False, f"after closing, {left}")
        for fault in self._faults:
            open_ = 0 if self.server.all_closed(fault) else self.server.seen(fault).open
            self.demand(open_ == 0, f"{fault}: after closing, {open_} connections are open")
        self.server.close()
        return self.shorts

    @contextmanager
    def _guard(self, total: float) -> Iterator[None]:
        """Pull the plug on a call that does not end."""
        guard = threading.Timer(total + SLACK + 0.5, self.server.close)
        guard.daemon = True
        guard.start()
        try:
            yield
        finally:
            guard.cancel()
            guard.join()

    def _split(self, given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        settings = {name: value for name, value in given.items() if name in _SETTINGS}
        return settings, {name: value for name, value in given.items() if name not in _SETTINGS}


_CHILD = ("fault", "stream")

# What is measured there is memory, not time.
_PATIENT = {"total": 30.0, "connect": 5.0, "first_token": 20.0, "idle": 20.0}


def said_by_child(module: str, *arguments: str) -> Any:
    """Run a module in a process of its own, and give the JSON of its last line."""
    command = [sys.executable, "-m", module, *arguments]
    try:
        child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=40, check=False)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"its process took more than {error.timeout:g} s") from None
    if child.returncode:
        raise RuntimeError(f"its process ended with {child.returncode}: {child.stderr[-400:]}")
    return json.loads(child.stdout.splitlines()[-1])


def outcome_from(told: dict[str, Any]) -> Outcome:
    failure = told.pop("failure")
    return Outcome(**told, failure=Failure(**failure) if failure else None)


class Tried:
    """Be one call that was made, with what the server saw of it."""

    def __init__(self, case: Case, fault: str, outcome: Outcome, seen: Seen, before: Seen, total: float) -> None:
        self.case = case
        self.fault = fault
        self.outcome = outcome
        self.requests = seen.requests - before.requests
        self.connections = seen.connections - before.connections
        self.waits = seen.waits[max(before.requests, 0) :]
        self.total = total

    @property
    def failure(self) -> Failure | None:
        return self.outcome.failure

    def demand(self, kept: bool, words: str, *, common: bool = False) -> None:
        self.case.demand(kept, f"{self.fault}: {words}", common=common)

    def look_at_common(self) -> None:
        """Look at what every row asks of its errors."""
        seconds, failure = self.outcome.seconds, self.failure
        self.demand(seconds <= self.total + SLACK, f"took {seconds:.1f} s of {self.total:g}")
        if failure is None:
            return
        self.demand(failure.own, f"raised {failure.name}, which is none of its own: {failure.message[:80]!r}")
        self.demand(len(failure.message) <= LONGEST_MESSAGE, f"the message has {len(failure.message)} characters")
        hidden = [char for char in failure.message if not (char.isprintable() or char in "\n\t")]
        self.demand(not hidden, f"the message holds control characters {hidden[:3]!r}")
        self.demand(not any(form in failure.shown for form in _FORMS), "the key is shown")
        for words in failure.lacking:
            self.demand(False, words, common=True)
        if failure.own and self.requests:
            words = f"the error says {failure.attempts} attempts, the server saw {self.requests}"
            self.demand(failure.attempts == self.requests, words, common=failure.attempts is None)

    def fails(
        self,
        *kinds: str,
        requests: int | None = None,
        connections: int | None = None,
        attempts: int | None = None,
        limit: str | None = None,
        partial: str | None = None,
        closed: bool = False,
    ) -> Tried:
        """Demand an error of one of these kinds."""
        failure = self.failure
        if failure is None:
            self.demand(False, f"no error, but {self.outcome.text!r:.60}")
        else:
            self.demand(bool({*kinds} & {*failure.kinds}), f"{failure.name}, not {' or '.join(kinds)}")
            self.demand(limit is None or limit == (failure.limit or limit), f"limit {failure.limit}, not {limit}")
            self._demand_partial(failure, partial)
            if attempts is not None and failure.attempts is not None:
                self.demand(failure.attempts == attempts, f"{failure.attempts} attempts, not {attempts}")
        self._demand_counts(requests, connections)
        if closed:
            self.closes()
        return self

    def _demand_partial(self, failure: Failure, partial: str | None) -> None:
        if partial is not None:
            self.demand(failure.partial == partial, f"the partial reply is {failure.partial!r:.50}")

    def succeeds(
        self,
        text: str = TEXT,
        *,
        requests: int | None = 1,
        connections: int | None = None,
        done: bool | None = None,
    ) -> Tried:
        """Demand the whole answer."""
        outcome, failure = self.outcome, self.failure
        words = f"{failure.name}: {failure.message[:80]}" if failure else f"{outcome.text!r:.60}"
        self.demand(failure is None and outcome.text == text, f"not the answer, but {words}")
        if failure is None:
            if self.case.column.ours:
                self.demand(requests in (None, outcome.attempts), f"it says {outcome.attempts} attempts")
            self.demand(done in (None, outcome.done) or outcome.done is None, f"done is {outcome.done}")
        self._demand_counts(requests, connections)
        return self

    def _demand_counts(self, requests: int | None, connections: int | None) -> None:
        self.demand(requests in (None, self.requests), f"{self.requests} requests, not {requests}")
        self.demand(connections in (None, self.connections), f"{self.connections} connections, not {connections}")

    def closes(self) -> Tried:
        """Demand that every connection to the fault is closed within a second."""
        closed = self.case.server.all_closed(self.fault, within=1.0)
        self.demand(closed, f"{self.case.server.seen(self.fault).open} connections still open after a second")
        return self


# Rows.


@dataclass(frozen=True)
class Row:
    id: str
    title: str
    play: Callable[[Case], None]

    def judge(self, column: Column) -> list[Short]:
        """Try one column, and give everything in which it falls short."""
        _warm(column)
        case = Case(column)
        complaints: list[str] = []
        with column.prepared(), listened_to(complaints, strictly=column.ours):
            try:
                self.play(case)
            except Exception as error:  # a row that cannot be played to its end is short, whatever stops it
                case.demand(False, f"could not be finished: {type(error).__name__}: {error}")
            finally:
                started = time.monotonic()
                shorts = case.finish()
                closing = time.monotonic() - started
        shorts += [Short(f"Python complains: {words}") for words in complaints if column.ours]
        if closing > 2 * SLACK:
            shorts.append(Short("closing took too long"))
        return shorts


@contextmanager
def listened_to(complaints: list[str], *, strictly: bool) -> Iterator[None]:
    """Hear what Python says of sockets and the like that were left to the garbage collector."""

    def hear(told: sys.UnraisableHookArgs) -> None:
        complaints.append(f"{told.err_msg or 'ignored'}: {told.exc_value!r}")

    before = sys.unraisablehook
    try:
        with warnings.catch_warnings():
            # What others have left is not this row's doing.
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
            sys.unraisablehook = hear
            warnings.simplefilter("error" if strictly else "ignore", ResourceWarning)
            yield
            gc.collect()
    finally:
        sys.unraisablehook = before


@functools.cache
def _warm(column: Column) -> None:
    column.warm()


ROWS: dict[str, Row] = {}


def row(name: str, title: str) -> Callable[[Callable[[Case], None]], Callable[[Case], None]]:
    def entered(play: Callable[[Case], None]) -> Callable[[Case], None]:
        assert name not in ROWS, name
        ROWS[name] = Row(name, title, play)
        return play

    return entered


def as_json(outcome: Outcome) -> dict[str, Any]:
    return asdict(outcome)
