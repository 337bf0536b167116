"""`modelwrap check`: read the config, and say a line of each model."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from modelwrap.cli.configs import Configured
from modelwrap.cli.exits import CONFIG_WRONG, OK, code_of
from modelwrap.cli.printing import Row, print_cells, rows
from modelwrap.errors import ModelwrapError

if TYPE_CHECKING:
    from modelwrap.models.base import Model

SUMMARY = "read and validate the config, without any request"

_SMALL_QUESTION = "Reply with OK."
_LONGEST_OUTCOME = 200
_SECONDS = len("600.0 s")
_NOT_HERE = "not called: its weights are not here; name it to fetch them"

# What came of a call, as cells of a table, and the exit code that this means.
_Outcome: TypeAlias = tuple[tuple[str, str], int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="*", help="a name from the config; else all")
    parser.add_argument("--live", action="store_true", help="make one small call to each model, which may cost money")


def run(options: argparse.Namespace) -> int:
    with Configured.of(options) as configured:
        for name in options.names:
            configured.check_name(name)
        models = configured.models
        wanted = options.names or configured.names
        lacking = [one for one in configured.unready if one.name in wanted]
        table = [row for row in rows(configured) if row.name in wanted]
        table += [Row(one.name, one.model_type, one.model, one.problems.lacks) for one in lacking]

        def ask(name: str) -> _Outcome | None:
            if name not in models:
                return None
            # Gigabytes are fetched for those only that somebody names.
            may_fetch = name in options.names or getattr(models[name], "is_here", True)
            return _outcome_of(models[name]) if may_fetch else (("-", _NOT_HERE), OK)

        return max(CONFIG_WRONG if lacking else OK, _print_rows(table, ask if options.live else None))


def _print_rows(table: list[Row], ask: Callable[[str], _Outcome | None] | None) -> int:
    """Print a line a model, each as soon as it is known; what the worst of the answers means is the exit code."""
    widths = [max(map(len, column)) for column in zip(*(row.cells for row in table), strict=True)]
    worst = OK
    for row in table:
        outcome = ask(row.name) if ask else None
        if outcome is None:
            print_cells(row.cells, widths)
        else:
            print_cells((*row.cells, *outcome[0]), (*widths, _SECONDS, 0))
            worst = max(worst, outcome[1])
    return worst


def _outcome_of(model: Model) -> _Outcome:
    """Give how long a small call took and what came of it, and the exit code that this means."""
    started = time.monotonic()
    try:
        reply = model(_SMALL_QUESTION, stream=False)
    except ModelwrapError as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        cut = f"{said[:_LONGEST_OUTCOME]}…" if len(said) > _LONGEST_OUTCOME else said
        return (_seconds_since(started), cut), code_of(error)
    tokens = f", {reply.meta.usage.total} tokens" if reply.meta.usage else ""
    return (_seconds_since(started), f"ok{tokens}"), OK


def _seconds_since(started: float) -> str:
    return f"{time.monotonic() - started:.1f} s"
