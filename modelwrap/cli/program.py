"""Run the program: read the command line, do what it says, and say in the exit code what came of it."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import TextIO

from modelwrap.cli import streams
from modelwrap.cli.arguments import parsed
from modelwrap.cli.exits import INTERRUPTED, UsageError, code_of
from modelwrap.errors import ModelwrapError, ModelwrapWarning


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and give its exit code."""
    streams.prepare()
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        # What the library reads and sends has errors of its own, so this is the terminal, a pipe or a file.
        return streams.not_written(error)


def _run(arguments: Sequence[str] | None) -> int:
    options = parsed(arguments)
    if options.debug:
        _log_to_stderr()
    with warnings.catch_warnings():
        warnings.filterwarnings("always", category=ModelwrapWarning)
        warnings.showwarning = _show_warning
        try:
            code: int = options.run(options)
            return code
        except (UsageError, ModelwrapError) as error:
            if options.debug:
                streams.complain(traceback.format_exc())
            streams.complain(f"modelwrap: {error}\n")
            return code_of(error)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show our own warnings as notes: the line of code that issued them says nothing to who runs a program."""
    text = f"{message}\n" if issubclass(category, ModelwrapWarning) else None
    streams.complain(
        f"modelwrap: {text}" if text else warnings.formatwarning(message, category, filename, lineno, line)
    )


def _log_to_stderr() -> None:
    import logging

    logging.basicConfig(format="%(name)s: %(message)s")
    logging.getLogger("modelwrap").setLevel(logging.DEBUG)
