"""Calls that are given up at any moment leave no socket, no task, no place taken, and no complaint."""

from __future__ import annotations

import asyncio
import gc
import random
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from modelwrap.runtime import pools
from modelwrap.runtime.base import Deadline, Runtime
from modelwrap.testing import FaultServer
from modelwrap.wire.http import Connection, HttpRequest, Timeouts
from tests.colours import WAYS, Colour

CONCURRENT = [way for way in WAYS if way.name == "concurrent"]
AT_ONCE = 20

# A call is given up while it connects, agrees on TLS, sends, waits, or reads.
MOMENTS: list[tuple[str, dict[str, Any], float]] = [
    ("good", {}, 0.006),
    ("trusted_certificate", {}, 0.012),
    ("drip_body", {"every": 0.001}, 0.012),
    ("drip_headers", {"every": 0.001}, 0.012),
    ("endless_stream", {}, 0.012),
    ("silent", {}, 0.01),
    ("black_hole", {}, 0.01),
]


@pytest.fixture(scope="module")
def faults() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


async def read(runtime: Runtime, request: HttpRequest) -> None:
    response = await runtime.send(request, Deadline(request.timeouts.total, runtime.now))
    if request.stream:
        async for _ in response.stream():
            pass
    else:
        await response.read()


async def given_up(runtime: Runtime, request: HttpRequest, after: float) -> None:
    task = asyncio.create_task(read(runtime, request))
    await asyncio.sleep(after)
    task.cancel()
    await asyncio.wait([task])


async def give_up(runtime: Runtime, faults: FaultServer, times: int, dice: random.Random) -> list[Any]:
    """Give up so many calls at random moments; give what complaints the loop had."""
    loop = asyncio.get_running_loop()
    complaints: list[Any] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))

    def one() -> Any:
        name, options, longest = dice.choice(MOMENTS)
        request = HttpRequest(
            "POST",
            f"{faults.url(name, **options)}/chat/completions",
            {"content-type": "application/json"},
            content=b'{"stream": true, "messages": []}' + b" " * dice.choice([0, 0, 3 * 2**20]),
            connection=Connection(verify=faults.authority),
            timeouts=Timeouts(connect=1, total=3),
            stream=dice.random() < 0.5,
        )
        return given_up(runtime, request, dice.uniform(0, longest))

    for _ in range(0, times, AT_ONCE):
        await asyncio.gather(*(one() for _ in range(AT_ONCE)))
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    for pool in pools.current().loops[loop].values():
        assert pool.places.empty  # type: ignore[attr-defined]  # every pool has places
        await pool.aclose()
    return complaints


def check(way: Colour, faults: FaultServer, times: int) -> None:
    dice = random.Random(times)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        complaints = way.run(give_up(way.runtime(), faults, times, dice))
        gc.collect()

    assert complaints == []
    for name, _, _ in MOMENTS:
        assert faults.all_closed(name), name


@pytest.mark.parametrize("way", CONCURRENT, ids=lambda way: way.client)
def test_a_call_may_be_cancelled_at_any_moment(way: Colour, faults: FaultServer) -> None:
    check(way, faults, 200)


@pytest.mark.prove
@pytest.mark.parametrize("way", CONCURRENT, ids=lambda way: way.client)
def test_a_thousand_calls_may_be_cancelled_at_any_moment(way: Colour, faults: FaultServer) -> None:
    check(way, faults, 1000)


@pytest.mark.parametrize("way", CONCURRENT, ids=lambda way: way.client)
def test_a_connection_of_a_cancelled_call_serves_nobody_else(way: Colour, faults: FaultServer) -> None:
    request = HttpRequest("POST", f"{faults.url('echo')}/chat/completions", timeouts=Timeouts(total=5))

    async def ask(number: int) -> bool:
        runtime = way.runtime()
        content = b'{"messages": [{"role": "user", "content": "question %d"}]}' % number
        asked = HttpRequest("POST", request.url, content=content, timeouts=request.timeouts)
        response = await runtime.send(asked, Deadline(5, runtime.now))
        return b"question %d" % number in await response.read()

    async def ask_all() -> list[bool]:
        dice = random.Random(1)
        answers = []
        for start in range(0, 300, AT_ONCE):
            tasks = [asyncio.create_task(ask(start + number)) for number in range(AT_ONCE)]
            for task in tasks[::2]:
                await asyncio.sleep(dice.uniform(0, 0.001))
                task.cancel()
            await asyncio.wait(tasks)
            answers += [task.result() for task in tasks if not task.cancelled()]
        return answers

    answers = way.run(ask_all())

    assert answers
    assert all(answers)
