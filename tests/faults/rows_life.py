"""Rows of what goes on around a call: proxies, threads, forks, loops, clocks, requests that cannot be sent, pools."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

from modelwrap.testing.faults.answers import TEXT
from tests.faults.case import Case, Tried, row, said_by_child
from tests.faults.columns import Settings
from tests.faults.proxy import TunnelProxy

NAME = "models.internal"
PASSWORD = "pass-canary-7Yq"
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@contextmanager
def environment(**given: str) -> Iterator[None]:
    """Set the variables of proxies, in lower case, and no others of them; let a name lead to this machine."""
    names = [*VARIABLES, *(name.upper() for name in VARIABLES)]
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *rest: Any, **named: Any) -> Any:
        return real("127.0.0.1" if host in (NAME, NAME.encode()) else host, *rest, **named)

    os.environ.update(given)
    socket.getaddrinfo = getaddrinfo
    try:
        yield
    finally:
        socket.getaddrinfo = real
        for name in given:
            del os.environ[name]
        os.environ.update(before)


@row("C53", "proxies: of the environment, of the config, none, broken ones")
def proxies(case: Case) -> None:
    proxy = case.server.url("good").removesuffix("/v1")
    for variable in ("http_proxy", "all_proxy"):
        with environment(**{variable: proxy}):
            asked_through(case, f"http://{NAME}/v1", True)
    for variable in ({"no_proxy": NAME}, {"no_proxy": "*"}):
        with environment(http_proxy=proxy, **variable):
            asked_through(case, case.server.url("echo").replace("127.0.0.1", NAME), False)
    with environment(http_proxy=proxy):
        direct = case.server.url("echo").replace("127.0.0.1", NAME)
        asked_through(case, direct, False, extra=case.column.through(None))
    with environment():
        through_tunnel(case)
        broken_proxies(case)


def asked_through(case: Case, url: str, through: bool, **settings: Any) -> None:
    before = case.server.seen("good").requests
    outcome = case.client_at(url, **settings).ask()
    case.demand(
        outcome.text == (TEXT if through else "Hi"), f"{outcome.text or (outcome.failure and outcome.failure.message)}"
    )
    asked = case.server.seen("good").asked[before:]
    case.demand(bool(asked) == through, "it went the other way")
    case.demand(all(NAME in one.path for one in asked), "the proxy was not told where to")


def through_tunnel(case: Case) -> None:
    with closing(TunnelProxy(f"user:{PASSWORD}")) as proxy:
        extra = case.column.through(f"http://user:{PASSWORD}@{proxy.place}", case.server.authority)
        case.ask("trusted_certificate", connect=2.0, extra=extra).succeeds()
        case.demand(len(proxy.asked) == 1 and proxy.asked[0].startswith("CONNECT 127.0.0.1"), f"{proxy.asked}")
        wrong = case.column.through(f"http://user:not-{PASSWORD}@{proxy.place}", case.server.authority)
        tried = case.ask("trusted_certificate", connect=2.0, extra=wrong, retries=0)
        hides_password(tried.fails("ConnectionFailed", connections=0))


def broken_proxies(case: Case) -> None:
    refusing = case.server.url("connection_refused").removeprefix("http://").removesuffix("/v1")
    tried = case.ask("good", extra=case.column.through(f"http://user:{PASSWORD}@{refusing}"))
    hides_password(tried.fails("ConnectionFailed", attempts=3, connections=0))


def hides_password(tried: Tried) -> None:
    tried.demand(PASSWORD not in (tried.failure.shown if tried.failure else ""), "the proxy's password is shown")


@row("C54", "32 threads, 6 forks")
def threads_and_forks(case: Case) -> None:
    for words in said_by_child("tests.faults.crowd", case.column.place, case.server.url("echo")):
        case.demand(False, words)


@row("C55", "20 event loops, one after another")
def loops(case: Case) -> None:
    ask = case.column.in_loops(Settings(case.server.url("echo")))
    good = 0
    for number in range(20):
        try:
            good += ask(f"loop {number}") == f"loop {number}"
        except Exception as error:  # whatever comes is a call that did not work
            case.demand(False, f"loop {number}: {type(error).__name__}: {error}")
    case.demand(good == 20, f"{good} of 20 worked")


@contextmanager
def wall_clock() -> Iterator[list[float]]:
    real, ahead = time.time, [0.0]
    time.time = lambda: real() + ahead[0]
    try:
        yield ahead
    finally:
        time.time = real


@row("C56", "wall clock an hour off, and jumping")
def clocks(case: Case) -> None:
    with wall_clock() as ahead:
        for hours in (1, -1):
            ahead[0] = hours * 3600.0
            case.ask("retry_after", times=1, value=f"0.2{hours + 1}").succeeds(requests=2)
        for fault, least, most in (("slow", 0.35, 1.3), ("silent", 0.75, 1.7)):
            for hours in (1, -1):
                ahead[0] = 0.0
                jump = threading.Timer(0.1, ahead.__setitem__, (0, hours * 3600.0))
                jump.start()
                options = {"seconds": 0.4} if fault == "slow" else {}
                tried = case.ask(fault, total=0.8, first_token=2.0, retries=0, **options)
                jump.join()
                tried.demand((tried.failure is None) == (fault == "slow"), f"{tried.outcome}")
                tried.demand(least < tried.outcome.seconds < most, f"it took {tried.outcome.seconds:.2f} s")


@row("C65", "requests that cannot be sent")
def unsendable(case: Case) -> None:
    circle: list[Any] = []
    circle.append(circle)
    calls: list[dict[str, Any]] = [{"extra_body": {"x": value}} for value in (object(), float("nan"), circle, {1j: 2})]
    for call in (*calls, {"prompt": "half \ud83d"}, {"extra_headers": {"x-bad": "a\r\nb: c"}}):
        outcome = case.client("good").ask(**call)
        failure = outcome.failure
        case.demand(failure is not None, f"{call}: it was sent")
        if failure and case.column.ours:
            case.demand("BadRequest" in failure.kinds and failure.sent is False, f"{call}: {failure.name}")
    seen = case.server.seen("good")
    case.demand(seen.received == 0, f"{seen.received} bytes went out")


@row("C66", "all connections in use")
def pool(case: Case) -> None:
    with case.column.small_pool(4) as extra, ThreadPoolExecutor(8) as callers:
        client = case.client("slow", seconds=0.8, retries=0, connect=2.5, extra=extra, total=3.0, first_token=2.0)
        patient = [callers.submit(client.ask) for _ in range(4)]
        time.sleep(0.2)
        started = time.monotonic()
        hasty = [callers.submit(client.ask, timeout=0.3) for _ in range(2)]
        patient += [callers.submit(client.ask) for _ in range(2)]
        failures = [one.result().failure for one in hasty]
        case.demand(time.monotonic() - started < 1.3, "those who could not wait had to")
        kinds = {"ConnectionFailed", "TimedOut"}
        case.demand(all(failure and kinds & {*failure.kinds} for failure in failures), f"{failures}")
        if case.column.ours:
            told = all(failure and failure.sent is False and "4 connections" in failure.message for failure in failures)
            case.demand(told, "the error does not name the pool")
        case.demand(all(one.result().text == TEXT for one in patient), "those who waited got no answer")
        case.demand(case.server.seen("slow").connections <= 4, "the pool opened more connections than it may")
        case.ask_again(client, "slow").succeeds()
