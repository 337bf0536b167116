"""`modelwrap check`: read the config, and say a line of each model."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from modelwrap.cli.configs import Configured
from modelwrap.cli.exits import CONFIG_WRONG, OK, code_of
from modelwrap.cli.printing import Row, in_one_line, print_cells, rows
from modelwrap.errors import BadRequest, ModelwrapError

if TYPE_CHECKING:
    from modelwrap.models.base import Model
    from modelwrap.types import Reply

SUMMARY = "read and validate the config, without any request"

_SMALL_QUESTION = "Reply with OK."
_MOST_TOKENS = 64
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
        table = [row for row in rows(configured) if row.name in (options.names or configured.names)]

        def ask(row: Row) -> _Outcome:
            model = configured.models[row.name]
            # Gigabytes are fetched for those only that somebody names.
            may_fetch = row.name in options.names or getattr(model, "is_here", True)
            return _outcome_of(model) if may_fetch else (("-", _NOT_HERE), OK)

        worst = max(CONFIG_WRONG if row.lacks else OK for row in table)
        return max(worst, _print_rows(table, ask if options.live else None))


def _print_rows(table: list[Row], ask: Callable[[Row], _Outcome] | None) -> int:
    """Print a line a model, each as soon as it is known; what the worst of the answers means is the exit code."""
    # Nothing stands behind what a model lacks, which may be long.
    aligned = [(*row.cells[:-1], "") if row.lacks else row.cells for row in table]
    widths = [max(map(len, column)) for column in zip(*aligned, strict=True)]
    worst = OK
    for row in table:
        if ask is None or row.lacks:
            print_cells(row.cells, widths)
        else:
            outcome, code = ask(row)
            print_cells((*row.cells, *outcome), (*widths, _SECONDS, 0))
            worst = max(worst, code)
    return worst


def _outcome_of(model: Model) -> _Outcome:
    """Give how long a small call took and what came of it, and the exit code that this means."""
    started = time.monotonic()
    try:
        reply = _small_reply(model)
    except ModelwrapError as error:
        return (_seconds_since(started), in_one_line(error)), code_of(error)
    tokens = f", {reply.meta.usage.total} tokens" if reply.meta.usage else ""
    return (_seconds_since(started), f"ok{tokens}"), OK


def _small_reply(model: Model) -> Reply:
    """Ask for little, and pay for little: a model that is wrongly set up may talk without end."""
    limit = {model.length_parameter: _MOST_TOKENS} if model.length_parameter else {}
    try:
        return model(_SMALL_QUESTION, stream=False, **limit)
    except BadRequest:
        if not limit:
            raise
        # A model that thinks may need more before it says anything, and says so in many ways.
        return model(_SMALL_QUESTION, stream=False)


def _seconds_since(started: float) -> str:
    return f"{time.monotonic() - started:.1f} s"
