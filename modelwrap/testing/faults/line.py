"""One connection of the server, played by a script and watched on both ends."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from socket import SO_LINGER, SOL_SOCKET
from typing import Literal, cast

from modelwrap.testing.faults.catalogue import Act, Asked, Steps

_END_OF_HEAD = b"\r\n\r\n"

Side = Literal["client", "server"]


class Line(asyncio.Protocol):
    """Read requests, play what a script answers, and remember who hung up, and when."""

    def __init__(
        self, number: int, answer: Callable[[Line, Asked], Steps], before: Steps | None, failures: list[Exception]
    ) -> None:
        self.number = number
        self.requests = 0
        self.finished = 0
        self.sent = 0
        self.received = 0
        self.closed_by: Side | None = None
        self.closed_at: float | None = None
        self._answer = answer
        self._before = before
        self._failures = failures
        self._buffer = bytearray()
        self._heard = asyncio.Event()
        self._gone = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._transport: asyncio.Transport | None = None
        self.task: asyncio.Task[None] | None = None

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # a server's stream is one that can be written to
        self.task = asyncio.get_running_loop().create_task(self._serve(self._transport))

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        self._buffer += data
        self._heard.set()

    def eof_received(self) -> None:
        self._closed("client")
        self._let_go()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._closed("client")
        self._let_go()

    def hang_up(self) -> None:
        """Close from the server's side, now."""
        self._closed("server")
        if self.task is not None:
            self.task.cancel()
        if self._transport is not None:
            self._transport.abort()

    def hung_up(self) -> None:
        """Take note that the client left before there was a connection to speak of."""
        self._closed("client")

    # The conversation.

    async def _serve(self, transport: asyncio.Transport) -> None:
        try:
            if self._before is not None:
                await self._play(self._before, transport)
            while self.closed_by != "server" and (asked := await self._request()) is not None:
                self.requests += 1
                await self._play(self._answer(self, asked), transport)
                self.finished += 1
        except Exception as error:  # a script's mistake is told to whoever asks what was seen
            self._failures.append(error)
            self._closed("server")
        finally:
            transport.close()

    async def _play(self, steps: Steps, transport: asyncio.Transport) -> None:
        for step in steps:
            if self._gone.is_set():
                return
            if isinstance(step, bytes):
                transport.write(step)
                self.sent += len(step)
                await self._may_write.wait()
                await asyncio.sleep(0)
            elif isinstance(step, Act):
                await self._act(step, transport)
            else:
                await self._rest(step)

    async def _act(self, act: Act, transport: asyncio.Transport) -> None:
        if act is Act.HANG:
            await self._gone.wait()
        elif act is Act.LISTEN:
            await self._heard.wait()
        else:
            self._closed("server")
            self._let_go()
            if act is Act.RESET:
                # What is closed without lingering is reset.
                transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
                transport.abort()
            else:
                transport.close()

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._gone.wait(), seconds)

    def _closed(self, side: Side) -> None:
        if self.closed_by is None:
            self.closed_by = side
            self.closed_at = time.monotonic()

    def _let_go(self) -> None:
        """Wake whatever waits for a client that is gone."""
        for event in (self._gone, self._heard, self._may_write):
            event.set()

    # Requests.

    async def _request(self) -> Asked | None:
        """Read one request; None where the client hung up instead."""
        head = await self._until(_END_OF_HEAD)
        if head is None:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, *_ = [*first.split(" "), "", ""]
        named = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in named}
        body = await self._body(headers)
        if body is None:
            return None
        return Asked(method, path, headers, body, time.monotonic(), self.requests + 1, self.number)

    async def _body(self, headers: dict[str, str]) -> bytes | None:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return await self._chunks()
        return await self._exactly(int(headers.get("content-length") or 0))

    async def _chunks(self) -> bytes | None:
        body = b""
        while (size := await self._until(b"\r\n")) is not None:
            length = int(size.partition(b";")[0], 16)
            chunk = await self._exactly(length + 2)
            if chunk is None or length == 0:
                return None if chunk is None else body
            body += chunk[:-2]
        return None

    async def _until(self, mark: bytes) -> bytes | None:
        while (at := self._buffer.find(mark)) < 0:
            if not await self._more():
                return None
        return self._taken(at + len(mark))[: -len(mark)]

    async def _exactly(self, size: int) -> bytes | None:
        while len(self._buffer) < size:
            if not await self._more():
                return None
        return self._taken(size)

    def _taken(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def _more(self) -> bool:
        """Wait for bytes; False where none will come."""
        if self._gone.is_set():
            return False
        self._heard.clear()
        await self._heard.wait()
        return not self._gone.is_set() or bool(self._buffer)
