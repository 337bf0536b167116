"""Several things of one call at once, where the colour can."""

from __future__ import annotations

import asyncio
import time

import pytest

from modelwrap.errors import BadRequest
from modelwrap.runtime.base import Runtime
from modelwrap.runtime.concurrent import Concurrent
from tests.colours import Colour


def test_each_gives_its_results_in_the_order_of_the_items(colour: Colour) -> None:
    runtime = colour.runtime()

    async def doubled(number: int) -> int:
        await runtime.sleep(0.01 / number)
        return 2 * number

    assert colour.run(runtime.each(doubled, [1, 2, 3])) == [2, 4, 6]
    assert colour.run(runtime.each(doubled, [])) == []


def test_each_waits_for_all_at_the_same_time_in_a_loop() -> None:
    runtime: Runtime = Concurrent()
    started = time.monotonic()

    asyncio.run(runtime.each(runtime.sleep, [0.1] * 50))

    assert time.monotonic() - started < 2


def test_an_error_in_each_is_itself_and_ends_the_others(colour: Colour) -> None:
    runtime = colour.runtime()
    done: list[int] = []

    async def step(number: int) -> None:
        if number == 1:
            raise BadRequest("no")
        await runtime.sleep(0.05)
        done.append(number)

    with pytest.raises(BadRequest) as caught:
        colour.run(runtime.each(step, [1, 2, 3]))

    assert caught.value.__cause__ is None
    assert done == []


def test_each_ends_with_the_task_that_waits_for_it() -> None:
    runtime = Concurrent()

    async def cancelled() -> int:
        waiting = asyncio.create_task(runtime.each(runtime.sleep, [10.0] * 3))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return len(asyncio.all_tasks())

    assert asyncio.run(cancelled()) == 1
