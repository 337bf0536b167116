"""Measure modelwrap beside the clients under it and beside its peers, all in one run, each in its own environment.

`run.py` writes what it found into docs/performance.md, and fails where a budget is missed. `run.py NAME…` measures
only those and writes nothing. `--brief` takes a moment and what this interpreter has; it installs and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import environments
import page
from contenders import CONTENDERS, Contender
from environments import NotInstalled
from findings import Findings, Row
from server import capacity, running

AT_ONCE = (50, 500)
VERSION = "import {package}, importlib.metadata; print(importlib.metadata.version({name!r}))"


@dataclass(frozen=True)
class Work:
    name: str
    turns: int
    options: dict[str, Any]
    patience: float = 300.0
    """How many seconds one turn may take."""

    def suits(self, contender: Contender) -> bool:
        return (contender.concurrent if self.name == "concurrent" else contender.blocking) is not None


FULL = [
    # So many streams that it does not matter whether the garbage collector looks at everything during one of them.
    Work("blocking", 7, {"calls": 200, "streams": 20}),
    Work("concurrent", 3, {"callers": AT_ONCE, "seconds": 1.5}),
    Work("growth", 1, {"calls": 10_000}),
]
BRIEF = [
    Work("blocking", 1, {"calls": 10, "streams": 1}),
    Work("concurrent", 1, {"callers": AT_ONCE[:1], "seconds": 0.1}),
]


def measure(contenders: list[Contender], works: list[Work], python_of: Any) -> Findings:
    """Measure everyone at everything. They take turns, and the order goes round, so that a slow moment hits all."""
    findings = Findings([Row(contender) for contender in contenders], os.getloadavg()[0])
    pythons = {row.contender.name: python for row in findings.rows if (python := prepared(row, python_of))}
    with running() as base_url:
        for work in works:
            for turn in range(work.turns):
                for row in rotated(findings.rows, turn):
                    if row.contender.name in pythons and not row.failures and work.suits(row.contender):
                        take_turn(row, work, pythons[row.contender.name], base_url)
        findings.capacity = capacity(base_url)
    return findings


def prepared(row: Row, python_of: Any) -> str | None:
    """Give the interpreter that has the contender, with its bytecode compiled."""
    distribution = row.contender.requirement.partition("[")[0].replace(".", "modelwrap")
    try:
        python = str(python_of(row.contender))
        row.version = answer_of([python, "-c", VERSION.format(package=row.contender.package, name=distribution)])
    except (NotInstalled, Failed) as error:
        row.failures.append(f"not installed: {error}")
        return None
    return python


def rotated(rows: list[Row], turn: int) -> Iterator[Row]:
    start = turn * 3 % len(rows)
    yield from rows[start:]
    yield from rows[:start]


def take_turn(row: Row, work: Work, python: str, base_url: str) -> None:
    print(f"{work.name}: {row.contender.name}", file=sys.stderr, flush=True)
    worker = [python, str(environments.ROOT / "benchmarks" / "worker.py")]
    try:
        found = answer_of([*worker, row.contender.name, base_url, work.name, json.dumps(work.options)], work.patience)
    except Failed as error:
        row.failures.append(f"{work.name}: {error}")
    else:
        row.add(json.loads(found))


class Failed(Exception):
    """Say why a process gave no answer."""


def answer_of(command: list[str], patience: float = 120.0) -> str:
    """Give the last line that a process prints; what else it prints is its own affair."""
    try:
        done = subprocess.run(
            command, env=environments.variables(), capture_output=True, text=True, check=False, timeout=patience
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"no end within {patience:g} s") from None
    if done.returncode:
        raise Failed(environments.last_line(done.stderr))
    return environments.last_line(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="measure only these")
    parser.add_argument("--brief", action="store_true", help="install and write nothing; a moment of what is here")
    asked = parser.parse_args()

    chosen = [one for one in CONTENDERS if not asked.names or one.name in asked.names]
    works, python_of = (BRIEF, lambda _: sys.executable) if asked.brief else (FULL, environments.python_of)
    findings = measure(chosen, works, python_of)
    print(page.results(findings))
    if not asked.names and not asked.brief:
        page.write(findings)
    return page.missed(findings)


if __name__ == "__main__":
    sys.exit(main())
