"""`modelwrap migrate`: files of older days in today's words."""

from __future__ import annotations

import argparse
import sys

from modelwrap.cli.exits import OK
from modelwrap.errors import ConfigError
from modelwrap.paths import at_home, replace_file

SUMMARY = "rewrite files of older days in today's words, comments kept"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="a file of configs")
    parser.add_argument("--dry-run", action="store_true", help="print the new text, and leave the file as it is")


def run(options: argparse.Namespace) -> int:
    from modelwrap.config.migration import migrated
    from modelwrap.config.sources import content

    for name in options.files:
        path = at_home(name)
        try:
            before = content(path)
        except OSError as error:
            raise ConfigError(f"{name}: cannot be read: {error.strerror or error}") from None
        migration = migrated(before, name)
        for change in migration.changes or [f"{name}: nothing to change"]:
            print(change, file=sys.stderr)
        if options.dry_run:
            print(migration.text, end="")
        elif migration.changes:
            new = migration.text.replace("\n", "\r\n") if b"\r\n" in before else migration.text
            try:
                replace_file(path.resolve(), new)
            except OSError as error:
                raise OSError(error.errno, error.strerror, name) from None
    return OK
