"""One attempt at a call: what became of it, and a stream whose first piece has come."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from modelwrap.errors import CallError
from modelwrap.models.call import Call
from modelwrap.runtime.base import Runtime, next_or_none
from modelwrap.secrets import Secret
from modelwrap.types import Attempt, ChatChunk

logger = logging.getLogger("modelwrap")


@dataclass(slots=True)
class Attempted:
    """Be filled in while an attempt goes on."""

    outcome: str = "abandoned"
    status: int | None = None
    request_id: str | None = field(default=None, repr=False)
    """As the server wrote it, which may be anything."""
    refused_here: bool = False
    """Whether nothing went out, because it cannot."""
    secrets: list[Secret] = field(default_factory=list)
    """Credentials that went out with it and that its request does not name."""

    def answered(self, status: int, request_id: str | None) -> None:
        self.status = status
        self.request_id = request_id


@contextmanager
def attempted(call: Call, name: str, endpoint: str, runtime: Runtime) -> Iterator[Attempted]:
    """Write down in the call what becomes of one attempt, and say it in one line of the log."""
    attempt = Attempted()
    started = runtime.now()
    try:
        yield attempt
        attempt.outcome = "ok"
    except CallError as error:
        attempt.outcome = type(error).__name__
        error.endpoint = endpoint
        error.request_id = error.request_id or attempt.request_id
        raise
    finally:
        seconds = runtime.now() - started
        call.request_id = attempt.request_id
        if not attempt.refused_here:
            call.history.append(Attempt(endpoint, attempt.outcome, attempt.status, seconds, call.waited))
        call.waited = 0.0
        number = len(call.history)
        logger.debug("%s: attempt %d at %s: %s in %.3f s", name, number, endpoint, attempt.outcome, seconds)


@contextmanager
def sent_once(*, replayable: bool) -> Iterator[None]:
    """Let no call be tried again that may have arrived, unless it may be done twice: nobody knows what became of it."""
    try:
        yield
    except CallError as error:
        if error.sent and error.status is None and not replayable:
            error.retryable = False
        raise


class Opened:
    """Be a stream whose first piece has come."""

    def __init__(self, first: ChatChunk | None, rest: AsyncGenerator[ChatChunk, None]) -> None:
        self._first = first
        self._rest = rest

    def __anext__(self) -> Awaitable[ChatChunk]:
        return anext(self._rest) if self._first is None else self._take_first()

    async def _take_first(self) -> ChatChunk:
        first, self._first = self._first, None
        assert first is not None
        return first

    def __aiter__(self) -> Self:
        return self

    async def aclose(self) -> None:
        await self._rest.aclose()


async def opened(pieces: AsyncGenerator[ChatChunk, None]) -> Opened:
    """Wait for the first piece."""
    return Opened(await next_or_none(pieces), pieces)
