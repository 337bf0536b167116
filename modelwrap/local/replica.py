"""What is known of the model on one device."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field

from modelwrap.errors import ModelwrapError
from modelwrap.local.tickets import Ticket
from modelwrap.local.workers import Worker


@dataclass(eq=False, slots=True)
class Replica:
    """Be the model on one device: the worker that has it now, and what is in there."""

    device: str
    on_probation: bool = False
    """Whether it is not kept if it cannot be started."""
    worker: Worker | None = None
    ready: bool = False
    given: int = 0
    begun: int = 0
    room: int = 0
    empty: bool = True
    """Whether nothing is in the worker, by its own word: what was cancelled stays for a moment."""
    inside: dict[int, Ticket] = field(default_factory=dict)
    tried: set[int] = field(default_factory=set)
    """The suspects inside, beside whom nothing else is begun."""
    broken: bool = False
    """Whether it takes nothing new before all suspects were tried."""
    deaths: int = 0
    pausing: bool = False
    error: ModelwrapError | None = None
    """Why it could not be started when that was last tried."""
    rests_until: float = 0.0
    waiting: list[Future[None]] = field(default_factory=list)
    """Those who wait until it is ready."""
    leaving: list[Future[None]] | None = None
    """Those who wait until it is gone; None if it stays."""
    stopped: bool = False

    @property
    def starting(self) -> bool:
        return not self.ready and (self.worker is not None or self.pausing)

    @property
    def hopeful(self) -> bool:
        """Whether it will take jobs, now or later."""
        return (self.ready or self.starting) and (self.leaving is None or self.broken)

    @property
    def places(self) -> int:
        """How many jobs it takes."""
        return self.room - (self.given - self.begun) if self.ready else 0

    @property
    def open(self) -> bool:
        """Whether it takes a job from the queue."""
        return self.places > 0 and not (self.tried or self.broken or self.leaving is not None)
