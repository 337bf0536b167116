"""Run the program: read the command line, do what it says, and say in the exit code what came of it."""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from modelwrap.cli.arguments import parsed
from modelwrap.cli.exits import INTERRUPTED, NOT_WRITTEN, READER_GONE, UsageError, code_of
from modelwrap.errors import ModelwrapError, ModelwrapWarning


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and give its exit code."""
    _open_closed_streams()
    options = parsed(arguments)
    if options.debug:
        _log_to_stderr()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # An answer may hold what the terminal's encoding has no sign for.
            stream.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():
        warnings.filterwarnings("always", category=ModelwrapWarning)
        warnings.showwarning = _show_warning
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        # What the library reads and sends has errors of its own, so this is the terminal, a pipe or a file.
        # The interpreter flushes stdout once more when it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return READER_GONE
        print(
            f"modelwrap: {error.filename or 'the output'} cannot be written: {error.strerror or error}", file=sys.stderr
        )
        return NOT_WRITTEN
    except (UsageError, ModelwrapError) as error:
        if options.debug:
            traceback.print_exc()
        print(f"modelwrap: {error}", file=sys.stderr)
        return code_of(error)


def _open_closed_streams() -> None:
    """Do as with /dev/null where a shell closed a stream, as in `>&-`; Python has None there."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - open to the end


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
    sys.stderr.write(
        f"modelwrap: {text}" if text else warnings.formatwarning(message, category, filename, lineno, line)
    )


def _log_to_stderr() -> None:
    import logging

    logging.basicConfig(format="%(name)s: %(message)s")
    logging.getLogger("modelwrap").setLevel(logging.DEBUG)
