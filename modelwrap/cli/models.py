"""`modelwrap models`: the names in the config."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from modelwrap.cli.configs import Configured
from modelwrap.cli.exits import OK
from modelwrap.cli.printing import print_json, rows

SUMMARY = "list the names in the config, one a line"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="with type, model, endpoint and what it lacks, as JSON")


def run(options: argparse.Namespace) -> int:
    with Configured.of(options) as configured:
        if options.json:
            print_json([asdict(row) for row in rows(configured)])
        else:
            for name in configured.names:
                print(name)
    return OK
