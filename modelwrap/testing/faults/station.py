"""One port of the server, behind which one fault waits for clients."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from modelwrap.testing.faults.answers import good
from modelwrap.testing.faults.catalogue import Asked, Fault, Steps
from modelwrap.testing.faults.line import Line

_NOWHERE = "nowhere.invalid"


@dataclass(frozen=True, slots=True)
class Seen:
    """Be what the server saw of the clients of one fault, up to now."""

    asked: tuple[Asked, ...] = ()
    """Every request that came whole, in the order in which they came."""
    finished: int = 0
    """How many of them the server is done with."""
    connections: int = 0
    open: int = 0
    closed_by_client: int = 0
    closed_by_server: int = 0
    received: int = 0
    """How many bytes clients sent, heads and bodies."""
    sent: int = 0
    last_close: float | None = None
    """When the last connection was closed, by `time.monotonic()`."""

    @property
    def requests(self) -> int:
        return len(self.asked)

    @property
    def waits(self) -> tuple[float, ...]:
        """The seconds between each request and the one before it."""
        times = [one.at for one in self.asked]
        return tuple(later - earlier for earlier, later in pairwise(times))

    def __add__(self, other: Seen) -> Seen:
        closes = [moment for moment in (self.last_close, other.last_close) if moment is not None]
        return Seen(
            asked=tuple(sorted((*self.asked, *other.asked), key=lambda one: one.at)),
            finished=self.finished + other.finished,
            connections=self.connections + other.connections,
            open=self.open + other.open,
            closed_by_client=self.closed_by_client + other.closed_by_client,
            closed_by_server=self.closed_by_server + other.closed_by_server,
            received=self.received + other.received,
            sent=self.sent + other.sent,
            last_close=max(closes, default=None),
        )


class Station:
    """Listen at a port of its own, so that clients of other faults are never counted here."""

    def __init__(
        self,
        fault: Fault,
        options: Mapping[str, Any],
        *,
        times: int | None,
        sliced: int | None,
        host: str,
        context: ssl.SSLContext | None,
    ) -> None:
        self.fault = fault
        self.failures: list[Exception] = []
        self._options = options
        self._times = times
        self._sliced = sliced
        self._context = context
        self._asked: list[Asked] = []
        self._lines: list[Line] = []
        self._faulty = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._fillers: list[socket.socket] = []
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._socket.bind((host, 0))
        shown = f"[{host}]" if ":" in host else host
        place = _NOWHERE if fault.place == "nowhere" else f"{shown}:{self._socket.getsockname()[1]}"
        self.url = f"{fault.scheme}://{place}/v1"
        if fault.place == "full":
            self._fill()
        elif fault.place in ("answer", "connection"):
            self._socket.listen(4096)
            self._socket.setblocking(False)

    def seen(self) -> Seen:
        lines, asked = list(self._lines), list(self._asked)
        closes = [line.closed_at for line in lines if line.closed_at is not None]
        return Seen(
            asked=tuple(asked),
            finished=sum(line.finished for line in lines),
            connections=len(lines),
            open=sum(line.closed_by is None for line in lines),
            closed_by_client=sum(line.closed_by == "client" for line in lines),
            closed_by_server=sum(line.closed_by == "server" for line in lines),
            received=sum(line.received for line in lines),
            sent=sum(line.sent for line in lines),
            last_close=max(closes, default=None),
        )

    # What runs on the server's loop.

    def begin(self) -> None:
        if self.fault.place in ("answer", "connection"):
            self._spawn(self._accept())

    async def close(self) -> None:
        for line in self._lines:
            line.hang_up()
        tasks = [*self._tasks, *(line.task for line in self._lines if line.task is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for one in (self._socket, *self._fillers):
            one.close()

    async def _accept(self) -> None:
        while True:
            accepted, _ = await asyncio.get_running_loop().sock_accept(self._socket)
            line = Line(len(self._lines) + 1, self._answer, self._before(), self.failures)
            self._lines.append(line)
            self._spawn(self._greet(line, accepted))

    async def _greet(self, line: Line, accepted: socket.socket) -> None:
        """Make a connection of an accepted socket; a client that does not like our certificate hangs up."""
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: line, accepted, ssl=self._context)
        except OSError:
            line.hung_up()
            accepted.close()

    def _spawn(self, steps: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(steps)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _before(self) -> Steps | None:
        """Give what happens on a connection before any request."""
        if self.fault.place == "connection" and self._is_faulty():
            return self.fault.script(**self._options)
        return None

    def _answer(self, line: Line, asked: Asked) -> Steps:
        self._asked.append(asked)
        faulty = self.fault.place == "answer" and self._is_faulty()
        steps = self.fault.script(asked, **self._options) if faulty else good(asked)
        return steps if self._sliced is None else _in_slices(steps, self._sliced)

    def _is_faulty(self) -> bool:
        if self._times is not None and self._faulty >= self._times:
            return False
        self._faulty += 1
        return True

    # A queue that is full.

    def _fill(self) -> None:
        """Wait in one's own queue until the system lets nobody in any more."""
        self._socket.listen(0)
        while True:
            filler = socket.socket(self._socket.family)
            self._fillers.append(filler)
            filler.settimeout(0.1)
            try:
                filler.connect(self._socket.getsockname())
            except TimeoutError:
                return


def _in_slices(steps: Steps, size: int) -> Steps:
    for step in steps:
        if isinstance(step, bytes):
            yield from (step[start : start + size] for start in range(0, len(step), size))
        else:
            yield step
