"""Frames of Amazon's binary event streams, as Bedrock sends them."""

from __future__ import annotations

import base64
import json
from typing import Any
from zlib import crc32


def frame(headers: bytes, payload: bytes) -> bytes:
    sizes = (16 + len(headers) + len(payload)).to_bytes(4, "big") + len(headers).to_bytes(4, "big")
    data = sizes + crc32(sizes).to_bytes(4, "big") + headers + payload
    return data + crc32(data).to_bytes(4, "big")


def header(name: str, text: str) -> bytes:
    return bytes([len(name)]) + name.encode() + b"\x07" + len(text).to_bytes(2, "big") + text.encode()


def chunk(event: Any) -> bytes:
    payload = {"bytes": base64.b64encode(json.dumps(event).encode()).decode(), "p": "abcdef"}
    names = (":event-type", "chunk"), (":content-type", "application/json"), (":message-type", "event")
    return frame(b"".join(header(*name) for name in names), json.dumps(payload).encode())


def exception(name: str, message: str) -> bytes:
    headers = header(":exception-type", name) + header(":message-type", "exception")
    return frame(headers, json.dumps({"message": message}).encode())
