"""A server on loopback that answers as a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: Any
    client: Any = None
    """Who asked: the same for all requests of one connection."""
    content: bytes = b""
    """The body as it came."""


@dataclass
class Answer:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes | float] = field(default_factory=list)
    """Bytes are sent, numbers are seconds to wait."""
    cut: bool = False
    """Close the connection without the end that chunked encoding wants."""
    raw: bool = False
    """Send the pieces as they are, without a head."""


Script = Answer | Callable[[Asked], Answer]


class _Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up: tests do it on purpose."""


class Loopback:
    """Give scripted answers in order, the last of them for ever."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._script: list[Script] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def script(self, *answers: Script) -> None:
        with self._lock:
            self._script = list(answers)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, asked: Asked) -> Answer:
        with self._lock:
            self.asked.append(asked)
            script = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        return script(asked) if callable(script) else script

    def _handler(outer) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the handler below
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 0
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                is_form = headers.get("content-type", "").startswith("multipart/")
                answer = outer.answer(
                    Asked(
                        self.command,
                        self.path,
                        headers,
                        json.loads(body) if body and not is_form else None,
                        self.client_address,
                        body,
                    )
                )
                try:
                    self._send(answer)
                except OSError:
                    self.close_connection = True

            do_GET = do_HEAD = do_POST

            def _send(self, answer: Answer) -> None:
                chunked = not answer.raw and "content-length" not in answer.headers
                if not answer.raw:
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    if chunked:
                        self.send_header("transfer-encoding", "chunked")
                    self.end_headers()
                for piece in answer.pieces:
                    if isinstance(piece, bytes):
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
                    else:
                        time.sleep(piece)
                if answer.cut or answer.raw:
                    self.close_connection = True
                elif chunked:
                    self.wfile.write(b"0\r\n\r\n")

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def json_answer(body: Any, status: int = 200, **headers: str) -> Answer:
    content = json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"content-type": "application/json", "content-length": str(len(content)), **names}, [content])


def chat_answer(text: str = "Hello", **fields: Any) -> Answer:
    """Give a whole chat reply."""
    return json_answer(chat_body(text, **fields), x_request_id="req-1")


def chat_body(text: str | None = "Hello", **message: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "test-model",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }


def error_answer(status: int, message: str = "no", code: str | None = None, **headers: str) -> Answer:
    return json_answer({"error": {"message": message, "type": "error", "code": code}}, status, **headers)


def chunk(text: str | None = None, finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    content = {} if text is None else {"content": text}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "test-model",
        "choices": [{"index": 0, "delta": {**content, **delta}, "finish_reason": finish_reason}],
    }


def event(data: Any) -> bytes:
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def stream_answer(*texts: str, cut: bool = False, before: Iterable[bytes | float] = ()) -> Answer:
    """Give a streamed chat reply; `cut` leaves out its end."""
    pieces: list[bytes | float] = [*before, *(event(chunk(text)) for text in texts)]
    if not cut:
        usage = {**chunk(), "choices": [], "usage": chat_body()["usage"]}
        pieces += [event(chunk(finish_reason="stop")), event(usage), event(b"[DONE]")]
    return Answer(200, {"content-type": "text/event-stream", "x-request-id": "req-1"}, pieces, cut=cut)
