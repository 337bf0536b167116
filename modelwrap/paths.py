"""Paths as people write them, and files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from modelwrap.errors import ConfigError


def at_home(path: str | bytes | os.PathLike[str]) -> Path:
    """Read a path in which `~` may stand for somebody's home; `ConfigError` where it can be no path."""
    text = os.fspath(path)
    if not isinstance(text, str) or "\0" in text:
        raise ConfigError(f"{text!r}: a path must be text without NUL characters")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{text}: {error}") from None


def replace_file(path: Path, text: str) -> None:
    """Write a file so that a reader, or a crash, sees the old one or the new one whole."""
    temporary = beside(path)
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            temporary.chmod(path.stat().st_mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def beside(path: Path) -> Path:
    """Name a file of this process in the folder of another."""
    return path.with_name(f".{path.name}.{os.getpid()}")
