"""Jobs on their way: for whom they are, who has them, and which of them may be to blame for a failure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from modelwrap.local.engine import Feed
from modelwrap.local.work import Event, Job

if TYPE_CHECKING:
    from modelwrap.local.replica import Replica


_MOST_DOUBTS = 10


@dataclass(eq=False, slots=True)
class Call:
    """Be the jobs of one caller and where their events go."""

    numbers: list[int]
    feed: Feed[list[Event]]
    at_once: bool
    open: int
    held: list[Event] = field(default_factory=list)

    def flush(self) -> None:
        if self.held and (self.at_once or not self.open):
            self.feed.put(self.held)
            self.held = []
        if not self.open:
            self.feed.end()


@dataclass(eq=False, slots=True)
class Ticket:
    """Be a job on its way."""

    job: Job
    call: Call
    made: list[int]
    """All tokens of its answer so far, which go with it to another worker if this one is lost."""
    replica: Replica | None = None
    place: int = 0
    """Which of the jobs it is that this worker was given."""
    group: list[Ticket] | None = None
    """With which others it waits to be tried again."""
    suspected: bool = False
    """Whether it was in something that failed, and has not got beyond that point since."""
    alone: bool = False
    """Whether it is tried in a worker that has nothing else."""
    singled_out: bool = False
    """Whether it was the only suspect when something failed."""
    doubts: int = 0

    @property
    def clears_itself(self) -> bool:
        """Whether it is above suspicion once it gets on; who was in too many failures has to come to its end."""
        return self.doubts < _MOST_DOUBTS

    def resumed(self) -> Job:
        return Job(self.job.number, self.job.body, tuple(self.made)) if self.made else self.job


class Suspects:
    """Be the jobs that were in something that failed, in the groups in which they are tried again."""

    def __init__(self) -> None:
        self._groups: deque[list[Ticket]] = deque()

    def __bool__(self) -> bool:
        return any(self._groups)

    def __iter__(self) -> Iterator[Ticket]:
        return chain.from_iterable(self._groups)

    def add(self, tickets: list[Ticket]) -> None:
        """Put in halves those who were together; they are the next to be tried."""
        middle = (len(tickets) + 1) // 2
        for group in (tickets[middle:], tickets[:middle]):
            self._groups.appendleft(group)
            for ticket in group:
                ticket.group, ticket.suspected, ticket.alone = group, True, False
                ticket.singled_out = len(tickets) == 1
                ticket.doubts += 1

    def discard(self, ticket: Ticket) -> None:
        if ticket.group is not None:
            ticket.group.remove(ticket)
            ticket.group = None

    def take(self, places: int, *, empty: bool) -> list[Ticket]:
        """Take out those who are tried next by a worker that has places, and nothing in it if it is empty."""
        while self._groups and not self._groups[0]:
            self._groups.popleft()
        if not self._groups or (self._groups[0][0].singled_out and not empty):
            return []
        taken = self._groups[0][:places]
        for ticket in taken:
            ticket.alone = empty and len(self._groups[0]) == len(taken) == 1
            self.discard(ticket)
        return taken
