"""One request and what came of it, as the plain JSON of a recording."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelwrap import errors
from modelwrap.errors import CallError
from modelwrap.secrets import Scrubber
from modelwrap.types import JSON
from modelwrap.wire.http import HttpRequest
from modelwrap.wire.urls import shown

# Only these are written. A list of what to leave out would let the next credential's header through.
REQUEST_HEADERS = re.compile(r"accept|content-type")
RESPONSE_HEADERS = re.compile(
    r"content-type|location|retry-after(-ms)?|x-should-retry|(x-|apim-|x-ms-)?request-id|cf-ray|x-ratelimit-[a-z-]+"
)

LARGEST_STREAM = 64 * 1024 * 1024
"""How many bytes of a stream are kept; the reader gets the rest all the same."""

# Readers of event streams hang up when they have seen it, and miss nothing.
_END_MARK = b"[DONE]"

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")

_KNOWN_OF_ERRORS = ("status", "code", "request_id", "retry_after", "body", "endpoint", "limit", "sent", "retryable")


@dataclass(slots=True)
class Exchange:
    """Be one request while it is recorded; holds credentials until `to_json` has taken them out."""

    request: HttpRequest
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0
    streamed: bool = False
    ended: bool = False
    error: JSON = None

    def keep(self, piece: bytes) -> bool:
        """Keep a piece of the answer, and tell whether it was kept."""
        self.size += len(piece)
        if self.size <= LARGEST_STREAM:
            self.pieces.append(piece)
        return self.size <= LARGEST_STREAM

    def to_json(self, scrub: Scrubber) -> JSON:
        record: dict[str, Any] = {"request": to_request(self.request, scrub)}
        if self.status is not None:
            record["response"] = self._response(scrub)
        if self.error is not None:
            record["error"] = scrub.value(self.error)
        return record

    def _response(self, scrub: Scrubber) -> JSON:
        content_type = self.headers.get("content-type", "")
        body = b"".join(self.pieces)
        response = {
            "status": self.status,
            "headers": _allowed(self.headers, RESPONSE_HEADERS, scrub),
            **(_to_stream(body, content_type, scrub) if self.streamed else _to_body(body, scrub)),
        }
        if self.error is None and not self._whole(body):
            response["left_off"] = True
        return response

    def _whole(self, body: bytes) -> bool:
        return self.size <= LARGEST_STREAM and (self.ended or body.rstrip().endswith(_END_MARK))


@dataclass(slots=True)
class Recorded:
    """Be one request that is played back, and how it ended when it was recorded."""

    request: JSON
    status: int | None
    headers: Mapping[str, str]
    pieces: list[bytes]
    left_off: bool
    """Whether the answer went on after what was recorded."""
    error: JSON
    key: str
    played: bool = False

    @classmethod
    def from_json(cls, record: JSON) -> Recorded:
        request, response = record["request"], record.get("response") or {}
        if not {"method", "url"} <= request.keys():
            raise ValueError("a request has no method or no URL")
        status, headers = response.get("status"), response.get("headers", {})
        if status is not None and not isinstance(status, int):
            raise ValueError("the status is no number")
        if not isinstance(headers, Mapping):
            raise ValueError("the headers are no object")
        if "error" in record:
            from_error(record["error"])
        return cls(
            request=request,
            status=status,
            headers=headers,
            pieces=_from_body(response),
            left_off=response.get("left_off", False),
            error=record.get("error"),
            key=key_of(request),
        )

    def failure(self) -> CallError | None:
        # A new one each time, because a call writes into its error what it knows.
        return from_error(self.error) if self.error is not None else None


def to_request(request: HttpRequest, scrub: Scrubber) -> JSON:
    content = request.content or (b"" if request.json is None else json.dumps(request.json).encode())
    return {
        "method": request.method,
        "url": scrub(shown(request.url)),
        "headers": _allowed(request.shown_headers(), REQUEST_HEADERS, scrub),
        **_to_body(content, scrub),
    }


def key_of(request: JSON) -> str:
    """Give what two requests have in common that get the same answer; headers do not count."""
    return _text({name: value for name, value in request.items() if name != "headers"})


def to_error(error: CallError) -> JSON:
    known = {name: getattr(error, name, None) for name in _KNOWN_OF_ERRORS}
    return {
        "type": type(error).__name__,
        "message": error.message,
        **{name: value for name, value in known.items() if value is not None},
    }


def from_error(record: JSON) -> CallError:
    known = {name: value for name, value in record.items() if name not in ("type", "message")}
    error: CallError = error_class(record["type"])(record["message"], **known)
    return error


def error_class(name: str) -> Callable[..., CallError]:
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, CallError)):
        raise ValueError(f"there is no error named {name}")
    return kind


def differences(recorded: JSON, asked: JSON, path: str = "") -> Iterator[str]:
    """Name each place where two JSON values differ, and what stands there."""
    if isinstance(recorded, dict) and isinstance(asked, dict):
        for key in {**recorded, **asked}:
            where = f"{path}.{key}" if path else key
            if key not in asked:
                yield f"{where}: recorded {_cut(recorded[key])}, not asked"
            elif key not in recorded:
                yield f"{where}: not recorded, asked {_cut(asked[key])}"
            else:
                yield from differences(recorded[key], asked[key], where)
    elif isinstance(recorded, list) and isinstance(asked, list):
        for index, (was, now) in enumerate(zip(recorded, asked, strict=False)):
            yield from differences(was, now, f"{path}[{index}]")
        if len(recorded) != len(asked):
            yield f"{path}: recorded {len(recorded)} items, asked {len(asked)}"
    elif _text(recorded) != _text(asked):
        start = _first_difference(recorded, asked)
        yield f"{path}: recorded {_cut(recorded, start)}, asked {_cut(asked, start)}"


def _text(value: JSON) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _first_difference(recorded: JSON, asked: JSON) -> int:
    if not (isinstance(recorded, str) and isinstance(asked, str)):
        return 0
    pairs = enumerate(zip(recorded, asked, strict=False))
    return next((index for index, (was, now) in pairs if was != now), min(len(recorded), len(asked)))


def _cut(value: JSON, start: int = 0) -> str:
    if isinstance(value, str):
        start = max(0, start - 20)
        value = f"{'…' if start else ''}{value[start : start + 60]}{'…' if len(value) > start + 60 else ''}"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else text[:100] + "…"


def _allowed(headers: Mapping[str, str], names: re.Pattern[str], scrub: Scrubber) -> dict[str, str]:
    lowered = ((name.lower(), value) for name, value in headers.items())
    return {name: scrub(value) for name, value in lowered if names.fullmatch(name)}


def _to_body(data: bytes, scrub: Scrubber) -> JSON:
    """Write a body as the most readable thing that gives it back: JSON, text, or base64."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(_scrubbed(data, scrub)).decode()}
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refused)
        # What JSON can escape and UTF-8 cannot hold.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return {"text": scrub(text)} if text else {}
    return {"json": scrub.value(value)}


def _to_stream(data: bytes, content_type: str, scrub: Scrubber) -> JSON:
    try:
        text = scrub(data.decode())
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(_scrubbed(data, scrub)).decode()}
    lines = _LINE.findall(text)
    return {"events": list(_events(lines)) if "event-stream" in content_type else lines}


def _events(lines: Iterable[str]) -> Iterator[str]:
    """Join lines to events, each with the blank line that ends it."""
    event: list[str] = []
    for line in lines:
        event.append(line)
        if not line.strip("\r\n"):
            yield "".join(event)
            event = []
    if event:
        yield "".join(event)


def _from_body(record: JSON) -> list[bytes]:
    if "events" in record:
        return [event.encode() for event in record["events"]]
    if "json" in record:
        return [json.dumps(record["json"], ensure_ascii=False).encode()]
    if "base64" in record:
        return [base64.b64decode(record["base64"])]
    return [record["text"].encode()] if "text" in record else []


def _scrubbed(data: bytes, scrub: Scrubber) -> bytes:
    return scrub(data.decode("latin-1")).encode("latin-1")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands there twice")
    return value


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
