"""How far a download has come, told to whoever waits for it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from modelwrap.local.cache import size_text

_SECONDS_BETWEEN_LINES = 0.1


class Progress(Protocol):
    """Be told of each step: bytes done, bytes in all where that is known, and what is being done."""

    def __call__(self, done: int, total: int | None, what: str, /) -> None: ...


@contextmanager
def shown(progress: Progress | None) -> Iterator[Progress]:
    """Give what to report to: the caller's own, or a line on stderr where somebody can see it."""
    if progress is not None:
        yield progress
    elif sys.stderr is not None and sys.stderr.isatty():
        line = _Line(sys.stderr)
        try:
            yield line
        finally:
            line.end()
    else:
        yield _silent


def _silent(done: int, total: int | None, what: str, /) -> None:
    pass


class _Line:
    """Write the last line of a terminal anew, a few times a second."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._what = ""
        self._width = 0
        self._written_at = 0.0

    def __call__(self, done: int, total: int | None, what: str, /) -> None:
        now = time.monotonic()
        finished = done == total
        if what == self._what and not finished and now - self._written_at < _SECONDS_BETWEEN_LINES:
            return
        if what != self._what:
            self.end()
            self._what = what
        self._written_at = now
        text = f"{what}: {_amount(done, total)}" if done or total else what
        self._out.write(f"\r{text.ljust(self._width)}")
        self._out.flush()
        self._width = len(text)

    def end(self) -> None:
        if self._width:
            self._out.write("\n")
            self._out.flush()
        self._what = ""
        self._width = 0


def _amount(done: int, total: int | None) -> str:
    if not total:
        return size_text(done)
    return f"{100 * done // total} % of {size_text(total)}"
