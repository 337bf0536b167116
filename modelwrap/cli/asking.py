"""What the commands that ask a model something have in common: its name, the prompt, parameters."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from modelwrap.cli.exits import UsageError

# What the program itself says in each call.
_NO_PARAMETERS = {
    "self": "",
    "messages": "; the prompt stands behind the name, or comes from stdin",
    "stream": "; chat streams where it can, and explain has --stream",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words",
        metavar="NAME PROMPT",
        nargs="*",
        help="a name from the config (may be left out if it is the only one), and what to ask",
    )
    parser.add_argument("-s", "--system", metavar="TEXT", help="a system message")
    parser.add_argument(
        "-p",
        "--parameter",
        metavar="NAME=VALUE",
        dest="parameters",
        action="append",
        type=_parameter,
        default=[],
        help="a parameter of the call, as JSON or as plain text; repeatable",
    )


def parameters_of(options: argparse.Namespace) -> dict[str, Any]:
    return dict(options.parameters)


def piped_prompt() -> str:
    try:
        prompt = "" if sys.stdin.isatty() else sys.stdin.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the prompt cannot be read from stdin: {error}") from None
    if not prompt:
        raise UsageError("no prompt: write it behind the name, or pipe it in")
    return prompt


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form name=value")
    if name in _NO_PARAMETERS:
        raise argparse.ArgumentTypeError(f"{name} is none of the API's parameters{_NO_PARAMETERS[name]}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
