"""Those who compute: a runner that messages drive, in a thread of its own, and what it reports."""

from __future__ import annotations

import _thread
import copy
import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Protocol, TypeAlias, TypeVar

from modelwrap.errors import BadRequest, ConfigError, ModelwrapError, ServerFailed, chain
from modelwrap.local.turns import making_alone
from modelwrap.local.work import Event, Failed, Job, Piece, Runner

logger = logging.getLogger("modelwrap")

E = TypeVar("E", bound=BaseException)


@dataclass(frozen=True, slots=True)
class Cancel:
    """Tell a worker to forget a job."""

    number: int


@dataclass(frozen=True, slots=True)
class Share:
    """Tell a worker on which devices its model computes from now on, its own among them."""

    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refuse:
    """Tell a worker of a job that could not be brought to it."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Tell a worker to free what it holds and to go."""


Message: TypeAlias = Job | Cancel | Share | Refuse | Stop

# Its `put` may be called anywhere, also by the collector of garbage inside of a `put` in the same thread.
Inbox: TypeAlias = "SimpleQueue[Message]"


@dataclass(frozen=True, slots=True)
class Stepped:
    """Say what a step brought. A worker's first, without events, says that it is ready."""

    events: Sequence[Event]
    begun: int
    """How many jobs it has taken in since it started."""
    inside: int
    """How many of them it has now."""
    room: int
    """How many it takes in besides those."""


@dataclass(frozen=True, slots=True)
class Broke:
    """Say that a step failed. The worker has forgotten all jobs that it had taken in, and goes on."""

    error: BaseException
    begun: int


@dataclass(frozen=True, slots=True)
class Gone:
    """Say that the worker is no more, and why if nobody told it to stop. Nothing follows."""

    error: ModelwrapError | None
    abrupt: bool = False
    """Whether it died without a word, so that another may fare better."""


Report: TypeAlias = Stepped | Broke | Gone


class Worker(Protocol):
    """Compute jobs somewhere else. Nothing here waits for it but `join`."""

    def start(self, report: Callable[[Report], None]) -> None:
        """Make the runner, and report from then on, from one thread at a time."""

    def begin(self, job: Job) -> None: ...

    def cancel(self, number: int) -> None: ...

    def share(self, devices: Sequence[str]) -> None:
        """Tell it on which devices its model computes from now on, its own among them."""

    def stop(self) -> None:
        """Have it go when the step is over that it is in; its jobs end without a word."""

    def join(self, timeout: float) -> bool:
        """Wait until nothing of it is left, and say whether that is so."""


class ThreadWorker:
    """Run a runner in a daemon thread, because an interpreter that ends must not wait for a model that talks."""

    def __init__(self, make_runner: Callable[[], Runner], name: str) -> None:
        self._make_runner = make_runner
        self._name = name
        self._inbox: Inbox = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def start(self, report: Callable[[Report], None]) -> None:
        check_not_forked()
        self._thread = threading.Thread(target=self._work, args=(report,), name=self._name, daemon=True)
        self._thread.start()

    def begin(self, job: Job) -> None:
        self._inbox.put(job)

    def cancel(self, number: int) -> None:
        self._inbox.put(Cancel(number))

    def share(self, devices: Sequence[str]) -> None:
        self._inbox.put(Share(tuple(devices)))

    def stop(self) -> None:
        self._stopped = True
        self._inbox.put(Stop())

    def join(self, timeout: float) -> bool:
        if self._thread is None:
            return True
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self, report: Callable[[Report], None]) -> None:
        _of_thread.worker = self
        serve(self._made, self._inbox, report)

    def _made(self) -> Runner:
        with making_alone(self):
            if self._stopped:
                raise ConfigError("it was told to stop before it was loaded")
            return self._make_runner()


_computed_in: set[int] = set()


def check_not_forked() -> None:
    """Refuse to compute where a parent process did: its libraries may wait for ever, for threads that are not here."""
    if _computed_in - {os.getpid()}:
        raise ConfigError(
            "a model was computed in this process's parent before the fork, and cannot be on both sides of one: "
            'start processes with multiprocessing.get_context("spawn"), call the model in the children only, '
            'or give it "worker": "process"'
        )
    _computed_in.add(os.getpid())


_of_thread = threading.local()


def worker_of_thread() -> Worker | None:
    """Give the worker in whose thread this is asked."""
    worker: Worker | None = getattr(_of_thread, "worker", None)
    return worker


