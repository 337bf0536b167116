"""What a server says when nothing goes wrong, and the pieces from which faults are made of it."""

from __future__ import annotations

import json
from typing import Any

from modelwrap.testing.faults.catalogue import Asked, Steps

TEXT = "Rhine, Elbe, Oder 🌊."
REQUEST_ID = "req-fault-server"

_KNOWN = {"created": 1_700_000_000, "model": "fault-model"}
_USAGE = {"prompt_tokens": 3, "completion_tokens": 7, "total_tokens": 10}


def good(asked: Asked, *, text: str = TEXT) -> Steps:
    """Answer as the API does that was asked: chat (whole or streamed), embeddings, images."""
    path = asked.path.partition("?")[0]
    if path.endswith(("/images/generations", "/images/edits", "/images/variations")):
        # What is asked may be a form.
        yield from whole({"created": 1_700_000_000, "data": [{"url": "https://images.test/1.png"}]})
        return
    body = asked.json if asked.body else {}
    wanted = body if isinstance(body, dict) else {}
    if path.endswith("/embeddings"):
        yield from whole(_embeddings(wanted))
    elif wanted.get("stream"):
        yield from streamed(*events_of(text))
    else:
        yield from whole(chat(text))


def chat(text: str | None = TEXT, finish_reason: str | None = "stop", **message: Any) -> dict[str, Any]:
    """Give the body of a whole chat reply."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "object": "chat.completion", **_KNOWN, "choices": [choice], "usage": _USAGE}


def chunk(text: str | None = None, finish_reason: str | None = None, *, index: int = 0, **delta: Any) -> dict[str, Any]:
    """Give the JSON of one piece of a streamed reply."""
    content = {} if text is None else {"content": text}
    choice = {"index": index, "delta": {**content, **delta}, "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", **_KNOWN, "choices": [choice]}


def usage_chunk() -> dict[str, Any]:
    return {**chunk(), "choices": [], "usage": _USAGE}


def refusal(message: str, code: str | None = None, kind: str = "error") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def to_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def event(value: Any) -> bytes:
    """Write one event of a stream; bytes stand for themselves."""
    return b"data: " + (value if isinstance(value, bytes) else to_json(value)) + b"\n\n"


DONE = event(b"[DONE]")


def pieces(text: str = TEXT) -> list[bytes]:
    """Give the events of a text, without an end."""
    words = text.split(" ")
    return [event(chunk(word if number == 0 else f" {word}")) for number, word in enumerate(words)]


def events_of(text: str = TEXT) -> list[bytes]:
    """Give the events of a whole stream."""
    return [*pieces(text), event(chunk(finish_reason="stop")), event(usage_chunk()), DONE]


def head(status: int = 200, reason: str = "OK", **headers: str | int) -> bytes:
    """Write a status line and headers; `_` in a name is a hyphen."""
    return written_head(status, reason, headers)


def written_head(status: int, reason: str, headers: dict[str, str | int]) -> bytes:
    lines = [f"HTTP/1.1 {status} {reason}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def json_head(length: int, status: int = 200, **headers: str | int) -> bytes:
    known: dict[str, str | int] = {
        "content_type": "application/json",
        "content_length": length,
        "x_request_id": REQUEST_ID,
    }
    return written_head(status, "OK", {**known, **headers})


def whole(body: Any, status: int = 200, **headers: str | int) -> Steps:
    """Answer with a body of known length; bytes stand for themselves."""
    content = body if isinstance(body, bytes) else to_json(body)
    yield json_head(len(content), status, **headers) + content


STREAM_HEAD = head(content_type="text/event-stream", transfer_encoding="chunked", x_request_id=REQUEST_ID)
END_OF_CHUNKS = b"0\r\n\r\n"


def in_chunk(data: bytes) -> bytes:
    """Write bytes as one chunk of a body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def opened(*events: bytes) -> Steps:
    """Begin a stream and send events, without ending the body."""
    yield STREAM_HEAD
    for one in events:
        yield in_chunk(one)


def streamed(*events: bytes) -> Steps:
    """Answer with a stream of these events, and end its body as HTTP wants it."""
    yield from opened(*events)
    yield END_OF_CHUNKS


def _embeddings(wanted: dict[str, Any]) -> dict[str, Any]:
    texts = wanted.get("input")
    many = len(texts) if isinstance(texts, list) else 1
    data = [{"object": "embedding", "index": number, "embedding": [0.25, -0.5, 1.0]} for number in range(many)]
    return {"object": "list", "data": data, "model": "fault-model", "usage": {"prompt_tokens": 3, "total_tokens": 3}}
