"""Who computes what: a queue of jobs, the replicas that take them, and what becomes of both when one breaks."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from functools import partial

from modelwrap.errors import ConfigError, ModelwrapError, ServerFailed, WouldDeadlock
from modelwrap.local.clerk import Clerk
from modelwrap.local.engine import Feed
from modelwrap.local.replica import Replica
from modelwrap.local.tickets import Call, Suspects, Ticket
from modelwrap.local.work import Event, Failed, Finished, Job, Piece
from modelwrap.local.workers import Broke, Gone, Report, Stepped, Worker, failure, fresh, words
from modelwrap.runtime.lock import Lock, held_here

# How often in a row a replica may end with nothing to do, and how long it then rests.
_MOST_DEATHS = 3
_FIRST_PAUSE = 0.5
_REST = 5.0


class Dispatch:
    """Give jobs to the replica that is free first, and events to who asked, in one process.

    What happens, happens under one lock: in the thread of a caller who submits, or of a worker that reports. The
    collector of garbage or a signal may run anything in the midst of that: what can wait is left to the clerk then, and
    the rest is refused.
    """

    def __init__(self, make_worker: Callable[[str], Worker], devices: Iterable[str], name: str) -> None:
        self.pid = os.getpid()
        self._make_worker = make_worker
        self.name = name
        self._lock = Lock()
        self._tickets: dict[int, Ticket] = {}
        self._queue: OrderedDict[int, Ticket] = OrderedDict()
        self._suspects = Suspects()
        self._replicas = [Replica(device) for device in devices]
        self._closed = False
        self._clerk = Clerk(f"modelwrap-{name}-clerk")

    @property
    def devices(self) -> list[str]:
        return [replica.device for replica in list(self._replicas) if replica.leaving is None]

    def runs_in(self, worker: object) -> bool:
        return any(replica.worker is worker for replica in list(self._replicas))

    def submit(self, jobs: Sequence[Job], *, at_once: bool) -> Feed[list[Event]]:
        self._refuse_amidst()
        numbers = [job.number for job in jobs]
        feed: Feed[list[Event]] = Feed(partial(self._clerk.do, partial(self.cancel, numbers)))
        call = Call(numbers, feed, at_once, len(jobs))
        with self._lock:
            for job in jobs:
                self._tickets[job.number] = self._queue[job.number] = Ticket(job, call, list(job.done))
            call.flush()
            self._go_on()
        return feed

    def cancel(self, numbers: Iterable[int]) -> None:
        """Forget jobs; those that are done or not known do not matter."""
        if held_here(self._lock):
            self._clerk.do(partial(self.cancel, list(numbers)))
            return
        with self._lock:
            for number in numbers:
                if (ticket := self._tickets.get(number)) is not None:
                    if ticket.replica is not None:
                        # Whoever is sent there behind this word finds the place free. Only here is it sure to be one
                        # more than the last report tells: where reports are read, they may have counted it already.
                        ticket.replica.room += 1
                    self._withdraw(ticket)
                    ticket.call.flush()
            self._go_on()

    def load(self) -> list[Future[None]]:
        """Start every replica, and promise for each that it will be ready."""
        self._refuse_amidst()
        with self._lock:
            self._check_open()
            ready = [self._awaited(replica) for replica in self._replicas if replica.leaving is None]
            self._go_on()
        return ready

    def add(self, device: str) -> Future[None]:
        """Start another replica, and promise that it will be ready; one that cannot be started is not kept."""
        self._refuse_amidst()
        replica = Replica(device, on_probation=True)
        with self._lock:
            self._check_open()
            self._replicas.append(replica)
            ready = self._awaited(replica)
            self._share()
            self._go_on()
        return ready

    def remove(self, device: str | None = None) -> Future[None]:
        """Take away the replica that was added last, there or anywhere, and promise that it will be gone."""
        self._refuse_amidst()
        gone: Future[None] = Future()
        with self._lock:
            replica = self._last(device)
            replica.leaving = [gone]
            self._settle(replica)
            self._go_on()
        return gone

    def close(self, timeout: float) -> bool:
        """Stop everything; False if something is still there after `timeout` seconds."""
        if held_here(self._lock):
            self.close_soon()
            return True
        with self._lock:
            self._closed = True
            self._fail_all(list(self._tickets.values()), self._closed_error)
            workers = [replica.worker for replica in self._replicas if replica.worker is not None]
            for replica in list(self._replicas):
                self._tell_waiting(replica, ConfigError(f"{self.name} was closed while it was being loaded"))
                self._leave(replica)
            for worker in workers:
                worker.stop()
        self._clerk.dismiss()
        end = time.monotonic() + timeout
        joined = [worker.join(max(0.0, end - time.monotonic())) for worker in workers]
        return all(joined)

    def close_soon(self) -> None:
        """Stop everything, and wait for nothing; anyone may call this at any moment."""
        self._clerk.do(partial(self.close, 0.0))

    def _refuse_amidst(self) -> None:
        if held_here(self._lock):
            raise WouldDeadlock(f"{self.name} is called by a finalizer or a signal, in the midst of another call of it")

    # What follows is called by those who hold the lock.

    def _check_open(self) -> None:
        if self._closed:
            raise ConfigError(f"{self.name} was closed")

    def _closed_error(self) -> ModelwrapError:
        return ServerFailed("the model was closed before the answer ended", retryable=False)

    # Jobs.

    def _go_on(self) -> None:
        """Hand over what there is room for; what nobody will ever take fails."""
        self._try_suspects()
        while self._queue and (replica := self._freest()) is not None:
            self._give(replica, self._queue.popitem(last=False)[1])
        if self._queue or self._suspects:
            self._wake()
            if not any(replica.hopeful for replica in self._replicas):
                self._fail_all([*self._queue.values(), *self._suspects], self._nobody)
                self._forgive()

    def _freest(self) -> Replica | None:
        free = [replica for replica in self._replicas if replica.open]
        return min(free, key=lambda replica: len(replica.inside), default=None)

    def _give(self, replica: Replica, ticket: Ticket) -> None:
        assert replica.worker is not None
        replica.given += 1
        replica.empty = False
        ticket.replica, ticket.place = replica, replica.given
        replica.inside[ticket.job.number] = ticket
        if ticket.suspected:
            replica.tried.add(ticket.job.number)
        replica.worker.begin(ticket.resumed())

    def _withdraw(self, ticket: Ticket) -> None:
        """Take a job back from wherever it is."""
        if ticket.replica is not None and ticket.replica.worker is not None:
            ticket.replica.worker.cancel(ticket.job.number)
        self._end(ticket)

    def _end(self, ticket: Ticket) -> None:
        """Know a job no more."""
        number, replica = ticket.job.number, ticket.replica
        del self._tickets[number]
        self._queue.pop(number, None)
        ticket.call.open -= 1
        self._suspects.discard(ticket)
        if replica is not None:
            del replica.inside[number]
            replica.tried.discard(number)
            ticket.replica = None
            self._settle(replica)

    def _fail(self, ticket: Ticket, error: ModelwrapError) -> None:
        """End a job with an error, and with it the others of its call, whose answer nobody can use."""
        call = ticket.call
        call.held.append(Failed(ticket.job.number, error))
        self._end(ticket)
        for number in call.numbers:
            if (sibling := self._tickets.get(number)) is not None:
                self._withdraw(sibling)
        call.flush()

    def _fail_all(self, tickets: list[Ticket], error: Callable[[], ModelwrapError]) -> None:
        for ticket in tickets:
            if ticket.job.number in self._tickets:
                self._fail(ticket, error())

    def _nobody(self) -> ModelwrapError:
        """Say why nobody takes a job."""
        if self._closed:
            return self._closed_error()
        known = [replica.error for replica in self._replicas if replica.error is not None]
        if known:
            return fresh(known[-1])
        return ServerFailed(f"no replica of {self.name} is active", retryable=False, sent=False)

    # What workers report.

    def _reported(self, replica: Replica, worker: Worker, report: Report) -> None:
        with self._lock:
            if replica.worker is not worker:
                return
            match report:
                case Stepped():
                    self._stepped(replica, report)
                case Broke():
                    self._broke(replica, report)
                case Gone():
                    self._gone(replica, report)
            self._go_on()

    def _stepped(self, replica: Replica, report: Stepped) -> None:
        replica.begun, replica.room = report.begun, report.room
        replica.empty = not report.inside and report.begun == replica.given
        if not replica.ready:
            replica.ready, replica.on_probation, replica.error = True, False, None
            self._tell_waiting(replica, None)
        calls: dict[Call, None] = {}
        for event in report.events:
            ticket = replica.inside.get(event.number)
            if ticket is not None:
                calls[ticket.call] = None
                self._take(replica, ticket, event)
                replica.deaths = 0
        for call in calls:
            call.flush()

    def _take(self, replica: Replica, ticket: Ticket, event: Event) -> None:
        match event:
            case Piece():
                ticket.made += event.tokens
                if event.tokens and ticket.suspected:
                    self._clear(replica, ticket)
                if event.data:
                    ticket.call.held.append(event)
            case Finished():
                ticket.call.held.append(event)
                self._end(ticket)
            case Failed():
                self._fail(ticket, event.error)

    def _broke(self, replica: Replica, report: Broke) -> None:
        lost = [ticket for ticket in replica.inside.values() if ticket.place <= report.begun]
        self._doubt(replica, lost, failure(report.error))

    def _gone(self, replica: Replica, report: Gone) -> None:
        was_ready, replica.ready, replica.worker = replica.ready, False, None
        replica.given = replica.begun = replica.room = 0
        replica.empty = True
        if report.error is None:
            self._leave(replica)
            return
        replica.deaths = 0 if replica.inside else replica.deaths + 1
        self._doubt(replica, list(replica.inside.values()), report.error)
        if replica.deaths >= _MOST_DEATHS or not (was_ready or report.abrupt):
            self._rest(replica, report.error)
        elif self._queue or self._suspects or replica.waiting:
            self._start_soon(replica)

    # Whom to blame.

    def _doubt(self, replica: Replica, lost: list[Ticket], error: ModelwrapError) -> None:
        """Have jobs tried again that were in something that failed; the one that was alone in it is to blame.

        Where suspects were tried, it was one of them. The others begin again when all suspects are cleared.
        """
        suspects = [ticket for ticket in lost if ticket.suspected]
        if not suspects or replica.leaving is not None:
            suspects = lost
        for ticket in lost:
            del replica.inside[ticket.job.number]
            ticket.replica = None
        replica.tried.clear()
        for ticket in reversed(lost):
            if ticket not in suspects:
                self._queue[ticket.job.number] = ticket
                self._queue.move_to_end(ticket.job.number, last=False)
        if len(suspects) == 1 and suspects[0].alone:
            self._fail(suspects[0], _blame(error))
        elif suspects:
            replica.broken = True
            self._suspects.add(suspects)
        self._settle(replica)

    def _clear(self, replica: Replica, ticket: Ticket) -> None:
        """Suspect a job no more that got beyond the point where something failed."""
        if ticket.clears_itself and replica.leaving is None:
            ticket.suspected = ticket.alone = False
            replica.tried.discard(ticket.job.number)

    def _try_suspects(self) -> None:
        for replica in self._replicas:
            fit = replica.broken or (replica.empty and replica.leaving is None)
            if fit and replica.places > 0 and not replica.tried:
                for ticket in self._suspects.take(replica.places, empty=replica.empty):
                    self._give(replica, ticket)
        self._forgive()

    def _forgive(self) -> None:
        """Let those take new jobs that broke, once no suspect is left."""
        if not self._suspects:
            for replica in [replica for replica in self._replicas if replica.broken]:
                replica.broken = False
                self._settle(replica)

    # Replicas.

    def _wake(self) -> None:
        """Start what does nothing yet, and what has rested after it failed."""
        now = time.monotonic()
        for replica in list(self._replicas):
            if not (replica.ready or replica.starting) and (replica.error is None or now >= replica.rests_until):
                self._start(replica)

    def _awaited(self, replica: Replica) -> Future[None]:
        """Start a replica if it is not ready, and promise that it will be."""
        future: Future[None] = Future()
        # Whoever waits may leave, and must not take it along.
        future.set_running_or_notify_cancel()
        if replica.ready:
            future.set_result(None)
            return future
        replica.waiting.append(future)
        if not replica.starting:
            self._start(replica)
        return future

    def _start(self, replica: Replica) -> None:
        if self._closed or (replica.leaving is not None and not replica.broken):
            return
        try:
            worker = replica.worker = self._make_worker(replica.device)
            worker.start(partial(self._reported, replica, worker))
            worker.share([other.device for other in self._replicas])
        except ModelwrapError as error:
            replica.worker = None
            self._rest(replica, error)
        except (OSError, RuntimeError) as error:
            replica.worker = None
            self._rest(replica, ConfigError(f"{self.name} cannot be started: {words(error)}"))

    def _start_soon(self, replica: Replica) -> None:
        if not replica.deaths:
            self._start(replica)
            return
        replica.pausing = True
        self._clerk.do(partial(self._start_after_pause, replica), _FIRST_PAUSE * 2 ** (replica.deaths - 1))

    def _start_after_pause(self, replica: Replica) -> None:
        with self._lock:
            replica.pausing = False
            if replica in self._replicas:
                self._start(replica)
                self._go_on()

    def _rest(self, replica: Replica, error: ModelwrapError) -> None:
        """Leave a replica alone that cannot be started."""
        replica.error = error
        replica.rests_until = time.monotonic() + _REST
        replica.deaths = 0
        self._tell_waiting(replica, error)
        if replica.leaving is not None or replica.on_probation:
            self._leave(replica)

    def _tell_waiting(self, replica: Replica, error: ModelwrapError | None) -> None:
        waiting, replica.waiting = replica.waiting, []
        for future in waiting:
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(fresh(error))

    def _last(self, device: str | None) -> Replica:
        for replica in reversed(self._replicas):
            if replica.leaving is None and device in (None, replica.device):
                return replica
        where = "" if device is None else f" on {device}"
        raise ConfigError(f"{self.name} has no replica{where}; it has {', '.join(self.devices) or 'none'}")

    def _settle(self, replica: Replica) -> None:
        """Let a replica that has nothing in it take other jobs, or go."""
        if replica.inside or replica.leaving is None or replica.broken:
            return
        if replica.worker is None:
            self._leave(replica)
        elif not replica.stopped:
            replica.stopped = True
            replica.worker.stop()

    def _leave(self, replica: Replica) -> None:
        """Know a replica no more."""
        gone = ConfigError(f"{self.name} on {replica.device} was removed before it was ready")
        # Who loads the model goes on with the others; who added this one does not have it.
        self._tell_waiting(replica, gone if replica.on_probation else None)
        if replica in self._replicas:
            self._replicas.remove(replica)
            self._share()
        for future in replica.leaving or ():
            future.set_result(None)
        replica.leaving = []

    def _share(self) -> None:
        """Tell all workers among how many the devices are divided now."""
        devices = [replica.device for replica in self._replicas]
        for replica in self._replicas if not self._closed else ():
            if replica.worker is not None:
                replica.worker.share(devices)


def _blame(error: ModelwrapError) -> ModelwrapError:
    """Say of a job that it fails what computes it."""
    if not isinstance(error, ServerFailed):
        return error
    blame = ServerFailed(f"computed alone, the request fails again: {error}", retryable=False)
    blame.__cause__ = error.__cause__
    return blame
