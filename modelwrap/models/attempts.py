"""One attempt at a call: what became of it, and a stream whose first piece has come."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from modelwrap.errors import CallError
from modelwrap.models.call import Call
from modelwrap.runtime.base import Runtime, next_or_none
from modelwrap.secrets import Secret
from modelwrap.types import Attempt, ChatChunk

logger = logging.getLogger("modelwrap")


class Attempted:
    """Be one attempt while its block lasts: what becomes of it is written down in the call, and in one line of the log.

    Not a generator, because every call enters one.
    """

    __slots__ = (
        *("_call", "_endpoint", "_name", "_runtime", "_started", "outcome", "refused_here", "request_id", "secrets"),
        "status",
    )

    def __init__(self, call: Call, name: str, endpoint: str, runtime: Runtime) -> None:
        self._call = call
        self._name = name
        self._endpoint = endpoint
        self._runtime = runtime
        self._started = runtime.now()
        self.outcome = "abandoned"
        self.status: int | None = None
        self.request_id: str | None = None
        """As the server wrote it, which may be anything."""
        self.refused_here = False
        """Whether nothing went out, because it cannot."""
        self.secrets: list[Secret] = []
        """Credentials that went out with it and that its request does not name."""

    def answered(self, status: int, request_id: str | None) -> None:
        self.status = status
        self.request_id = request_id

    def failed(self, error: CallError) -> None:
        """Tell an error where it comes from."""
        self.outcome = type(error).__name__
        error.endpoint = self._endpoint
        error.request_id = error.request_id or self.request_id

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.outcome = "ok"
        elif isinstance(error, CallError):
            self.failed(error)
        call, seconds = self._call, self._runtime.now() - self._started
        call.request_id = self.request_id
        if not self.refused_here:
            call.history.append(Attempt(self._endpoint, self.outcome, self.status, seconds, call.waited))
        call.waited = 0.0
        if logger.isEnabledFor(logging.DEBUG):
            which = f"attempt {len(call.history)} at {self._endpoint}"
            logger.debug("%s: %s: %s in %.3f s", self._name, which, self.outcome, seconds)


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
