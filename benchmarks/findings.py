"""What a run found out."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from contenders import Contender


@dataclass
class Row:
    """Be what is known of one contender: some values for each thing that was measured, or why there are none."""

    contender: Contender
    version: str = ""
    measured: dict[str, list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, found: dict[str, float]) -> None:
        for name, value in found.items():
            self.measured.setdefault(name, []).append(value)

    def median(self, name: str) -> float | None:
        return statistics.median(self.measured[name]) if name in self.measured else None


@dataclass
class Findings:
    rows: list[Row]
    load: float
    """How many processes wanted the processor before the run began."""
    capacity: float = 0.0
    """How many requests a second the server answers to a client that costs nothing."""

    def median(self, contender: str, name: str) -> float | None:
        return next((row.median(name) for row in self.rows if row.contender.name == contender), None)
