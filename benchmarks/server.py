"""A server in a process of its own that gives one canned chat reply, whole or streamed, as fast as it can."""

from __future__ import annotations

import asyncio
import json
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import cast
from urllib.parse import urlsplit

CHUNKS = 500

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def reply() -> bytes:
    message = {"role": "assistant", "content": "Hello"}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    return json.dumps({**header("chat.completion"), "choices": [choice], "usage": USAGE}).encode()


def event(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
    return b"data: " + json.dumps({**header("chat.completion.chunk"), "choices": [choice]}).encode() + b"\n\n"


def header(kind: str) -> dict[str, str | int]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1_700_000_000, "model": "m"}


def answer(content_type: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def streamed(events: list[bytes]) -> bytes:
    """Make each event an HTTP chunk of its own, as servers of models do."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events) + b"0\r\n\r\n"


REPLY = answer("application/json", reply())
WORDS = [event({"content": f" {number}"}) for number in range(CHUNKS - 1)]
STREAM = streamed([*WORDS, event({}, "stop"), b"data: [DONE]\n\n"])


class Answering(asyncio.Protocol):
    """Read requests off one connection, and write the canned bytes for each."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (request := self._request()) is not None:
            wants_stream = b'"stream":true' in request.replace(b" ", b"")
            self._transport.write(STREAM if wants_stream else REPLY)

    def _request(self) -> bytes | None:
        """Take one whole request off what was received."""
        head, blank_line, rest = self._received.partition(b"\r\n\r\n")
        if not blank_line:
            return None
        _, _, length = head.lower().partition(b"\r\ncontent-length:")
        size = int(length.partition(b"\r\n")[0] or 0)
        if len(rest) < size:
            return None
        self._received = rest[size:]
        return rest[:size]


@contextmanager
def running() -> Iterator[str]:
    """Start the server and give its base URL."""
    process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def capacity(base_url: str, connections: int = 100, answers: int = 30_000) -> float:
    """Give how many requests a second the server answers to a client that looks at nothing."""
    address = urlsplit(base_url)
    request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-length: 2\r\n\r\n{}"
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for _ in range(connections):
            connection = stack.enter_context(socket.create_connection((address.hostname, address.port)))
            selector.register(connection, selectors.EVENT_READ)
            connection.sendall(request)
        came, began = 0, time.perf_counter()
        while came < answers:
            for key, _ in selector.select():
                assert isinstance(key.fileobj, socket.socket)
                if key.fileobj.recv(65536) != REPLY:
                    raise ValueError("an answer came in pieces")
                key.fileobj.sendall(request)
                came += 1
        return came / (time.perf_counter() - began)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
