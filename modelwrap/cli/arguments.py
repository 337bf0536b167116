"""What may stand on the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from modelwrap import __version__
from modelwrap.cli import chat, check, download, explain, migrate, models, schema, streams
from modelwrap.cli.exits import MEANINGS

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


class Command(Protocol):
    """Be one of the program's commands; a module is one."""

    SUMMARY: str

    def add_arguments(self, parser: argparse.ArgumentParser, /) -> None:
        """Say what may stand behind the command."""

    def run(self, options: argparse.Namespace, /) -> int:
        """Do what is asked, and give the exit code."""


_COMMANDS: Mapping[str, Command] = {
    "chat": chat,
    "download": download,
    "check": check,
    "migrate": migrate,
    "explain": explain,
    "schema": schema,
    "models": models,
}

_CODES = "\n".join(f"  {code:<4} {meaning}" for code, meaning in MEANINGS.items())
_EPILOG = f"""\
The config is what -c names, else $MODELWRAP_CONFIG, else the folder model_configs or the file modelwrap.json here.

exit codes:
{_CODES}
"""


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; the words of a prompt may stand on both sides of an option, where argparse takes one."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments, argparse.Namespace(debug=False, entrypoint=False))
    end = rest.index("--") if "--" in rest else len(rest)
    unknown = [word for word in rest[:end] if word[:1] == "-" and word != "-" and " " not in word]
    if unknown or (rest and not hasattr(options, "words")):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.words = [*options.words, *rest[:end], *rest[end + 1 :]]
    return options


class _Parser(argparse.ArgumentParser):
    def __init__(self, **named: Any) -> None:
        # Half of an option's name may be a slip, and what it stands for cost money.
        super().__init__(allow_abbrev=False, **named)

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        """Write help and complaints; argparse itself is silent about what cannot be written."""
        if file is sys.stdout:
            print(message, end="", flush=True)
        else:
            streams.complain(message)


def _parser() -> argparse.ArgumentParser:
    shared = _shared_options()
    parser = _Parser(
        prog="modelwrap",
        description="Call any language model by a name from one JSON file.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[shared],
    )
    parser.add_argument("--version", action="version", version=f"modelwrap {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in _COMMANDS.items():
        added = commands.add_parser(name, help=command.SUMMARY, description=command.SUMMARY, parents=[shared])
        command.add_arguments(added)
        added.set_defaults(run=command.run)
    return parser


class _Collect(argparse.Action):
    """Append to the default itself: what stood before the command would else be lost to what stands behind it."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        self.default.append(values)


def _shared_options() -> _Parser:
    """Make the options that may stand before the command as well as behind it."""
    options = _Parser(add_help=False)
    options.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        action=_Collect,
        default=[],
        help="a config, or a folder of them; repeatable",
    )
    options.add_argument(
        "--plugin",
        metavar="FILE.py",
        dest="plugins",
        action=_Collect,
        default=[],
        help="Python code that registers model types; repeatable",
    )
    options.add_argument(
        "--entrypoint",
        action="store_true",
        default=argparse.SUPPRESS,
        help="the model of model_entrypoint.py here, or of the Python file that $ENTRYPOINT names",
    )
    options.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show the log, and tracebacks of errors"
    )
    return options
