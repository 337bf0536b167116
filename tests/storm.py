"""A server on loopback for many thousand calls: it refuses the share of them that it is told to, and counts."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from typing import Any, Self

from tests.loopback import chat_body

_REFUSAL = json.dumps({"error": {"message": "overloaded", "type": "server_error"}}).encode()
_REPLY = json.dumps(chat_body()).encode()


def _answer(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class _Connection(asyncio.Protocol):
    def __init__(self, storm: Storm) -> None:
        self.storm = storm
        self.received = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.storm._open.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.storm._open.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, rest = self.received.partition(b"\r\n\r\n")
        if not end:
            return
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if len(rest) >= int(fields[b"content-length"]):
            self.received = b""
            self.transport.write(self.storm.answer())


class Storm:
    """Refuse `share` of the requests with 503, by dice that fall alike each time."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.requests = 0
        self._dice = random.Random(20261120)
        self._good, self._refusal = _answer("200 OK", _REPLY), _answer("503 Service Unavailable", _REFUSAL)
        self._open: set[Any] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._ready = threading.Event()

    def answer(self) -> bytes:
        self.requests += 1
        return self._refusal if self._dice.random() < self.share else self._good

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _serve(self) -> None:
        self._loop.run_until_complete(self._run())
        self._loop.close()

    async def _run(self) -> None:
        self._stop = asyncio.Event()
        server = await self._loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=1024)
        self.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        self._ready.set()
        await self._stop.wait()
        server.close()
        for transport in list(self._open):
            transport.abort()
