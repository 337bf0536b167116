"""Rows of bodies that come with status 200."""

from __future__ import annotations

from typing import Any

from tests.faults.case import Case, row
from tests.faults.rows_connections import retried

MOST_MEMORY = 150
"""MiB that a process may grow by over what is too large."""


def refused_once(case: Case, fault: str, *kinds: str, **given: Any) -> None:
    case.ask(fault, **given).fails(*kinds, requests=1)


@row("C14", "502 with a web page")
def bad_gateway(case: Case) -> None:
    tried = case.ask("bad_gateway").fails("ServerFailed", requests=3)
    if tried.failure:
        tried.demand(len(tried.failure.body or "") <= 2049, "the error carries all of the page")


@row("C15", "200 with a web page")
def html_page(case: Case) -> None:
    refused_once(case, "html_page", "InvalidResponse")


@row("C16", "JSON called plain text")
def json_as_text(case: Case) -> None:
    case.ask("json_as_text").succeeds()


@row("C17", "200 with nothing, 204")
def empty_body(case: Case) -> None:
    for fault in ("empty_body", "no_content"):
        case.ask(fault).fails("InvalidResponse", requests=3)
        case.ask(fault, times=1).succeeds(requests=2)


@row("C18", "null, list, string, number")
def not_an_object(case: Case) -> None:
    for text in ("null", "[]", '"text"', "7", "true"):
        refused_once(case, "body", "InvalidResponse", text=text)


@row("C19", "200 with an error inside")
def error_as_success(case: Case) -> None:
    case.ask("error_as_success").fails("RateLimited", requests=3)
    for code, kind in (("insufficient_quota", "QuotaExhausted"), ("invalid_api_key", "AuthenticationFailed")):
        refused_once(case, "error_as_success", kind, message="no", code=code)


@row("C20", "choices missing, null, []")
def no_choices(case: Case) -> None:
    for choices in ("missing", None, []):
        case.ask("no_choices", choices=choices).fails("InvalidResponse")
    refused_once(case, "no_choices", "ContentFiltered", choices=[], filtered=True)


@row("C21", "wrong types in choices")
def wrong_types(case: Case) -> None:
    for options in (
        {},
        {"choices": "none"},
        {"choices": [3]},
        {"choices": {"index": 0}},
        {"choices": [{"message": 3}]},
    ):
        tried = case.ask("wrong_types", **options).fails("InvalidResponse", requests=1)
        if tried.failure:
            tried.demand("choices" in tried.failure.message, "the error does not say where")


@row("C22", "invalid JSON")
def broken_json(case: Case) -> None:
    case.ask("broken_json").fails("InvalidResponse", requests=2)
    case.ask("broken_json", times=1).succeeds(requests=2)


@row("C23", "NaN, Infinity, 1e400: taken, as Python's json takes them")
def nan_in_json(case: Case) -> None:
    for number in ("NaN", "-Infinity", "1e400"):
        case.ask("nan_in_json", number=number).succeeds()


@row("C24", "repeated keys: the last one counts, as in Python's json")
def repeated_keys(case: Case) -> None:
    case.ask("repeated_keys").succeeds()


@row("C25", "JSON 100,000 deep")
def deep_json(case: Case) -> None:
    case.ask("deep_json").fails("InvalidResponse")


@row("C26", "integer of 100,000 digits")
def long_integer(case: Case) -> None:
    case.ask("long_integer").fails("InvalidResponse")


@row("C27", "invalid UTF-8, half a surrogate pair")
def bad_utf8(case: Case) -> None:
    for fault in ("bad_utf8", "lone_surrogate"):
        case.ask(fault).fails("InvalidResponse")


@row("C28", "byte order mark")
def byte_order_mark(case: Case) -> None:
    case.ask("byte_order_mark").succeeds()


@row("C42", "compression bombs: gzip, deflate, br, zstd, gzip twice")
def compression_bombs(case: Case) -> None:
    codings = ("gzip", "deflate", "gzip, gzip", "br", "zstd")
    # Of a client that chews on one for many seconds, one is enough to see it.
    portions = [codings] if case.column.ours else [(coding,) for coding in codings]
    for portion in portions:
        told = case.in_child(*({"fault": "compression_bomb", "coding": coding} for coding in portion))
        for coding, (_, outcome) in zip(portion, told, strict=True):
            failure = outcome.failure
            # What was not asked for need not be read.
            kinds = {"ResponseTooLarge"} | ({"InvalidResponse"} if coding in ("br", "zstd") else set())
            case.demand(bool(failure and kinds & {*failure.kinds}), f"{coding}: {failure.name if failure else 'none'}")
            case.demand(outcome.peak <= MOST_MEMORY, f"{coding}: memory grew by {outcome.peak:.0f} MiB")
        if case.shorts:
            return
    asked = case.server.seen("compression_bomb").requests
    case.demand(asked == len(codings), f"{asked} requests for {len(codings)} calls")


@row("C43", "compressed body cut, plain body called compressed")
def bad_compression(case: Case) -> None:
    retried_with_answer(case, "cut_gzip")
    retried(case, "false_gzip", "InvalidResponse")


def retried_with_answer(case: Case, fault: str) -> None:
    case.ask(fault).fails("InvalidResponse", requests=3)
    case.ask(fault, times=1).succeeds(requests=2)


@row("C44", "unknown content coding")
def unknown_coding(case: Case) -> None:
    tried = case.ask("unknown_coding")
    if tried.failure:
        tried.fails("InvalidResponse")
    else:
        tried.succeeds()
    case.ask("unknown_coding", plain=False).fails("InvalidResponse")


@row("C45", "body of 300 MB")
def huge_body(case: Case) -> None:
    for chunked in (False, True):
        [(_, outcome)] = case.in_child({"fault": "huge_body", "chunked": chunked})
        failure = outcome.failure
        told = failure.name if failure else "no error"
        case.demand(bool(failure and "ResponseTooLarge" in failure.kinds), f"chunked={chunked}: {told}")
        case.demand(outcome.peak <= MOST_MEMORY, f"chunked={chunked}: memory grew by {outcome.peak:.0f} MiB")
        if case.shorts:
            return
    case.demand(case.server.seen("huge_body").requests == 2, "it was asked for more than once")
    case.demand(case.server.seen("huge_body").sent < 2 * 150 * 2**20, "the body was read to its end")
