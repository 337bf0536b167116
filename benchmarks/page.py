"""What a run found, as the tables of docs/performance.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from contenders import BARE, BARE_AIOHTTP, OPENAI, OURS, OURS_ON_AIOHTTP
from findings import Findings, Row

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- Written by make bench: -->\n", "<!-- until here. -->\n"


class Column(NamedTuple):
    title: str
    measured: str
    shown: Callable[[float], str]
    with_ratio: bool = True


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:,.0f} ms"


def microseconds(seconds: float) -> str:
    return f"{number(seconds * 1e6, 3)} µs"


def mebibytes(size: float) -> str:
    return f"{size / 2**20:,.1f} MiB"


def per_second(count: float) -> str:
    return f"{count:,.0f}/s"


COSTS = [
    Column("import to first reply", "first reply", milliseconds),
    Column("one call", "call", microseconds),
    Column("one piece of a stream", "piece", microseconds),
    Column("memory", "memory", mebibytes),
    Column("growth over 10,000 calls", "growth", mebibytes, with_ratio=False),
]
SPEEDS = [
    Column("50 at once", "50 at once", per_second),
    Column("500 at once", "500 at once", per_second),
    Column("50 at once: one call", "50 at once, call", microseconds),
    Column("500 at once: one call", "500 at once, call", microseconds),
]


class Budget(NamedTuple):
    """Promise that a number, or its ratio to another contender's, stays on one side of a bound."""

    what: str
    contender: str
    measured: str
    bound: float
    base: str | None = None
    at_most: bool = True
    unit: float = 1.0

    def value(self, findings: Findings) -> float | None:
        own = findings.median(self.contender, self.measured)
        base = findings.median(self.base, self.measured) if self.base else self.unit
        return own / base if own is not None and base else None

    def verdict(self, findings: Findings) -> str:
        value = self.value(findings)
        if value is None:
            return "not measured"
        return "met" if (value <= self.bound if self.at_most else value >= self.bound) else "missed"


BUDGETS = [
    Budget("import to first reply ÷ openai's", OURS, "first reply", 0.6, OPENAI),
    Budget("`import modelwrap` ÷ `import openai`", OURS, "import", 0.1, OPENAI),
    Budget("processor time of one call ÷ bare httpx2's", OURS, "call", 1.2, BARE),
    Budget("processor time of one piece of a stream, µs", OURS, "piece", 20, unit=1e-6),
    Budget("the same ÷ bare httpx2's", OURS, "piece", 2.3, BARE),
    Budget("calls per second, 500 at once, on aiohttp", OURS_ON_AIOHTTP, "500 at once", 6_000, at_most=False),
    Budget("processor time of one of these ÷ bare aiohttp's", OURS_ON_AIOHTTP, "500 at once, call", 2.05, BARE_AIOHTTP),
    Budget("calls per second, 500 at once, on httpx2", OURS, "500 at once", 1_300, at_most=False),
]


def missed(findings: Findings) -> int:
    return sum(budget.verdict(findings) != "met" for budget in BUDGETS)


def write(findings: Findings) -> None:
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{results(findings)}\n{END}{after}", "utf-8")


def results(findings: Findings) -> str:
    """Give the whole of what a run found, as Markdown."""
    rows = findings.rows
    parts = [
        circumstances(findings),
        "Blocking, one call after another. Calls and pieces cost processor time; × is the ratio to bare httpx2.",
        comparison(findings, [row for row in rows if row.contender.blocking], COSTS),
        f"Concurrent, on one event loop. The server alone answers {findings.capacity:,.0f} requests a second.",
        comparison(findings, [row for row in rows if row.contender.concurrent], SPEEDS),
        "The budgets.",
        table(["", "measured", "budget", ""], [verdict_line(budget, findings) for budget in BUDGETS]),
        *[f"{row.contender.name}: {failure}." for row in rows for failure in row.failures],
    ]
    return "\n\n".join(parts) + "\n"


def circumstances(findings: Findings) -> str:
    return (
        f"`make bench` on {datetime.now(UTC):%d %B %Y}, {os.cpu_count()} cores ({platform.machine()}), "
        f"{platform.system()}, Python {platform.python_version()}; load before it began: {findings.load:.1f}."
    )


def comparison(findings: Findings, rows: list[Row], columns: list[Column]) -> str:
    lines = [
        [f"{row.contender.name} {row.version}".rstrip(), *(cell(row, findings, column) for column in columns)]
        for row in rows
    ]
    return table(["", *(column.title for column in columns)], lines)


def cell(row: Row, findings: Findings, column: Column) -> str:
    value = row.median(column.measured)
    if value is None:
        return "–"
    base = findings.median(BARE, column.measured)
    if not (column.with_ratio and base) or row.contender.name == BARE:
        return column.shown(value)
    return f"{column.shown(value)} ({number(value / base, 2)} ×)"


def verdict_line(budget: Budget, findings: Findings) -> list[str]:
    value = budget.value(findings)
    bound = f"{'at most' if budget.at_most else 'at least'} {budget.bound:,g}"
    return [budget.what, "–" if value is None else number(value, 3), bound, budget.verdict(findings)]


def number(value: float, digits: int) -> str:
    return f"{value:,.0f}" if value >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def table(titles: list[str], lines: list[list[str]]) -> str:
    """Lay out a table of Markdown whose columns stand under each other in plain text, too."""
    first, *others = [max(map(len, column)) for column in zip(titles, *lines, strict=True)]

    def line(texts: list[str]) -> str:
        numbers = [text.rjust(width) for text, width in zip(texts[1:], others, strict=True)]
        return f"| {' | '.join([texts[0].ljust(first), *numbers])} |"

    rule = ["-" * first, *("-" * (width - 1) + ":" for width in others)]
    return "\n".join(map(line, [titles, rule, *lines]))
