"""Tables and JSON on stdout."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from modelwrap.cli.configs import Configured
from modelwrap.errors import CallError, MissingPackage, ModelwrapError

if TYPE_CHECKING:
    from modelwrap.models.base import Model

_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    model_type: str
    model: str
    endpoint: str | None
    lacks: str | None = None
    """Why it cannot be called, where it cannot."""

    @property
    def cells(self) -> tuple[str, ...]:
        return (self.name, self.model_type, self.model, self.lacks or self.endpoint or "")


def rows(configured: Configured) -> Iterator[Row]:
    """Give a row for each model of the config; those that lack something come last."""
    for name, model in configured.models.items():
        config = configured.models.config(name)
        try:
            if (check_packages := getattr(model, "check_packages", None)) is not None:
                check_packages()
            yield Row(name, config.model_type, config.model, _endpoint(model))
        except MissingPackage as error:
            yield Row(name, config.model_type, config.model, None, str(error))
        except CallError as error:
            # What the config asks of every call is more than the model takes.
            yield Row(name, config.model_type, config.model, None, in_one_line(error))
    for one in configured.unready:
        yield Row(one.name, one.model_type, one.model, None, one.problems.lacks)


def in_one_line(error: ModelwrapError) -> str:
    """Give an error's class and words for a cell of a table."""
    said = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{said[:_LONGEST]}…" if len(said) > _LONGEST else said


def print_cells(cells: Sequence[str], widths: Sequence[int]) -> None:
    print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip(), flush=True)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _endpoint(model: Model) -> str:
    """Name where a model's requests go, without what may be secret in an address."""
    endpoint = model.explain("Hi", stream=False).url
    if "://" not in endpoint:
        # The path of a model in this process; on Windows its drive looks like a scheme.
        return endpoint
    url = urlsplit(endpoint)
    return urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path, "", ""))
