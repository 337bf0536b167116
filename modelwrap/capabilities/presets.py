"""Hosts that speak OpenAI's format: where each is, and which variable of the environment holds its key."""

from __future__ import annotations

from dataclasses import dataclass

from modelwrap.capabilities import table
from modelwrap.wire.urls import host_of


@dataclass(frozen=True, slots=True)
class Preset:
    name: str
    base_url: str
    key: str
    """The variable that holds the key; empty for servers of one's own, which want none."""


def presets() -> dict[str, Preset]:
    """Give every preset by its name."""
    return {row["preset"]: _preset(row) for row in table.hosts() if "preset" in row}


def preset_at(base_url: str) -> Preset | None:
    """Find the preset whose host a URL names; servers of one's own have no host by which to know them."""
    row = table.host(host_of(base_url))
    return _preset(row) if "preset" in row else None


def _preset(row: table.Row) -> Preset:
    return Preset(row["preset"], row["base_url"], row.get("key", ""))
