"""Rows of refusals: statuses, waits that are asked for, keys and redirects."""

from __future__ import annotations

import threading
from typing import Any

from tests.faults.case import Case, row
from tests.faults.rows_bodies import refused_once


@row("C29", "429 with Retry-After in seconds, milliseconds, as a date")
def retry_after(case: Case) -> None:
    waits(case, "retry_after", 0.4, value="0.4")
    waits(case, "retry_after_ms", 0.3, milliseconds=300)
    # A date has whole seconds, so the wait is up to a second shorter than what it was made of.
    waits(case, "retry_after_date", 0.95, 2.0, seconds=2.0)


def waits(case: Case, fault: str, least: float, most: float | None = None, **options: Any) -> None:
    tried = case.ask(fault, times=1, total=5.0, **options).succeeds(requests=2)
    most = 1.1 * (least if most is None else most) + 0.25
    waited = tried.waits[0] if tried.waits else 0.0
    tried.demand(least - 0.01 <= waited <= most, f"waited {waited:.2f} s, not {least:g} to {most:g}")


@row("C30", "429 with Retry-After of an hour, 1e35, the year 100000")
def absurd_retry_after(case: Case) -> None:
    for value in ("3600", "121", "1e35", "Fri, 31 Dec 100000 23:59:59 GMT"):
        tried = case.ask("retry_after", value=value).fails("RateLimited", requests=1)
        tried.demand(tried.outcome.seconds < 1, "it slept")
        if tried.failure and case.column.ours:
            tried.demand((tried.failure.retry_after or 0) > 120, "the error does not say how long")


@row("C31", "429 with Retry-After -5, 0, abc, nan, inf")
def senseless_retry_after(case: Case) -> None:
    for value in ("-5", "0", "abc", "nan", "inf"):
        case.ask("retry_after", value=value).fails("RateLimited", requests=3)


@row("C32", "429 because the quota is used up")
def quota(case: Case) -> None:
    refused_once(case, "quota_exhausted", "QuotaExhausted")


@row("C33", "529 and 503 twice, then good")
def burst(case: Case) -> None:
    for code in (529, 503):
        case.ask("status", code=code, times=2).succeeds(requests=3)


@row("C34", "408, 409, 425, 500 to 504, 520 to 524")
def retried_statuses(case: Case) -> None:
    for code, kind in ((408, "TimedOut"), (425, "ServerFailed"), (503, "Overloaded"), (529, "Overloaded")):
        case.ask("status", code=code).fails(kind, requests=3)
    for code in (500, 502, 504, 520, 521, 522, 523, 524):
        case.ask("status", code=code).fails("ServerFailed", requests=3)
    # A conflict passes only where the provider says that it is a lock.
    case.ask("status", code=409, headers={"openai-version": "2020-10-01"}).fails("ServerFailed", requests=3)
    if case.column.ours:
        refused_once(case, "status", "ServerFailed", code=409)


@row("C35", "400 401 402 403 404 405 413 415 422 501 505")
def refusals(case: Case) -> None:
    named = {401: "AuthenticationFailed", 402: "QuotaExhausted", 403: "PermissionDenied", 404: "NotFound"}
    for code in (400, 401, 402, 403, 404, 405, 413, 415, 422):
        refused_once(case, "status", named.get(code, "BadRequest"), code=code)
    for code in (501, 505):
        refused_once(case, "status", "ServerFailed", code=code)


@row("C36", "400, 401, 403 with x-should-retry: true")
def told_to_retry(case: Case) -> None:
    for code, kind in ((400, "BadRequest"), (401, "AuthenticationFailed"), (403, "PermissionDenied")):
        refused_once(case, "told_to_retry", kind, code=code)


@row("C37", "401 until the token is fresh")
def stale_token(case: Case) -> None:
    fetched: list[str] = []
    lock = threading.Lock()

    def fetch() -> tuple[str, float]:
        with lock:
            fetched.append("token")
            return ("stale-token-1" if len(fetched) == 1 else "fresh-token-2"), 3600.0

    client = case.client("stale_token", credential=fetch, fresh="fresh-token-2")
    case.ask_again(client, "stale_token").succeeds(requests=2)
    case.ask_again(client, "stale_token").succeeds(requests=1)
    case.demand(len(fetched) == 2, f"{len(fetched)} tokens were fetched, not 2")

    never = case.client("stale_token", credential=fetch, fresh="never")
    case.ask_again(never, "stale_token").fails("AuthenticationFailed", requests=2)
    case.demand(len(fetched) == 4, f"{len(fetched) - 2} tokens were fetched, not 2, for one that never helps")


CALLS = 300


@row("C38", "an outage is not made worse by more than 36 retries")
def outage(case: Case) -> None:
    client = case.client("status", code=503)
    for _ in range(CALLS):
        client.ask()
        asked = case.server.seen("status").requests
        if asked > CALLS + 36:
            break
    case.demand(asked <= CALLS + 36, f"more than {asked - 1} requests for {CALLS} calls")
    case.demand(asked >= CALLS, f"only {asked} requests for {CALLS} calls")


@row("C39", "the error repeats the key")
def echoed_key(case: Case) -> None:
    for code, kind in ((401, "AuthenticationFailed"), (400, "BadRequest")):
        # That it is not shown is looked at with every error.
        case.ask("echoed_key", code=code).fails(kind, "AuthenticationFailed", requests=1)


@row("C40", "redirects to another place")
def redirects(case: Case) -> None:
    elsewhere = case.server.url("good")
    named = elsewhere.replace("127.0.0.1", "localhost")
    for code in (301, 302, 303, 307, 308):
        for target in (elsewhere, named):
            refused_once(case, "redirect", "RedirectRefused", code=code, to=f"{target}/chat/completions")
    followed = case.server.seen("good")
    case.demand(followed.connections == 0, f"{followed.received} bytes came to the other place")


@row("C41", "redirects in a circle, to a file, with a login")
def odd_redirects(case: Case) -> None:
    refused_once(case, "redirect_loop", "RedirectRefused")
    login = case.server.url("good").replace("http://", "http://user:word@")
    for target in ("file:///etc/passwd", login, "", "//", "ftp://127.0.0.1/"):
        refused_once(case, "redirect", "RedirectRefused", to=target)
    case.demand(case.server.seen("good").connections == 0, "it was followed")
