"""The table on other wires than Chat Completions: which rows are held to it, on which clients, and in whose words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from modelwrap.testing.faults import answers, bodies, connections, refusals, streams
from tests.faults.case import Case, Row
from tests.faults.columns import OwnColumn
from tests.faults.rows import TABLE

# What takes long and does not hang on the wire.
_SLOW = {"C42", "C45", "S13", "S15", "S26"}
_ON_EVERY_WIRE = {
    *(f"C{number:02}" for number in (*range(14, 29), 43, 44)),
    *(f"S{number:02}" for number in range(1, 27)),
}


@dataclass(frozen=True)
class Wire:
    name: str
    columns: Sequence[OwnColumn]
    words: Mapping[str, Any]
    """What the server's faults are made of, by the names that they have there."""
    not_here: Mapping[str, str]
    """The rows that do not hold on this wire, and why."""
    also_short: frozenset[str] = frozenset()
    """Rows that hang on this wire as on no other."""

    @property
    def rows(self) -> list[Row]:
        return [row for row in TABLE if row.id not in self.not_here]

    @property
    def short_rows(self) -> list[Row]:
        """The rows that hang on the wire."""
        return [row for row in self.rows if row.id in (_ON_EVERY_WIRE | self.also_short) - _SLOW]

    @contextmanager
    def spoken(self) -> Iterator[None]:
        """Let the server say in this wire's words what it says in those of Chat Completions."""
        with ExitStack() as stack:
            for module in (answers, bodies, connections, refusals, streams):
                for name in self.words.keys() & vars(module).keys():
                    stack.enter_context(patch.object(module, name, self.words[name]))
            yield

    @contextmanager
    def judged(self, column: OwnColumn) -> Iterator[Case]:
        """Give a case for rows that this wire alone has; nothing may fall short in it."""
        case = Case(column)
        with self.spoken(), column.prepared():
            yield case
            assert [str(short) for short in case.finish()] == []


def on_every_client(kind: Callable[..., OwnColumn]) -> list[OwnColumn]:
    return [kind("httpx2", blocking=True), kind("httpx2", blocking=False), kind("aiohttp", blocking=False)]
