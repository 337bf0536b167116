"""The program of a process that computes: messages come in on stdin, reports go out on what was stdout."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from importlib import import_module
from io import TextIOWrapper
from queue import SimpleQueue
from typing import Any, BinaryIO

from modelwrap.errors import ConfigError
from modelwrap.local.messages import Recipe, parse_message, parse_recipe, report_line
from modelwrap.local.work import Runner
from modelwrap.local.workers import Broke, Inbox, Report, Stop, serve

KINDS: dict[str, str] = {
    "transformers": "modelwrap.local.transformers.building:chat_runner",
    "transformers_embedding": "modelwrap.local.transformers.building:embedding_runner",
}
"""What makes the runner of each kind of recipe, as `module:function`; called with the settings and the device."""


def main() -> None:
    faulthandler.enable()
    # Ctrl-C is for the parent, which says what shall become of this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    messages, reports = _take_pipes()
    recipe = parse_recipe(messages.readline())
    inbox: Inbox = SimpleQueue()
    threading.Thread(target=_receive, args=(messages, inbox), daemon=True).start()
    serve(partial(_make_runner, recipe), inbox, partial(_send, reports), expendable=True)
    # Other threads may be in the middle of something that nobody wants any more.
    sys.stderr.flush()
    os._exit(0)


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep stdin and stdout to ourselves: who else reads finds nothing, and who else prints does so to stderr."""
    messages, reports = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    if isinstance(sys.stdout, TextIOWrapper):
        # What is printed before a crash is what one wants to read after it.
        sys.stdout.reconfigure(line_buffering=True)
    return messages, reports


def _receive(messages: BinaryIO, inbox: Inbox) -> None:
    stopped = False
    try:
        while not stopped and (line := messages.readline()):
            message = parse_message(line)
            inbox.put(message)
            stopped = isinstance(message, Stop)
    finally:
        if not stopped:
            # The parent is dead, and what is computed here is for nobody.
            os._exit(1)


def _send(reports: BinaryIO, report: Report) -> None:
    # An expendable worker does not go on after a bad step.
    assert not isinstance(report, Broke)
    line = memoryview(report_line(report))
    while line:
        line = line[reports.write(line) :]


def _make_runner(recipe: Recipe) -> Runner:
    if recipe.kind not in KINDS:
        raise ConfigError(f"{recipe.kind!r} is no kind of model that a process computes")
    module, _, name = KINDS[recipe.kind].partition(":")
    make: Callable[[dict[str, Any], str], Runner] = getattr(import_module(module), name)
    return make(dict(recipe.settings), recipe.device)
