"""Rows of connections, of HTTP itself, and of TLS."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from modelwrap.testing.faults.answers import TEXT
from tests.faults.case import SLACK, Case, Tried, row

HOST = "nowhere.invalid"


def retried(case: Case, fault: str, *kinds: str, **given: Any) -> Tried:
    """Demand three tries and then an error, and an answer where the second try is answered well."""
    tried = case.ask(fault, **given).fails(*kinds, requests=3, closed=True)
    case.ask(fault, times=1, **given).succeeds(requests=2)
    return tried


@row("C01", "connection refused")
def connection_refused(case: Case) -> None:
    tried = case.ask("connection_refused").fails("ConnectionFailed", attempts=3)
    tried.demand(tried.outcome.seconds < 2, "it took long")
    if tried.failure and case.column.ours:
        tried.demand(tried.failure.sent is False, "it says that something was sent")


@contextmanager
def resolver_that_fails(code: int) -> Iterator[list[str]]:
    real, asked = socket.getaddrinfo, []

    def getaddrinfo(host: Any, *rest: Any, **named: Any) -> Any:
        # Whether it is an address already is answered without a resolver.
        if host in (HOST, HOST.encode()) and not named.get("flags", 0) & socket.AI_NUMERICHOST:
            asked.append(host)
            raise socket.gaierror(code, "made up")
        return real(host, *rest, **named)

    socket.getaddrinfo = getaddrinfo
    try:
        yield asked
    finally:
        socket.getaddrinfo = real


@row("C02", "name not known, or not now")
def unknown_host(case: Case) -> None:
    for code, tries in ((socket.EAI_NONAME, 2), (socket.EAI_AGAIN, 3)):
        with resolver_that_fails(code) as asked:
            tried = case.ask("unknown_host").fails("ConnectionFailed")
        tried.demand(len(asked) == tries, f"asked for the address {len(asked)} times, not {tries}")


@row("C03", "connection that is never accepted")
def black_hole(case: Case) -> None:
    tried = case.ask("black_hole", connect=0.2).fails("TimedOut", attempts=3, limit="connect")
    tried.demand(0.5 < tried.outcome.seconds < 0.6 + SLACK, f"it took {tried.outcome.seconds:.1f} s")


@row("C04", "accepted, then closed")
def close_on_accept(case: Case) -> None:
    case.ask("close_on_accept").fails("ConnectionFailed", connections=3, attempts=3, closed=True)
    retried(case, "close_before_headers", "ConnectionFailed")


@row("C05", "reset before headers")
def reset_before_headers(case: Case) -> None:
    retried(case, "reset_before_headers", "ConnectionFailed")


@row("C06", "reset after headers")
def reset_after_headers(case: Case) -> None:
    case.ask("reset_after_headers", length=False).fails("ConnectionFailed", requests=3, closed=True)
    trusting = case.column.trusting(case.server.authority)
    case.ask("reset_under_tls", connect=2.0, extra=trusting).fails("ConnectionFailed", requests=3, closed=True)
    retried(case, "reset_after_headers", "ConnectionFailed")


@row("C07", "body of known length cut")
def cut_body(case: Case) -> None:
    keeps_what_came(retried(case, "cut_body", "ConnectionFailed"))


@row("C08", "chunked body cut")
def cut_chunked_body(case: Case) -> None:
    for within in ("size", "trailer"):
        tried = case.ask("cut_chunked_body", within=within).fails("ConnectionFailed", requests=3, closed=True)
        keeps_what_came(tried)
    keeps_what_came(retried(case, "cut_chunked_body", "ConnectionFailed"))


def keeps_what_came(tried: Tried) -> None:
    if tried.failure:
        tried.demand("chatcmpl-1" in (tried.failure.body or ""), "what had come is not kept", common=True)


@row("C09", "body without a length cut")
def cut_unframed_body(case: Case) -> None:
    retried(case, "cut_unframed_body", "InvalidResponse")


@row("C10", "silent server")
def silent(case: Case) -> None:
    tried = case.ask("silent", stream=True, first_token=0.25)
    tried.fails("TimedOut", requests=3, limit="first_token", closed=True)
    case.ask("silent", total=0.6, first_token=0.3).fails("TimedOut", closed=True)


@row("C11", "headers a byte at a time")
def drip_headers(case: Case) -> None:
    ends_at_deadline(case, "drip_headers", every=0.1)
    ends_at_deadline(case, "drip_headers", every=0.1, stream=True, first_token=9.0)


@row("C12", "body a byte at a time")
def drip_body(case: Case) -> None:
    ends_at_deadline(case, "drip_body", every=0.1)


def ends_at_deadline(case: Case, fault: str, **given: Any) -> None:
    tried = case.ask(fault, total=0.6, **given).fails("TimedOut", limit="total", closed=True)
    tried.demand(tried.outcome.seconds > 0.55, f"it ended early, after {tried.outcome.seconds:.2f} s")


@row("C13", "informational responses for ever")
def endless_informational(case: Case) -> None:
    for every in (0.0, 0.02):
        tried = case.ask("endless_informational", every=every, total=0.8)
        tried.fails("InvalidResponse", "TimedOut", closed=True)


@row("C46", "20,000 headers, header of 2 MB")
def too_many_headers(case: Case) -> None:
    for fault in ("many_headers", "huge_header"):
        case.ask(fault).fails("InvalidResponse", closed=True)


@row("C47", "not HTTP, or HTTP/0.9")
def not_http(case: Case) -> None:
    retried(case, "bad_status_line", "InvalidResponse")
    # Its one line never ends, so that a head that was cut is all that a client can tell.
    retried(case, "old_http", "InvalidResponse", "ConnectionFailed")


@row("C48", "two different lengths")
def two_content_lengths(case: Case) -> None:
    case.ask("two_content_lengths").fails("InvalidResponse", closed=True)


@row("C49", "length and chunks")
def length_and_chunks(case: Case) -> None:
    client = case.client("length_and_chunks")
    for _ in range(2):
        tried = case.ask_again(client, "length_and_chunks")
        if tried.failure:
            tried.fails("InvalidResponse")
        else:
            tried.succeeds()
        tried.demand(tried.connections == tried.requests, "the connection is used again")


@row("C50", "bytes left over after an answer")
def leftover_bytes(case: Case) -> None:
    for late, garbage in ((0.0, False), (0.02, False), (0.0, True), (0.02, True)):
        client = case.client("leftover_bytes", late=late, garbage=garbage)
        for _ in range(3):
            tried = case.ask_again(client, "leftover_bytes")
            if tried.failure is None:
                tried.demand(tried.outcome.text == TEXT, f"poisoned: {tried.outcome.text!r}")
            else:
                tried.demand(False, f"{tried.failure.name}: {tried.failure.message[:80]}")
            # What comes when the next request is on its way nobody could tell from its answer.
            wait_until_all_is_sent(case)


def wait_until_all_is_sent(case: Case) -> None:
    end = time.monotonic() + 1.0
    while (seen := case.server.seen("leftover_bytes")).finished < seen.requests and time.monotonic() < end:
        time.sleep(0.005)


@row("C51", "kept connection closed as we send")
def closes_idle_connection(case: Case) -> None:
    # Resent without being told, so no count of retries may be needed.
    retries = 0 if case.column.ours else 2
    for reset in (False, True):
        client = case.client("closes_idle_connection", reset=reset, retries=retries)
        for _ in range(3):
            tried = case.ask_again(client, "closes_idle_connection").succeeds(requests=None)
            tried.demand(tried.requests <= 2, f"{tried.requests} requests")
    client = case.client("closes_after_answer", retries=retries)
    for _ in range(2):
        case.ask_again(client, "closes_after_answer").succeeds()
        time.sleep(0.1)


@row("C52", "TLS: who it is not, expired, old, plain HTTP")
def bad_certificates(case: Case) -> None:
    trusting = case.column.trusting(case.server.authority)
    case.ask("trusted_certificate", connect=2.0, extra=trusting).succeeds()
    for fault in ("self_signed_certificate", "certificate_of_another_host", "expired_certificate", "old_tls"):
        tried = case.ask(fault, connect=2.0, extra=trusting).fails("TLSFailed", connections=1, attempts=1, closed=True)
        received = case.server.seen(fault).received
        # The other end of this one takes no part in TLS, and counts its first message.
        tried.demand(received == 0 or fault == "old_tls", "the request was sent")
    case.ask("silent_tls", connect=0.2).fails("TimedOut", connections=3, attempts=3, limit="connect", closed=True)
    tried = case.ask("http_on_tls_port", extra=trusting).fails("TLSFailed", connections=1, attempts=1, closed=True)
    tried.demand(tried.outcome.seconds < 1, "it took long")
