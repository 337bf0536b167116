"""The folder where fetched files are kept, and how they get there: whole and checked, or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import IO

from modelwrap.errors import WeightsUnavailable

CACHE_VARIABLE = "MODELWRAP_CACHE"

# What the notes beside a file take.
_MARGIN = 64 * 1024


def cache_folder() -> Path:
    """Give the folder that `MODELWRAP_CACHE` names, else `modelwrap` in the user's cache."""
    try:
        if own := os.environ.get(CACHE_VARIABLE):
            return Path(own).expanduser()
        shared = os.environ.get("XDG_CACHE_HOME", "")
        return (Path(shared) if Path(shared).is_absolute() else Path.home() / ".cache") / "modelwrap"
    except RuntimeError as error:
        raise WeightsUnavailable(f"the home folder is not known; name a folder in {CACHE_VARIABLE}") from error


def make_folder(folder: Path) -> None:
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def check_room(folder: Path, needed: int) -> None:
    """Raise unless the disk under a folder has this many bytes left."""
    with disk_errors(folder):
        free = shutil.disk_usage(folder).free
    if free < needed + _MARGIN:
        raise WeightsUnavailable(
            f"{folder}: {size_text(needed)} are needed and {size_text(free)} are free; {_ELSEWHERE}"
        )


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Say of what the disk refuses what can be done about it."""
    try:
        yield
    except OSError as error:
        full = error.errno in (ENOSPC, EDQUOT)
        words = "the disk is full" if full else error.strerror or str(error)
        raise WeightsUnavailable(f"{path}: {words}; {_ELSEWHERE if full else _NAME_ANOTHER}") from error


_NAME_ANOTHER = f"{CACHE_VARIABLE} names another folder to keep weights in"
_ELSEWHERE = f"free some, or name a folder on another disk in {CACHE_VARIABLE}"


@contextmanager
def locked(target: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Be alone with a file among all threads and processes; `on_wait` is called when that takes waiting.

    The system lets go of the lock when its holder dies. The empty file that carries it stays: to delete it would let
    two others hold a lock of the same name.
    """
    carrier = target.with_name(f"{target.name}.lock")
    with disk_errors(carrier):
        file = carrier.open("ab")
    with file:
        with disk_errors(carrier):
            free = _try_lock(file)
        if not free:
            on_wait()
            with disk_errors(carrier):
                _wait_for_lock(file)
        try:
            yield
        finally:
            # Closing alone would leave it with a child that was forked meanwhile.
            _unlock(file)


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

    def _wait_for_lock(file: IO[bytes]) -> None:
        while not _try_lock(file):
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
                return
            except OSError:
                # It gives up after ten seconds.
                continue

    def _unlock(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _wait_for_lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)

    def _unlock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


class Part:
    """Be a file that is still coming; what the server called its version stands in a note beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._note = path.with_name(f"{path.name}.version")

    @property
    def size(self) -> int:
        with disk_errors(self.path):
            return self.path.stat().st_size if self.path.exists() else 0

    @property
    def version(self) -> str:
        """The strong entity tag of what is there; empty where the server gave none."""
        with disk_errors(self._note):
            return self._note.read_text("latin-1") if self._note.exists() else ""

    def begin(self, version: str) -> None:
        """Forget what is there, and expect this version."""
        self.delete()
        with disk_errors(self._note):
            self._note.write_text(version, "latin-1")

    @contextmanager
    def appending(self) -> Iterator[Callable[[bytes], None]]:
        """Open the end of the file; what was written is kept, however the block ends."""
        with disk_errors(self.path):
            file = self.path.open("ab", buffering=0)

        def write(piece: bytes) -> None:
            view = memoryview(piece)
            with disk_errors(self.path):
                while view:
                    view = view[file.write(view) :]

        with file:
            yield write

    def delete(self) -> None:
        with disk_errors(self.path):
            # The note goes last: a part without its note would be taken for one that has no version.
            self.path.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)

    def keep_as(self, target: Path) -> None:
        """Give the finished file its name."""
        publish(self.path, target)
        self.delete()


def publish(finished: Path, target: Path) -> None:
    """Move a file to its final name when the disk has all of it: whoever sees the name sees a whole file."""
    with disk_errors(target):
        with finished.open("rb+") as file:
            os.fsync(file.fileno())
        finished.replace(target)
        _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_text(size: float) -> str:
    """Write a number of bytes for people.

    >>> size_text(92_871_040)
    '92.9 MB'
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
