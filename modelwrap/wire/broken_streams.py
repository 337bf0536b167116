"""How a stream ends that does not end well, in the same words whoever sent it.

`began` says whether a piece of the answer was given; what nobody has seen yet may be asked for again.
"""

from __future__ import annotations

from modelwrap.errors import CallError, ConnectionFailed, StreamFailed, StreamTruncated, clip
from modelwrap.types import JSON
from modelwrap.wire import failures


def cut(error: CallError, *, began: bool) -> CallError:
    """Say of a connection that broke that the answer broke off with it; other errors stay as they are."""
    if not isinstance(error, ConnectionFailed):
        return error
    truncated = StreamTruncated(f"the connection broke within the answer: {error.message}", retryable=not began)
    truncated.__cause__ = error
    return truncated


def ended_early(*, began: bool) -> StreamTruncated:
    return StreamTruncated("the stream ended before its answer did", retryable=not began)


def said(value: JSON, text: str, *, began: bool) -> CallError:
    """Make an event that says an error into it: a refusal, or a failure half way."""
    refusal = failures.read(value)
    if not began:
        error = failures.refused(refusal, 200)
        error.body = clip(text)
        return error
    return StreamFailed(
        refusal.message or "the provider broke off without saying why",
        status=refusal.status,
        code=refusal.code,
        request_id=refusal.request_id,
        body=text,
    )


def not_json(error: ValueError, text: str) -> StreamFailed:
    return StreamFailed(f"an event of the stream is not JSON: {error}", body=text)
