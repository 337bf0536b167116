"""Recordings of real requests as files, and the ban on making any."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from modelwrap import runtime
from modelwrap.errors import ConfigError
from modelwrap.paths import at_home, beside, replace_file
from modelwrap.runtime.tape import Player, Recorder
from modelwrap.testing.session import Session
from modelwrap.types import JSON

VERSION = 1


class record(Session[Path]):  # noqa: N801 - read as a verb: with record(path)
    """Write every request that this process makes in the block, and what came of it, to one JSON file.

    The file is replaced when the block ends, also by an error, and left alone when it made no request and raised.
    Credentials are not written: only headers of harmless names are, and known keys are replaced wherever they stand.

    >>> with record("recordings/rivers.json"):  # doctest: +SKIP
    ...     model("Name three rivers.")
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = at_home(path)
        self._recorder = Recorder()

    def anew(self) -> Self:
        return type(self)(self.path)

    def enter(self, stack: ExitStack) -> Path:
        _check_writable(self.path)
        self._recorder = Recorder()
        stack.enter_context(runtime.played_by(self._recorder))
        return self.path

    def finish(self, *, raised: bool) -> None:
        interactions = self._recorder.interactions()
        if raised and not interactions:
            return
        text = _written(interactions)
        if self._recorder.scrubber().holds_secret(text):
            raise ConfigError(f"{self.path}: not written, because a credential would still stand in it")
        replace_file(self.path, text)


class replay(Session[Path]):  # noqa: N801 - read as a verb: with replay(path)
    """Answer every request that this process makes in the block from a recording; no socket is opened.

    A request is matched by method, URL and body, so that calls in threads may come in another order. What does not
    match raises `ReplayMismatch` where it is asked; so does, at the end of the block, what was recorded and not asked.

    >>> with replay("recordings/rivers.json"):  # doctest: +SKIP
    ...     model("Name three rivers.")
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = at_home(path)
        self._player = Player(())

    def anew(self) -> Self:
        return type(self)(self.path)

    def enter(self, stack: ExitStack) -> Path:
        self._player = _read(self.path)
        stack.enter_context(runtime.played_by(self._player))
        # Called first at the end, so that calls which go on in other threads do not count any more.
        stack.callback(self._player.end)
        return self.path

    def finish(self, *, raised: bool) -> None:
        if not raised:
            self._player.check_played()


class forbid_requests(Session[None]):  # noqa: N801 - read as a verb
    """Make every real request in the block raise `RealRequestForbidden`; replays and fakes go on working.

    The environment variable MODELWRAP_FORBID_REQUESTS=1 does the same for a whole process.
    """

    def __init__(self, *, allow_loopback: bool = False) -> None:
        super().__init__()
        self.allow_loopback = allow_loopback

    def anew(self) -> Self:
        return type(self)(allow_loopback=self.allow_loopback)

    def enter(self, stack: ExitStack) -> None:
        stack.enter_context(runtime.forbidden("requests are forbidden here", allow_loopback=self.allow_loopback))


def _written(interactions: Sequence[JSON]) -> str:
    document = {"modelwrap_recording": VERSION, "interactions": interactions}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _check_writable(path: Path) -> None:
    """Find out before the requests are paid for."""
    temporary = beside(path)
    try:
        if path.is_dir():
            raise ConfigError(f"{path}: a recording is one file, and this is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from error


def _read(path: Path) -> Player:
    try:
        document = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        found = f"{path.absolute()}: there is no such recording"
        raise ConfigError(f"{found}; make it with `with record({str(path)!r}):`") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot be read as a recording: {error}") from error
    if not isinstance(document, dict) or document.get("modelwrap_recording") != VERSION:
        raise ConfigError(f"{path}: is no recording of version {VERSION} (`modelwrap_recording` says otherwise)")
    try:
        return Player(document["interactions"], str(path))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: is no recording that modelwrap wrote: {error!r}") from error