def serve(
    make_runner: Callable[[], Runner], inbox: Inbox, report: Callable[[Report], None], *, expendable: bool = False
) -> None:
    """Make a runner and drive it by messages until told to stop. An expendable one ends with the first bad step."""
    report(Gone(_served(make_runner, inbox, report, expendable)))


def _served(
    make_runner: Callable[[], Runner], inbox: Inbox, report: Callable[[Report], None], expendable: bool
) -> ModelwrapError | None:
    try:
        runner = make_runner()
    except ModelwrapError as error:
        return error.with_traceback(None)
    except BaseException as error:  # nobody stands above this thread: whoever wants the model must hear of it
        logger.debug("a model cannot be loaded", exc_info=True)
        return _caused(ConfigError(f"the model cannot be loaded: {words(error)}"), error)
    try:
        _Loop(runner, inbox, report, expendable).run()
    except BaseException as error:  # as above, and whatever it is, the jobs inside are given to another worker
        logger.debug("a worker fails", exc_info=True)
        return failure(error)
    finally:
        _close(runner)
    return None


def _close(runner: Runner) -> None:
    try:
        runner.close()
    except BaseException:  # also when a hook leaves by sys.exit: whoever waits for the end must hear of it
        logger.debug("closing a runner failed", exc_info=True)


class _Loop:
    """Take in what has come, go a step, tell what it brought, and sleep where there is nothing to do."""

    def __init__(self, runner: Runner, inbox: Inbox, report: Callable[[Report], None], expendable: bool) -> None:
        self._runner = runner
        self._inbox = inbox
        self._report = report
        self._expendable = expendable
        self._inside: set[int] = set()
        self._events: list[Event] = []
        self._begun = 0
        self._told: tuple[int, int, int] | None = None

    def run(self) -> None:
        self._tell()
        while self._take_in():
            if self._runner.busy:
                self._step()
            self._tell()

    def _take_in(self) -> bool:
        """Take in all that has come; False when told to stop."""
        wait = not self._runner.busy
        while wait or not self._inbox.empty():
            message = self._inbox.get()
            wait = False
            match message:
                case Job():
                    self._begin(message)
                case Cancel():
                    self._inside.discard(message.number)
                    self._runner.cancel(message.number)
                case Share():
                    self._runner.share(message.devices)
                case Refuse():
                    self._begun += 1
                    self._events.append(Failed(message.number, BadRequest(message.reason, sent=False)))
                case Stop():
                    return False
        return True

    def _begin(self, job: Job) -> None:
        self._begun += 1
        try:
            self._runner.begin(job)
        except BaseException as error:  # what a hook says of a request is for its caller, also by sys.exit
            self._runner.cancel(job.number)
            self._events.append(Failed(job.number, failure(error)))
        else:
            self._inside.add(job.number)

    def _step(self) -> None:
        try:
            events = self._runner.step()
        except BaseException as error:  # also when a hook leaves by sys.exit: its callers would wait for ever
            if self._expendable:
                raise
            self._break(error)
            return
        self._events += events
        for event in events:
            if not isinstance(event, Piece):
                self._inside.discard(event.number)

    def _break(self, error: BaseException) -> None:
        """Forget the jobs that were in a bad step: one of them may be to blame, nobody knows which."""
        logger.debug("a step failed", exc_info=error)
        if isinstance(error, KeyboardInterrupt):
            _thread.interrupt_main()
        self._tell()
        # The frames hold what was computed, which may be all memory that there is.
        _caused(error, error.__cause__)
        for number in self._inside:
            self._runner.cancel(number)
        self._inside.clear()
        if self._runner.busy:
            raise RuntimeError("the runner goes on with jobs that it was told to forget") from error
        self._report(Broke(error, self._begun))

    def _tell(self) -> None:
        standing = (self._begun, len(self._inside), self._runner.room)
        if self._events or standing != self._told:
            events, self._events, self._told = self._events, [], standing
            self._report(Stepped(events, *standing))


def failure(error: BaseException) -> ModelwrapError:
    """Make of what went wrong in a computation an error that a caller may see."""
    if isinstance(error, ModelwrapError):
        return error.with_traceback(None)
    return _caused(ServerFailed(f"the computation failed: {words(error)}", retryable=False), error)


def fresh(error: ModelwrapError) -> ModelwrapError:
    """Copy an error, so that each who raises it has one of its own."""
    fresh = copy.copy(error)
    fresh.__cause__ = error.__cause__
    return fresh


def words(error: BaseException) -> str:
    """Say an error in one line."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _caused(error: E, cause: BaseException | None) -> E:
    """Chain an error to its cause, both without their frames."""
    error.__cause__ = cause
    for link in chain(error):
        link.__traceback__ = None
    return error
