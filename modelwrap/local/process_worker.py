"""A runner in a process of its own, which may crash alone."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from queue import SimpleQueue
from typing import IO, Any
from weakref import WeakSet

from modelwrap.errors import CallError, ConfigError, ModelwrapError, ServerFailed
from modelwrap.local.messages import Garbled, Recipe, message_line, parse_report, recipe_line
from modelwrap.local.work import Job
from modelwrap.local.workers import Cancel, Gone, Message, Report, Share, Stop, words
from modelwrap.secrets import Scrubber, Secret

logger = logging.getLogger("modelwrap")

# How long a process may take to end by itself, told or not.
_GRACE = 5.0
_SHORT_GRACE = 1.0

_MOST_LAST_WORDS = 10
_LONGEST_LAST_WORD = 1000
_LONGEST_REPORT = 1 << 30


def child_program() -> list[str]:
    """Give the command of a process that computes, with the modules that this one finds."""
    start = f"import sys; sys.path[:] = {[*map(str, sys.path)]!r}; from modelwrap.local.child import main; main()"
    return [sys.executable, "-P", "-c", start]


class ProcessWorker:
    """Start a process for a recipe, and speak with it over its pipes. It dies with this one."""

    def __init__(self, recipe: Recipe, name: str, program: Callable[[], Sequence[str]] = child_program) -> None:
        self._recipe = recipe
        self._name = name
        self._program = program
        self._outbox: SimpleQueue[Message | None] = SimpleQueue()
        self._last_words: deque[str] = deque(maxlen=_MOST_LAST_WORDS)
        self._scrub = Scrubber(_secrets_in(recipe.settings))
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._ender: threading.Thread | None = None
        self._stopping = False

    def start(self, report: Callable[[Report], None]) -> None:
        try:
            recipe = recipe_line(self._recipe)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self._name} cannot be computed in a process of its own: {error}") from None
        self._reader = self._thread("reader", self._live, report, recipe)

    def begin(self, job: Job) -> None:
        self._outbox.put(job)

    def cancel(self, number: int) -> None:
        self._outbox.put(Cancel(number))

    def share(self, devices: Sequence[str]) -> None:
        self._outbox.put(Share(tuple(devices)))

    def stop(self) -> None:
        self._stopping = True
        self._outbox.put(Stop())
        self._ender = self._thread("end", self._end, _GRACE)

    def join(self, timeout: float) -> bool:
        if self._reader is None:
            return True
        self._reader.join(timeout)
        if self._reader.is_alive():
            self._end(0.0)
            self._reader.join(_SHORT_GRACE)
        if self._ender is not None:
            self._ender.join(_SHORT_GRACE)
        return not self._reader.is_alive()

    def hide_from_fork(self) -> None:
        """Let go of the pipe in a forked child, which would keep the process alive when its parent is dead."""
        pipe = self._process.stdin if self._process is not None else None
        if pipe is not None and not pipe.closed:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, pipe.fileno())
            os.close(nothing)

    def _thread(self, role: str, target: Callable[..., None], *arguments: Any) -> threading.Thread:
        thread = threading.Thread(target=target, args=arguments, name=f"{self._name}-{role}", daemon=True)
        thread.start()
        return thread

    def _live(self, report: Callable[[Report], None], recipe: bytes) -> None:
        """Start the process, hand on what it reports, and tell its end."""
        try:
            process = self._process = subprocess.Popen(  # noqa: S603  this interpreter, or what a test names
                self._program(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            _started.add(self)
            if self._stopping:
                # It was told to stop while it was being started, when there was nothing to end yet.
                self._ender = self._thread("end", self._end, _GRACE)
            listener = self._thread("stderr", self._listen, process.stderr)
            writer = self._thread("writer", self._write, process.stdin, recipe)
        except (OSError, ValueError, RuntimeError) as error:
            self._end(0.0)
            report(Gone(ConfigError(f"no process can be started for {self._name}: {words(error)}")))
            return
        told = self._read(process, report)
        self._end(_SHORT_GRACE)
        self._outbox.put(None)
        writer.join()
        # What the process started may live on, and hold the pipe open.
        listener.join(_SHORT_GRACE)
        report(self._gone(process, told))

    def _read(self, process: subprocess.Popen[bytes], report: Callable[[Report], None]) -> Gone | str:
        """Hand on reports until the last; give that, or words for what came in its place."""
        assert process.stdout is not None
        with process.stdout as pipe:
            try:
                while (line := pipe.readline(_LONGEST_REPORT)).endswith(b"\n"):
                    told = parse_report(line)
                    if isinstance(told, Gone):
                        return told
                    report(told)
            except Garbled as error:
                process.kill()
                return f"it wrote what is no report: {error}"
        return ""

    def _write(self, pipe: IO[bytes], recipe: bytes) -> None:
        try:
            with pipe:
                pipe.write(recipe)
                pipe.flush()
                for line in self._lines():
                    pipe.write(line)
                    pipe.flush()
        except OSError:
            # It is dead, which whoever reads from it tells.
            pass

    def _lines(self) -> Iterator[bytes]:
        while (message := self._outbox.get()) is not None:
            yield message_line(message)
            if isinstance(message, Stop):
                return

    def _listen(self, pipe: IO[bytes]) -> None:
        with pipe:
            while line := pipe.readline(_LONGEST_LAST_WORD):
                text = self._scrub(line.decode("utf-8", "replace").rstrip().rpartition("\r")[2])
                if text:
                    self._last_words.append(text)
                    logger.debug("%s: %s", self._name, text)

    def _end(self, grace: float) -> None:
        """Wait for the end of the process, and bring it about if it does not come."""
        process = self._process
        if process is None:
            return
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _gone(self, process: subprocess.Popen[bytes], told: Gone | str) -> Gone:
        if isinstance(told, Gone):
            return Gone(None if told.error is None else self._scrubbed(told.error))
        if self._stopping:
            return Gone(None)
        ending = "; ".join(filter(None, [f"the process that computes {_ending(process.returncode)}", told]))
        said = "; its last words: " + " | ".join(self._last_words) if self._last_words else ""
        return Gone(ServerFailed(f"{ending}{said}", retryable=False), abrupt=True)

    def _scrubbed(self, error: ModelwrapError) -> ModelwrapError:
        if isinstance(error, CallError):
            error.scrub(self._scrub)
        else:
            error.args = (self._scrub(str(error)),)
        return error


def _secrets_in(value: Any) -> Iterator[Secret]:
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _secrets_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _secrets_in(item)


def _ending(code: int) -> str:
    """Say how a process ended.

    >>> _ending(-9), _ending(3)
    ('was killed by SIGKILL', 'ended with status 3')
    """
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


_started: WeakSet[ProcessWorker] = WeakSet()


def _hide_from_fork() -> None:
    for worker in list(_started):
        worker.hide_from_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_hide_from_fork)
