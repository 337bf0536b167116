"""The rows: one JSON file a provider, read when it is first asked for, and which row speaks of which model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from pydantic_core import from_json

# Not by importlib.resources, whose first use costs as much as reading a file.
_FOLDER = Path(__file__).parent.parent / "data" / "capabilities"

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Layers:
    """Hold what speaks of one model, the later over the earlier: provider, family, platform."""

    default: Row | None = None
    family: Row | None = None
    overlays: tuple[Row, ...] = ()

    def __iter__(self) -> Iterator[Row]:
        if self.default is not None and (self.family is None or kind_of(self.family) in ("chat", "image")):
            yield self.default
        if self.family is not None:
            yield self.family
        yield from self.overlays


def hosts() -> list[Row]:
    """List what is known of hosts; a row without `hosts` is of a server that may stand anywhere."""
    rows: list[Row] = _read("hosts")
    return rows


def host(name: str) -> Row:
    """Give what is known of a host: the provider whose models it serves in OpenAI's format, the platform, its facts."""
    return next((known for known in hosts() if _fits(name, known.get("hosts", ()))), {})


def preset(name: str) -> Row:
    """Give what is known of the host that a preset names."""
    return next((known for known in hosts() if known.get("preset") == name), {})


def providers() -> list[str]:
    """List the providers that speak OpenAI's format."""
    return list(dict.fromkeys(known["provider"] for known in hosts() if "provider" in known))


def layers(model: str, provider: str, platform: str = "") -> Layers:
    table = _read(provider)
    name = _bare(model, table.get("prefixes", ()))
    rows = [row for row in table["rows"] if row.get("platform", platform) == platform]
    families = [row for row in rows if kind_of(row) not in ("default", "overlay")]
    exact = next((row for row in families if name in row["match"]), None)
    family = exact or next((row for row in families if _fits(name, row["match"])), None)
    # A row of the platform's own says already what is different there.
    overlaid = not (family and "platform" in family)
    return Layers(
        default=next((row for row in rows if kind_of(row) == "default"), None),
        family=family,
        overlays=tuple(row for row in rows if overlaid and kind_of(row) == "overlay" and _fits(name, row["match"])),
    )


def kind_of(row: Row) -> str:
    """Tell rows of models (`chat`, `embedding`, `image`, `other`) from `default` and `overlay`."""
    return str(row.get("kind", "chat"))


def models(provider: str) -> list[str]:
    """List the names and patterns of a provider's models."""
    named = (row["match"] for row in _read(provider)["rows"] if kind_of(row) not in ("default", "overlay"))
    return [name for names in named for name in names]


def _bare(model: str, prefixes: list[str]) -> str:
    """Take off what platforms put in front of a name, and around that of a fine-tuned model."""
    # "ft:gpt-4o-mini-2024-07-18:company::id" speaks as the model that it was made from.
    if model.startswith("ft:") and model.count(":") > 1:
        return model.split(":")[1]
    prefix = next((prefix for prefix in prefixes if model.startswith(prefix)), "")
    return model[len(prefix) :]


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(_matches(name, pattern) for pattern in patterns)


def _matches(name: str, pattern: str) -> bool:
    """Match as a shell does, with `*` only; `fnmatch` would compile a hundred patterns for one lookup."""
    start, *pieces = pattern.split("*")
    if not pieces:
        return name == pattern
    if not name.startswith(start):
        return False
    position, end = len(start), pieces.pop()
    for piece in pieces:
        found = name.find(piece, position)
        if found < 0:
            return False
        position = found + len(piece)
    return len(name) - len(end) >= position and name.endswith(end)


@cache
def _read(name: str) -> Any:
    return from_json((_FOLDER / f"{name}.json").read_bytes())
