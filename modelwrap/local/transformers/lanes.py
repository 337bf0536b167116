"""The memory of a batch whose rows come and go: what attention remembers of each, in one block a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

# So many more columns are made than are needed now.
_SPARE = 256


@dataclass(slots=True)
class _View:
    """Be the part of the memory that the forward pass at hand works on."""

    first: int = 0
    last: int = 0
    begin: int = 0
    end: int = 0


class _LaneLayer(DynamicLayer):  # type: ignore[misc]  # its package is not looked into
    """Be one layer's keys and values: `[rows, heads, columns, size of a head]`, written in place."""

    def __init__(self, view: _View, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self._view = view
        self.keys, self.values = keys, values
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        view, added = self._view, key_states.shape[-2]
        rows, columns = slice(view.first, view.last), slice(view.begin, view.end + added)
        self.keys[rows, :, view.end : view.end + added] = key_states
        self.values[rows, :, view.end : view.end + added] = value_states
        return self.keys[rows, :, columns], self.values[rows, :, columns]

    def get_seq_length(self) -> int:
        return self._view.end - self._view.begin

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0


class Lanes:
    """Hold rows of different lengths that all end in the same column, so that one step adds a column to each.

    A row is put in with what its prompt left in a cache of its own, and taken out without moving the others but one.
    """

    def __init__(self, most: int, device: torch.device) -> None:
        self._most = most
        self._view = _View()
        self._layers: list[_LaneLayer] = []
        self._lengths: list[int] = []
        self._room = (0, 0)
        self._mask = torch.zeros(0, 0, dtype=torch.bool, device=device)
        self.lost = False
        """Whether it broke while it grew, so that nothing in it is worth anything."""

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def lengths(self) -> Sequence[int]:
        return self._lengths

    def put(self, source: Cache, lengths: Sequence[int]) -> None:
        """Add the rows of a cache, which end in its last column, as they do after prompts padded on the left."""
        self.reserve(len(self) + len(lengths), max(lengths), source)
        end = self._view.end
        for row, length in enumerate(lengths):
            lane = len(self)
            for layer, given in zip(self._layers, source.layers, strict=True):
                layer.keys[lane, :, end - length : end] = given.keys[row, :, -length:]
                layer.values[lane, :, end - length : end] = given.values[row, :, -length:]
            self._mask[lane] = False
            self._mask[lane, end - length : end] = True
            self._lengths.append(length)
        self._look_at_all()

    def take_out(self, lane: int) -> None:
        """Forget a row; the last one takes its place."""
        last = len(self) - 1
        if lane != last:
            columns = slice(self._view.end - self._lengths[last], self._view.end)
            for layer in self._layers:
                layer.keys[lane, :, columns] = layer.keys[last, :, columns]
                layer.values[lane, :, columns] = layer.values[last, :, columns]
            self._mask[lane] = self._mask[last]
        self._lengths[lane] = self._lengths[last]
        self._lengths.pop()
        if not self._lengths:
            self._layers, self._room, self._view.end = [], (0, 0), 0
        self._look_at_all()

    def look_at(self, first: int, last: int) -> tuple[Cache, Tensor]:
        """Give some rows as a cache for the next step, and the mask that belongs to it."""
        view = self._view
        view.first, view.last = first, last
        self._mask[first:last, view.end] = True
        return Cache(layers=list(self._layers)), self._mask[first:last, view.begin : view.end + 1]

    def advance(self) -> None:
        """Keep the column that a step has written for every row."""
        self._view.end += 1
        self._lengths = [length + 1 for length in self._lengths]

    def reserve(self, rows: int, length: int = 0, like: Cache | None = None) -> None:
        """Make room for so many rows, a new one of this length among them, and for the column of the next step."""
        end, (has_rows, has_columns) = self._view.end, self._room
        if rows > has_rows:
            self._rearrange(max(rows, min(2 * has_rows, self._most)), length, like)
        elif length > end or end >= has_columns:
            self._rearrange(has_rows, length, like)

    def _rearrange(self, rows: int, length: int, like: Cache | None) -> None:
        """Lay all rows anew, in blocks that fit them."""
        longest = max(self._lengths, default=0)
        old, end = slice(self._view.end - longest, self._view.end), max(length, longest)
        columns = end + end // 2 + _SPARE
        self.lost = True
        if not self._layers and like is not None:
            self._layers = [_LaneLayer(self._view, layer.keys, layer.values) for layer in like.layers]
        for layer in self._layers:
            layer.keys = _moved(layer.keys, len(self), old, rows, columns, end)
            layer.values = _moved(layer.values, len(self), old, rows, columns, end)
        self._mask = _moved(self._mask[:, None, :, None], len(self), old, rows, columns, end)[:, 0, :, 0]
        self._room, self._view.end, self.lost = (rows, columns), end, False
        self._look_at_all()

    def _look_at_all(self) -> None:
        view = self._view
        view.first, view.last = 0, len(self)
        view.begin = view.end - max(self._lengths, default=0)


def _moved(block: Tensor, kept: int, old: slice, rows: int, columns: int, end: int) -> Tensor:
    # Zeros, because what a mask hides is still multiplied, and chance memory may hold infinities.
    new = block.new_zeros(rows, block.shape[1], columns, block.shape[3])
    if kept:
        new[:kept, :, end - (old.stop - old.start) : end] = block[:kept, :, old]
    return new
