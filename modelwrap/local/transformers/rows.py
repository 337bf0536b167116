"""Answers that are being made, and what each step brings them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from modelwrap.local.transformers.constraints import Constraint
from modelwrap.local.transformers.sampling import Closing, Pick, Picker, Sampling, pick_all


@dataclass(slots=True, eq=False)
class Row:
    """Be one answer that is being made."""

    number: int
    prompt: Sequence[int]
    """For a model with an encoder, what that reads."""
    sampling: Sampling
    constraint: Constraint | None = None
    closing: Closing | None = None
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    """What its prompt takes beside tokens, as pictures do, in a batch of one."""
    made: list[int] = field(default_factory=list)
    """The tokens of the answer so far; those that are here at the start were made elsewhere."""
    picker: Picker = field(init=False)

    def begin(self, before: Sequence[int]) -> None:
        """Get ready to be computed; `before` are the tokens that stand in front of its answer."""
        self.picker = Picker(self.sampling, before, self.made, self.constraint, self.closing)

    @property
    def tokens(self) -> list[int]:
        return [*self.prompt, *self.made]


Outcome: TypeAlias = tuple[Row, Pick | Exception]
"""What a step brought a row: a token, or why it gets none."""


def picked(rows: Sequence[Row], scores: Tensor) -> list[Outcome]:
    """Pick the next token of each row."""
    picks = pick_all(scores, [row.picker for row in rows])
    for row, pick in zip(rows, picks, strict=True):
        if isinstance(pick, Pick):
            row.made.append(pick.token)
    return list(zip(rows, picks, strict=True))


def in_halves(work: Callable[[Sequence[Row]], list[Outcome]], rows: Sequence[Row]) -> list[Outcome]:
    """Do work for some rows together; where that fails, for each half of them, and in the end for each alone."""
    try:
        return work(rows)
    except torch.AcceleratorError:
        # A device in this state computes nothing any more, for nobody.
        raise
    except Exception as error:  # whatever a model raises is the matter of the rows that make it do so
        if len(rows) == 1:
            return [(rows[0], error)]
    free_memory()
    middle = len(rows) // 2
    return in_halves(work, rows[:middle]) + in_halves(work, rows[middle:])


def free_memory() -> None:
    """Give back what a computation that failed has left on the devices."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
