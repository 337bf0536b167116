"""Print the table: every row on every column, and the sums. The exit code says whether ours is good in all of it."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from types import FrameType

from tests.faults.case import ROWS, Row, Short
from tests.faults.columns import COLUMNS, OURS, Column
from tests.faults.rows import TABLE

LIMIT = 60

Found = dict[tuple[str, str], list[Short]]


def judged(row_id: str, column: str) -> list[Short]:
    """Be run in another process, and end whatever the row does."""

    def too_long(signal_number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"nothing came of it for {LIMIT} s")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(LIMIT)
    try:
        return _judged(row_id, column)
    except TimeoutError as error:
        return [Short(str(error))]
    finally:
        signal.alarm(0)


def _judged(row_id: str, column: str) -> list[Short]:
    return ROWS[row_id].judge(COLUMNS[column])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", help="only these rows")
    parser.add_argument("--column", action="append", choices=list(COLUMNS), help="only these columns")
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--everything", action="store_true", help="say all that the others fall short in, too")
    chosen = parser.parse_args()
    rows = [row for row in TABLE if not chosen.rows or row.id in chosen.rows]
    columns = [column for name, column in COLUMNS.items() if not chosen.column or name in chosen.column]
    started = time.monotonic()
    with ProcessPoolExecutor(chosen.jobs, mp_context=get_context("spawn")) as workers:
        tasks = {
            (row.id, column.name): workers.submit(judged, row.id, column.name) for column in columns for row in rows
        }
        found = {place: result_of(task) for place, task in tasks.items()}
    report(rows, columns, found, everything=chosen.everything)
    print(f"{time.monotonic() - started:.0f} s")
    return int(any(found[row.id, column.name] for row in rows for column in columns if column in OURS))


def report(rows: list[Row], columns: list[Column], found: Found, *, everything: bool) -> None:
    names = [column.name for column in columns]
    width = max(len(row.title) for row in rows)
    print(f"{'row':4} {'fault':{width}} " + " ".join(f"{name:16}" for name in names))
    for row in rows:
        marks = (verdict(found[row.id, name]) for name in names)
        print(f"{row.id:4} {row.title:{width}} " + " ".join(f"{mark:16}" for mark in marks).rstrip())
    print()
    for row in rows:
        for column in columns:
            shorts = found[row.id, column.name]
            # Of others one thing is enough to see that a row is short.
            told = distinct(shorts) if everything or column.ours else distinct(own(shorts))[:1]
            for words in told:
                print(f"{row.id} {column.name}: {words}")
    print()
    for name in names:
        some = sum(bool(found[row.id, name]) for row in rows)
        rest = sum(bool(own(found[row.id, name])) for row in rows)
        print(
            f"{name:16} {len(rows) - some:3} of {len(rows)} rows ok, {some} short ({rest} by what the row itself asks)"
        )


def own(shorts: list[Short]) -> list[Short]:
    """Leave out what every row asks of its errors."""
    return [short for short in shorts if not short.common]


def result_of(task: Future[list[Short]]) -> list[Short]:
    error = task.exception()
    return task.result() if error is None else [Short(f"could not be judged: {type(error).__name__}: {error}")]


def verdict(shorts: list[Short]) -> str:
    if not shorts:
        return "ok"
    return "short" if own(shorts) else "short (error)"


def distinct(shorts: list[Short]) -> list[str]:
    return list(dict.fromkeys(str(short)[:300] for short in shorts))


if __name__ == "__main__":
    sys.exit(main())
