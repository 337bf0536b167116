"""Where recorded traffic lies that these tests are held against: in a folder outside of the project."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import pytest

_VARIABLE = "MODELWRAP_RECORDINGS"


class Recorded(Protocol):
    @property
    def id(self) -> str: ...


def recorded_or_skipped(interactions: Callable[[Path], Iterable[Recorded]]) -> list[Any]:
    """Give what a folder of recordings has as parameters of tests; where no folder is named, one that skips them."""
    folder = os.environ.get(_VARIABLE)
    if folder is None:
        reason = f"set {_VARIABLE} to a folder of recorded traffic to run this"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="none")]
    if not Path(folder).is_dir():
        raise NotADirectoryError(f"{_VARIABLE}: {folder} is no folder")
    return [pytest.param(found, id=found.id) for found in interactions(Path(folder))]
