"""Faults that a server says itself: statuses, waits that it asks for, redirects."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from types import MappingProxyType

from modelwrap.testing.faults.answers import chat, head, json_head, refusal, to_json, whole
from modelwrap.testing.faults.answers import good as good_answer
from modelwrap.testing.faults.bodies import page
from modelwrap.testing.faults.catalogue import Asked, Steps, fault


def phrase(code: int) -> str:
    return HTTPStatus(code).phrase if code in set(HTTPStatus) else "Unknown"


@fault("C33", "C34", "C35", "C38")
def status(
    asked: Asked,
    *,
    code: int = 503,
    message: str = "",
    error_code: str | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Steps:
    """Refuse with any status, in OpenAI's words."""
    yield from refused(code, message or phrase(code), error_code, **headers)


def refused(code: int, message: str, error_code: str | None = None, **headers: str | int) -> Steps:
    body = to_json(refusal(message, error_code))
    yield json_head(len(body), code, **headers).replace(b" OK\r\n", f" {phrase(code)}\r\n".encode(), 1) + body


@fault("C14")
def bad_gateway(asked: Asked) -> Steps:
    """Refuse with 502 and a long web page."""
    body = page("502 Bad Gateway", filler=500)
    yield head(502, "Bad Gateway", content_type="text/html", content_length=len(body)) + body


@fault("C29", "C30", "C31")
def retry_after(asked: Asked, *, value: str = "1", header: str = "retry-after", code: int = 429) -> Steps:
    """Refuse with 429 and say when to come back: `value` as it stands in the header."""
    yield from refused(code, "slow down", "rate_limit_exceeded", **{header: value})


@fault("C29")
def retry_after_ms(asked: Asked, *, milliseconds: int = 300) -> Steps:
    """Refuse with 429 and say in milliseconds when to come back."""
    yield from refused(429, "slow down", "rate_limit_exceeded", retry_after_ms=milliseconds)


@fault("C29")
def retry_after_date(asked: Asked, *, seconds: float = 2.0) -> Steps:
    """Refuse with 429 and give the date at which to come back."""
    date = formatdate(time.time() + seconds, usegmt=True)
    yield from refused(429, "slow down", "rate_limit_exceeded", retry_after=date)


@fault("C32")
def quota_exhausted(asked: Asked) -> Steps:
    """Refuse with 429 because the money is used up."""
    yield from refused(429, "You exceeded your current quota.", "insufficient_quota")


@fault("C36")
def told_to_retry(asked: Asked, *, code: int = 400) -> Steps:
    """Refuse for good, and ask for another try with `x-should-retry`."""
    yield from refused(code, "no", x_should_retry="true")


@fault("C37")
def stale_token(asked: Asked, *, fresh: str = "fresh") -> Steps:
    """Refuse with 401 every bearer token but `fresh`."""
    if asked.headers.get("authorization") == f"Bearer {fresh}":
        yield from good_answer(asked)
    else:
        yield from refused(401, "the token has expired", "token_expired")


@fault("C39")
def echoed_key(asked: Asked, *, code: int = 401) -> Steps:
    """Refuse, and repeat the key in the message, the code and the request id."""
    key = asked.headers.get("authorization", "").removeprefix("Bearer ")
    yield from refused(code, f"Incorrect API key provided: {key}", f"bad_{key}", x_request_id=f"req-{key}")


@fault("C40", "C41")
def redirect(asked: Asked, *, to: str = "http://127.0.0.1:9/", code: int = 307) -> Steps:
    """Send the client elsewhere."""
    yield head(code, phrase(code), location=to, content_length=0)


@fault("C41")
def redirect_loop(asked: Asked, *, code: int = 307) -> Steps:
    """Send the client to where it is."""
    yield head(code, phrase(code), location=asked.path, content_length=0)


@fault("C58")
def filtered(asked: Asked) -> Steps:
    """Refuse because of what was asked."""
    yield from refused(400, "The response was filtered.", "content_filter")


@fault("C33")
def slow(asked: Asked, *, seconds: float = 1.0) -> Steps:
    """Answer well, but late."""
    yield seconds
    yield from whole(chat())
