"""From prompts to answers, in tokens: rows that come and go, each computed with all others."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from modelwrap.local.transformers.batches import Batch, Computing, JoinedBatch, OwnBatch
from modelwrap.local.transformers.library_steps import LibraryBatch
from modelwrap.local.transformers.rows import Outcome, Row, free_memory, in_halves
from modelwrap.local.transformers.sampling import Pick

logger = logging.getLogger("modelwrap")

# Prompts are computed together up to so many tokens, fillers included: beyond, a batch is no faster than its parts.
_TOGETHER = 2048


@dataclass(frozen=True, slots=True)
class Token:
    """Be the next token of an answer."""

    number: int
    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Broken:
    """Say why an answer gets no further: it failed alone, too. Its row has left."""

    number: int
    error: Exception


class Decoder:
    """Compute the answers of one model on one device. One thread uses it.

    Rows of any age and any settings share a batch, where the model's kind allows it: see
    `docs/decisions/batches-of-our-own.md`.
    """

    def __init__(self, model: Any, *, batch_size: int, pad: int = 0, lends_tensors: bool = False) -> None:
        """`lends_tensors` costs some time, and leaves what forward hooks keep fit for gradients."""
        self._computing = Computing(model, pad)
        self._computes = torch.no_grad if lends_tensors else torch.inference_mode
        self._most = self._limit = batch_size
        self._rows: dict[int, Row] = {}
        self._waiting: deque[Row] = deque()
        self._joined = JoinedBatch(self._computing, batch_size) if self._computing.joins else None
        self._own: list[OwnBatch | LibraryBatch] = []
        self._newcomers_turn = True

    @property
    def room(self) -> int:
        """How many more rows there is room for."""
        return self._most - len(self._rows)

    @property
    def busy(self) -> bool:
        return bool(self._rows)

    def join(self, row: Row) -> None:
        """Take a row in, to be computed from the next step on."""
        row.begin(self._computing.opening if self._computing.has_encoder else row.prompt)
        self._rows[row.number] = row
        self._waiting.append(row)

    def leave(self, number: int) -> None:
        """Forget a row, if it is there."""
        row = self._rows.pop(number, None)
        if row is None:
            return
        if row in self._waiting:
            self._waiting.remove(row)
        with self._computes():
            for batch in self._batches():
                if row in batch.rows:
                    batch.leave(row)
        self._own = [batch for batch in self._own if batch.rows]
        self._limit = min(self._most, self._limit + 1)

    def step(self) -> list[Token | Broken]:
        """Compute the prompts of newcomers, or else the next token of every row.

        They take turns, so that neither waits for more than one computation of the other.
        """
        computed = len(self._rows) - len(self._waiting)
        joining = bool(self._waiting) and (not computed or (self._newcomers_turn and computed < self._limit))
        self._newcomers_turn = not joining
        with self._computes():
            if joining:
                outcomes = in_halves(self._begin, self._next_together(max(1, self._limit - computed)))
            else:
                outcomes = [outcome for batch in self._batches() for outcome in self._step(batch)]
            return [self._told(*outcome) for outcome in outcomes]

    def _batches(self) -> list[Batch]:
        return [batch for batch in (self._joined, *self._own) if batch is not None and batch.rows]

    def _next_together(self, most: int) -> list[Row]:
        """Take the rows whose prompts are computed next, in the order in which they came."""
        first = self._waiting.popleft()
        rows, longest = [first], len(first.tokens)
        while self._waiting and len(rows) < most and self._computing.begin_together(first, self._waiting[0]):
            longest = max(longest, len(self._waiting[0].tokens))
            if longest * (len(rows) + 1) > _TOGETHER:
                break
            rows.append(self._waiting.popleft())
        return rows

    def _begin(self, rows: Sequence[Row]) -> list[Outcome]:
        if self._joined is None:
            batch = self._own_batch(rows)
            outcomes = batch.begin()
            self._own.append(batch)
            return outcomes
        try:
            return self._joined.join(rows)
        except Exception:  # whatever broke the memory, its rows are computed anew
            if self._joined.lost:
                self._put_back(self._joined)
            raise

    def _own_batch(self, rows: Sequence[Row]) -> OwnBatch | LibraryBatch:
        computing = self._computing
        if computing.steps_as_library:
            return LibraryBatch(computing.model, rows[0], computing.memory())
        return OwnBatch(computing, rows)

    def _step(self, batch: Batch) -> list[Outcome]:
        try:
            return batch.step()
        except torch.AcceleratorError:
            raise
        except Exception as error:  # whatever a model raises is the matter of the rows that make it do so
            if len(batch.rows) == 1:
                return [(batch.rows[0], error)]
            logger.debug(
                "a step for %d rows failed, and they begin anew in smaller batches: %s", len(batch.rows), error
            )
        self._put_back(batch)
        return []

    def _put_back(self, batch: Batch) -> None:
        """Have the rows of a batch that is lost computed anew, fewer at a time."""
        self._waiting.extendleft(reversed(batch.rows))
        self._limit = max(1, len(batch.rows) // 2)
        if batch is self._joined:
            self._joined = JoinedBatch(self._computing, self._most)
        else:
            self._own = [other for other in self._own if other is not batch]
        free_memory()

    def _told(self, row: Row, result: Pick | Exception) -> Token | Broken:
        if isinstance(result, Pick):
            return Token(row.number, result.token, result.logprob, result.top)
        self.leave(row.number)
        return Broken(row.number, result)
