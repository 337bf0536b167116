"""Tables and JSON on stdout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from modelwrap.cli.configs import Configured

if TYPE_CHECKING:
    from modelwrap.models.base import Model


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    model_type: str
    model: str
    endpoint: str | None

    @property
    def cells(self) -> tuple[str, ...]:
        return (self.name, self.model_type, self.model, self.endpoint or "")


def rows(configured: Configured) -> list[Row]:
    """Give a row for each model that is ready."""
    models = configured.models
    return [
        Row(name, models.config(name).model_type, models.config(name).model, _endpoint(model))
        for name, model in models.items()
    ]


def print_cells(cells: Sequence[str], widths: Sequence[int]) -> None:
    print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip(), flush=True)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _endpoint(model: Model) -> str:
    """Name where a model's requests go, without what may be secret in an address."""
    url = urlsplit(model.explain("Hi", stream=False).url)
    return urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path, "", ""))
