"""What a model and its host accept, as data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any

from modelwrap.wire.urls import host_of


@dataclass(frozen=True, slots=True)
class Traits:
    """Say how one endpoint wants to be spoken to; learned from its refusals where no table knew."""

    token_limit: str = "as_written"
    """`max_tokens`, `max_completion_tokens`, or `as_written`: the name under which the limit goes out."""
    stream_usage: bool = True
    """Whether `stream_options.include_usage` is asked for."""
    replay_reasoning: bool = True
    """Whether reasoning stays on assistant messages that go back."""
    think_tags: bool = True
    """Whether a leading `<think>` in an answer is read as reasoning."""


def traits_for(model: str, base_url: str) -> Traits:
    """Look up how this model wants to be spoken to at this address; what no row names is sent as it was written."""
    host = host_of(base_url)
    for provider in _table()["providers"].values():
        if _fits(host, provider["hosts"]):
            return Traits(**{**provider["traits"], **_model_traits(model, provider["models"])})
    return Traits()


def _model_traits(model: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    # "ft:gpt-4o-mini-2024-07-18:company::id" speaks as the model that it was made from.
    name = model.split(":")[1] if model.startswith("ft:") and model.count(":") > 1 else model
    for row in rows:
        if name in row["match"]:
            return dict(row["traits"])
    for row in rows:
        if _fits(name, row["match"]):
            return dict(row["traits"])
    return {}


def _fits(name: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@cache
def _table() -> dict[str, Any]:
    text = files("modelwrap").joinpath("data/capabilities.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table
