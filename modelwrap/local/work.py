"""What passes between who wants something of a model in this process and who computes it: plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from modelwrap.errors import ModelwrapError


@dataclass(frozen=True, slots=True)
class Job:
    """Ask for one answer."""

    number: int
    """Of all jobs of this process, no other has it."""
    body: dict[str, Any]
    """The request as plain JSON, media in it as data URLs."""
    done: tuple[int, ...] = ()
    """Tokens of the answer that a worker made before it was lost; the next goes on behind them, and does not tell
    again what they said."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Be some of an answer: a chunk of a chat as plain JSON, or a whole reply of another kind."""

    number: int
    data: dict[str, Any]
    tokens: tuple[int, ...] = ()
    """The tokens that were made since the piece before, also those whose text is held back."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Say that a job's last piece has come."""

    number: int


@dataclass(frozen=True, slots=True)
class Failed:
    """Say that a job has no answer, and why."""

    number: int
    error: ModelwrapError


Event: TypeAlias = Piece | Finished | Failed


class Runner(Protocol):
    """Compute jobs together, a step at a time. One thread uses it, and always the same."""

    @property
    def room(self) -> int:
        """How many more jobs it takes in now."""

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""

    def begin(self, job: Job) -> None:
        """Take a job in; what is wrong with it is raised here, or comes as an event of a later step."""

    def cancel(self, number: int) -> None:
        """Forget a job, of which nothing more shall come; one that is not known is none of its business."""

    def step(self) -> list[Event]:
        """Go one step on with every job, and give what that brought."""

    def share(self, devices: Sequence[str]) -> None:
        """Take no more than its part of what computes; `devices` are those of all replicas, its own among them."""

    def close(self) -> None:
        """Free what it holds."""
