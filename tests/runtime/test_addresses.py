"""Names are looked up once for all who ask at the same time, and nobody waits longer than they like."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from modelwrap.errors import ConnectionFailed, TimedOut
from modelwrap.runtime import addresses
from modelwrap.runtime.addresses import look_up
from modelwrap.runtime.base import Deadline
from modelwrap.wire.http import HttpRequest, Timeouts
from tests.colours import Colour


class Resolver:
    """Answer after `may_answer` is set, and count."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.may_answer = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", self.getaddrinfo)

    def getaddrinfo(self, host: Any, port: Any, **options: Any) -> list[Any]:
        if options.get("flags"):
            raise socket.gaierror(socket.EAI_NONAME, "it is a name")
        self.asked += 1
        self.may_answer.wait(5)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answer]


def test_all_who_ask_at_the_same_time_get_one_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(monkeypatch, ["192.0.2.1", "192.0.2.2", "192.0.2.1"])

    with ThreadPoolExecutor(10) as threads:
        asked = [threads.submit(look_up, "name.test", 80) for _ in range(10)]
        futures = {one.result() for one in asked}
        resolver.may_answer.set()

    assert len(futures) == 1
    assert futures.pop().result(5) == ["192.0.2.1", "192.0.2.2"]
    assert resolver.asked == 1
    assert look_up("name.test", 80).result(5) == ["192.0.2.1", "192.0.2.2"]
    assert resolver.asked == 2


def test_an_address_is_nothing_to_ask_about() -> None:
    for host in ("127.0.0.1", "::1"):
        asked = look_up(host, 80)
        assert asked.done()
        assert asked.result() == [host]
    assert addresses._asked == {}


@pytest.mark.parametrize("number, retryable, times", [(socket.EAI_NONAME, False, 2), (socket.EAI_AGAIN, True, 1)])
def test_an_unknown_name_is_asked_for_twice_and_a_deaf_resolver_later(
    colour: Colour, monkeypatch: pytest.MonkeyPatch, number: int, retryable: bool, times: int
) -> None:
    resolver = Resolver(monkeypatch, socket.gaierror(number, "no such luck"))
    resolver.may_answer.set()
    runtime = colour.runtime()

    with pytest.raises(ConnectionFailed, match="the host's name cannot be resolved: no such luck") as caught:
        colour.run(runtime.send(HttpRequest("POST", "http://name.test/"), Deadline(5, runtime.now)))

    assert (caught.value.retryable, caught.value.sent) == (retryable, False)
    assert resolver.asked == times


def test_a_name_that_comes_round_late_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(monkeypatch, socket.gaierror(socket.EAI_NONAME, "not yet"), ["192.0.2.1"])
    resolver.may_answer.set()

    assert look_up("name.test", 80).result(5) == ["192.0.2.1"]


def test_a_resolver_that_does_not_answer_holds_nobody(colour: Colour, monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(monkeypatch, ["192.0.2.1"])
    runtime = colour.runtime()
    # A name of its own, because the look-up goes on for others.
    url = f"http://{colour.client}.test/"
    request = HttpRequest("POST", url, timeouts=Timeouts(connect=0.1, total=5))

    with pytest.raises(TimedOut, match="no connection within 0.1 s"):
        colour.run(runtime.send(request, Deadline(5, runtime.now)))

    resolver.may_answer.set()


def test_a_name_for_which_there_was_no_thread_is_asked_for_anew(
    colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = Resolver(monkeypatch, ["192.0.2.1"])
    resolver.may_answer.set()
    runtime = colour.runtime()

    def no_more(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as crowded:
        crowded.setattr(threading.Thread, "start", no_more)
        with pytest.raises(
            ConnectionFailed, match="the host's name cannot be resolved: can't start new thread"
        ) as caught:
            colour.run(runtime.send(HttpRequest("POST", "http://name.test/"), Deadline(5, runtime.now)))

    assert (caught.value.retryable, caught.value.sent) == (True, False)
    assert look_up("name.test", 80).result(5) == ["192.0.2.1"]


@pytest.mark.parametrize("host", ["127.0.0.1", "name.test"])
def test_who_is_interrupted_over_a_question_leaves_it_to_the_next(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as ctrl_c:
        ctrl_c.setattr(threading.Thread, "start", interrupted)
        ctrl_c.setattr(socket, "getaddrinfo", interrupted)
        with pytest.raises(KeyboardInterrupt):
            look_up(host, 80)
    resolver = Resolver(monkeypatch, ["192.0.2.1"])
    resolver.may_answer.set()

    assert look_up(host, 80).result(1) == ["192.0.2.1"]
