"""The program's own streams, where a shell closed them or nothing more can be written to them."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TextIO

from modelwrap.cli.exits import NOT_WRITTEN, READER_GONE


def prepare() -> None:
    """Do as with /dev/null where a shell closed a stream, as in `>&-`; Python has None there."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - open to the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # An answer may hold what the terminal's encoding has no sign for.
            stream.reconfigure(errors="backslashreplace")


def complain(text: str) -> None:
    """Write to stderr as far as that can be done: the exit code says the same."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)


def not_written(error: OSError) -> int:
    """Say that the output cannot be written, and give the exit code for it."""
    _discard(sys.stdout)
    if isinstance(error, BrokenPipeError):
        return READER_GONE
    complain(f"modelwrap: {error.filename or 'the output'} cannot be written: {error.strerror or error}\n")
    return NOT_WRITTEN


def _discard(stream: TextIO) -> None:
    """Let what could not be written go nowhere; the interpreter flushes once more when it ends, and would complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
