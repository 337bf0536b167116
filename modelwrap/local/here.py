"""A runner in the threads of its callers, one call at a time, so that breakpoints and hooks work."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from modelwrap.errors import ServerFailed, WouldDeadlock
from modelwrap.local.turns import making, waiting_for
from modelwrap.local.work import Event, Failed, Job, Piece, Runner
from modelwrap.local.workers import check_not_forked
from modelwrap.runtime.base import Deadline
from modelwrap.runtime.lock import Lock


class Here:
    """Drive a runner where it is called; it is made when it is first needed.

    What it raises reaches the caller as it is.
    """

    def __init__(self, make_runner: Callable[[], Runner], name: str) -> None:
        self._make_runner = make_runner
        self.name = name
        self._runner: Runner | None = None
        self._making = Lock()
        self._is_made = False
        """Whether a runner is made at this moment."""
        self._turn = threading.Lock()
        self._holder = 0
        """The thread whose call has its turn."""
        self._left: list[Runner] = []
        """Those that are to be closed when no step of theirs goes on."""

    @property
    def runner(self) -> Runner:
        """The runner, which is made if there is none."""
        check_not_forked()
        if not self._making.acquire(blocking=False):
            with waiting_for(self):
                self._making.acquire()
        try:
            return self._made()
        finally:
            self._making.release()

    def _made(self) -> Runner:
        if self._is_made:
            raise WouldDeadlock(f"{self.name} is called by what it is made of, before it is there")
        if self._runner is None:
            self._is_made = True
            try:
                with making(self):
                    self._runner = self._make_runner()
            finally:
                self._is_made = False
        return self._runner

    def runs_in(self, maker: object) -> bool:
        return maker is self

    def load(self) -> None:
        assert self.runner is not None

    def submit(self, jobs: Sequence[Job], deadline: Deadline, *, at_once: bool = True) -> HereFeed:
        """Give what computes the jobs when it is asked for their events: a step at a time, or all to the end."""
        return HereFeed(self, jobs, deadline, at_once=at_once)

    def close(self) -> None:
        """Free the model now, or at the end of the step that another thread is in."""
        with self._making:
            runner, self._runner = self._runner, None
        if runner is not None and self._holder == threading.get_ident():
            runner.close()
        elif runner is not None:
            self._left.append(runner)
            self._close_left()

    def holds(self, runner: Runner) -> bool:
        return self._runner is runner

    def take_turn(self, deadline: Deadline) -> Runner:
        """Wait until no other call is computed."""
        check_not_forked()
        if not self._turn.acquire(blocking=False):
            if self._holder == threading.get_ident():
                raise WouldDeadlock(
                    f"{self.name} computes in its callers' threads, and a stream of it is open in this one: "
                    "read that to its end, or close it"
                )
            if not self._turn.acquire(timeout=min(max(0.0, deadline.remaining()), threading.TIMEOUT_MAX)):
                raise deadline.passed()
        self._holder = threading.get_ident()
        try:
            return self.runner
        except BaseException:  # whatever ends a call, the next has its turn
            self.give_turn()
            raise

    def give_turn(self) -> None:
        self._holder = 0
        self._turn.release()
        self._close_left()

    def _close_left(self) -> None:
        while self._left and self._turn.acquire(blocking=False):
            left, self._left = self._left, []
            try:
                for runner in left:
                    runner.close()
            finally:
                self._turn.release()


class HereFeed:
    """Be asked for events as a `Feed` is; whoever asks computes them."""

    def __init__(self, here: Here, jobs: Sequence[Job], deadline: Deadline, *, at_once: bool) -> None:
        self._here = here
        self._deadline = deadline
        self._at_once = at_once
        self._ahead = deque(jobs)
        self._open = {job.number for job in jobs}
        self._runner: Runner | None = None

    def next(self) -> Future[list[Event] | None]:
        promise: Future[list[Event] | None] = Future()
        promise.set_result(self._computed())
        return promise

    def abandon(self) -> None:
        runner, self._runner = self._runner, None
        numbers, self._open = self._open, set()
        if runner is not None:
            try:
                for number in numbers:
                    runner.cancel(number)
            finally:
                self._here.give_turn()

    def _computed(self) -> list[Event] | None:
        events: list[Event] = []
        try:
            while self._open and not (events and self._at_once):
                self._deadline.check()
                events += self._stepped()
        except BaseException:  # whatever ends a call, its jobs end with it
            self.abandon()
            raise
        if not self._open:
            self.abandon()
        return events or None

    def _stepped(self) -> list[Event]:
        if self._runner is None:
            self._runner = self._here.take_turn(self._deadline)
        if not self._here.holds(self._runner):
            raise ServerFailed("the model was closed before the answer ended", retryable=False)
        while self._ahead and self._runner.room > 0:
            self._runner.begin(self._ahead.popleft())
        told: list[Event] = []
        for event in self._runner.step():
            if not isinstance(event, Piece):
                self._open.discard(event.number)
            if not isinstance(event, Piece) or event.data:
                told.append(event)
            if isinstance(event, Failed):
                self._cancel_rest()
                if isinstance(event.error, ServerFailed) and event.error.__cause__ is not None:
                    # What the model or a hook raised, which a runner names for callers elsewhere.
                    raise event.error.__cause__
                break
        return told

    def _cancel_rest(self) -> None:
        """Forget the other jobs of the call, whose answer nobody can use."""
        assert self._runner is not None
        numbers, self._open = self._open, set()
        for number in numbers:
            self._runner.cancel(number)
