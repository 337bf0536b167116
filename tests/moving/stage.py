"""A wire that answers in memory: every request is written down, and the next of the script's answers comes back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any

from modelwrap import runtime as runtimes
from modelwrap.runtime.base import Deadline, HttpResponse, Limit, Runtime
from modelwrap.wire.http import HttpRequest
from tests.loopback import Answer


class Stage:
    def __init__(self) -> None:
        self.sent: list[HttpRequest] = []
        self.answers: list[Answer] = []

    @contextmanager
    def set_up(self) -> Iterator[None]:
        with runtimes.played_by(lambda runtime: _OnStage(runtime, self)):
            yield


class _OnStage:
    def __init__(self, inner: Runtime, stage: Stage) -> None:
        self._inner = inner
        self._stage = stage

    async def send(self, request: HttpRequest, deadline: Deadline) -> HttpResponse:
        self._stage.sent.append(request)
        return _Response(self._stage.answers.pop(0), deadline)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Response:
    def __init__(self, answer: Answer, deadline: Deadline) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self.read_limit = Limit(deadline.total, deadline, "total")
        self._pieces = [piece for piece in answer.pieces if isinstance(piece, bytes)]

    async def read(self) -> bytes:
        return b"".join(self._pieces)

    async def stream(self) -> AsyncGenerator[bytes, None]:
        for piece in self._pieces:
            yield piece

    async def aclose(self) -> None:
        pass
