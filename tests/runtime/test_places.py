"""Calls beyond those that may have a connection wait their turn, and leave the queue when they have to."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from modelwrap.errors import ConnectionFailed
from modelwrap.runtime import backends, places
from modelwrap.runtime.base import Deadline, Runtime
from modelwrap.runtime.places import Place, Places
from modelwrap.testing import FaultServer
from modelwrap.wire.http import HttpRequest, Timeouts
from tests.colours import WAYS, Colour

CONCURRENT = [way for way in WAYS if way.name == "concurrent"]


@pytest.fixture
def faults() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


def one_place() -> Places[None]:
    one: Places[None] = Places("http://a.test")
    one._most = 1
    return one


async def fetch(runtime: Runtime, url: str, total: float) -> int:
    request = HttpRequest("POST", f"{url}/chat/completions", timeouts=Timeouts(total=total))
    response = await runtime.send(request, Deadline(total, runtime.now))
    await response.read()
    return response.status


@pytest.mark.parametrize("way", CONCURRENT, ids=lambda way: way.client)
def test_more_calls_than_places_queue(way: Colour, faults: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MOST", 3)
    url = faults.url("good")

    async def ask_all() -> list[int]:
        return await asyncio.gather(*(fetch(way.runtime(), url, 10) for _ in range(40)))

    assert way.run(ask_all()) == [200] * 40
    assert faults.seen("good").connections == 3


@pytest.mark.parametrize("way", CONCURRENT, ids=lambda way: way.client)
def test_a_place_that_never_comes_is_told_at_the_deadline(
    way: Colour, faults: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "MOST", 2)
    url = faults.url("silent")

    async def ask_all() -> list[BaseException | int]:
        holding = [asyncio.create_task(fetch(way.runtime(), url, 1)) for _ in range(2)]
        await asyncio.sleep(0.05)
        late = await asyncio.gather(*(fetch(way.runtime(), url, 0.1) for _ in range(5)), return_exceptions=True)
        for task in holding:
            task.cancel()
        await asyncio.wait(holding)
        return late

    for error in way.run(ask_all()):
        assert isinstance(error, ConnectionFailed)
        assert not error.sent
        assert error.message == f"all 2 connections of the pool for {url.removesuffix('/v1')} were in use"
    assert faults.seen("silent").connections == 2


@pytest.mark.parametrize("way", CONCURRENT, ids=lambda way: way.client)
def test_closing_breaks_no_call_that_waits_in_the_queue(
    way: Colour, faults: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "MOST", 1)
    url = faults.url("good")

    async def close_meanwhile() -> list[int]:
        calls = [asyncio.create_task(fetch(way.runtime(), url, 10)) for _ in range(10)]
        await asyncio.sleep(0.003)
        await backends.aclose(url)
        return await asyncio.gather(*calls)

    assert way.run(close_meanwhile()) == [200] * 10
    assert faults.all_closed("good")


def test_threads_queue_too(faults: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MOST", 1)
    blocking = WAYS[0]
    url = faults.url("silent")
    errors: list[Exception] = []

    def ask(total: float) -> None:
        try:
            blocking.run(fetch(blocking.runtime(), url, total))
        except Exception as error:  # told to the test below
            errors.append(error)

    threads = [threading.Thread(target=ask, args=[total]) for total in (1.0, 0.1)]
    threads[0].start()
    while not faults.seen("silent").connections:
        time.sleep(0.01)
    threads[1].start()
    for thread in threads:
        thread.join()

    assert [type(error).__name__ for error in errors] == ["ConnectionFailed", "TimedOut"]


def test_places_are_handed_on_in_the_order_of_the_queue() -> None:
    first_come: Places[None] = Places("http://a.test")
    order: list[int] = []

    async def take(number: int) -> None:
        place = await first_come.take(Deadline(5))
        order.append(number)
        await asyncio.sleep(0)
        first_come.leave(place)

    async def take_all() -> None:
        first_come._most = 1
        await asyncio.gather(*(take(number) for number in range(20)))

    asyncio.run(take_all())

    assert order == list(range(20))
    assert first_come.empty


@pytest.mark.parametrize("moment", ["taking", "leaving"])
def test_a_place_may_be_given_back_by_the_garbage_collector_at_any_moment(
    moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dropped:
        """Be a stream that nobody holds any more, and that is in its own way."""

        def __init__(self, place: Place[None]) -> None:
            self.itself = self
            self.place = place

        def __del__(self) -> None:
            some.leave(self.place)

    class Collected(Future[Place[None]]):
        def __init__(self) -> None:
            gc.collect()
            super().__init__()

        def set_result(self, result: Place[None]) -> None:
            gc.collect()
            super().set_result(result)

    def take_and_leave(place: Place[None]) -> None:
        if moment == "leaving":
            threading.Timer(0.05, some.leave, [place]).start()
            place = some.take_blocking(Deadline(60))
        Dropped(place)
        del place
        some.leave(some.take_blocking(Deadline(60)))

    some = one_place()
    taken = [some.take_blocking(Deadline(60))]
    monkeypatch.setattr(places, "Future", Collected)
    gc.collect()
    gc.disable()
    try:
        thread = threading.Thread(target=lambda: take_and_leave(taken.pop()), daemon=True)
        thread.start()
        thread.join(20)  # each collection takes long in a large process on a busy machine
    finally:
        gc.enable()

    assert not thread.is_alive()
    assert some.empty


def test_who_leaves_the_queue_at_the_last_moment_passes_the_place_on() -> None:
    async def leave_late() -> bool:
        one = one_place()
        place = await one.take(Deadline(5))
        waiting = asyncio.create_task(one.take(Deadline(5)))
        await asyncio.sleep(0)
        one.leave(place)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        return one.empty

    assert asyncio.run(leave_late())


def test_a_place_that_nobody_holds_any_more_is_free() -> None:
    one = one_place()
    place = one.take_blocking(Deadline(5))

    del place

    assert one.empty
    assert one.take_blocking(Deadline(0)) in one.held()


def test_a_place_that_went_to_a_loop_which_was_closed_meanwhile_is_free() -> None:
    one = one_place()
    place = one.take_blocking(Deadline(5))
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(one.take(Deadline(5)))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()

    one.leave(place)
    del waiting, loop, place
    gc.collect()

    assert one.empty


def test_a_place_may_be_given_back_twice() -> None:
    one = one_place()
    place = one.take_blocking(Deadline(5))

    one.leave(place)
    other = one.take_blocking(Deadline(5))
    one.leave(place)

    assert one.held() == [other]
