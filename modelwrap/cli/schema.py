"""`modelwrap schema`: the JSON Schema of configs."""

from __future__ import annotations

import argparse

from modelwrap.cli.exits import OK
from modelwrap.cli.printing import print_json

SUMMARY = "print the JSON Schema of configs, for editors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take none but those that all commands share."""


def run(options: argparse.Namespace) -> int:
    from modelwrap.config.schema import config_schema
    from modelwrap.plugins import load_plugin

    for plugin in options.plugins:
        load_plugin(plugin)
    print_json(config_schema())
    return OK
