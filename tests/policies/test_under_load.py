"""Ten thousand calls over real sockets: retrying must help the caller and not harm the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import modelwrap
from modelwrap.errors import Overloaded
from modelwrap.models.base import Model
from tests.storm import Storm

CALLS = 10_000
MOST_RETRIES_IN_AN_OUTAGE = 36

pytestmark = pytest.mark.prove


def blocking(model: Model, calls: int) -> int:
    """Call from sixteen threads and count the answers."""

    def answered(_: int) -> bool:
        try:
            return model("Hi").text == "Hello"
        except Overloaded:
            return False

    with ThreadPoolExecutor(16) as pool:
        return sum(pool.map(answered, range(calls)))


def concurrent(model: Model, calls: int) -> int:
    """Call a hundred at once in a loop and count the answers."""
    left = iter(range(calls))
    answers = 0

    async def work() -> None:
        nonlocal answers
        for _ in left:
            try:
                reply = await model.acall("Hi")
            except Overloaded:
                continue
            answers += reply.text == "Hello"

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(100):
                group.create_task(work())

    asyncio.run(run())
    return answers


Drive = Callable[[Model, int], int]
both = pytest.mark.parametrize("drive", [blocking, concurrent], ids=lambda drive: drive.__name__)


def model_at(storm: Storm, **client_args: Any) -> Model:
    config = {"config_name": "m", "model_type": "openai", "api_key": "EMPTY"}
    return modelwrap.load({**config, "client_args": {"base_url": storm.base_url, **client_args}})["m"]


@both
def test_an_outage_is_not_made_worse(drive: Drive) -> None:
    with Storm(share=1.0) as storm:
        answers = drive(model_at(storm), CALLS)

    assert answers == 0
    assert CALLS < storm.requests <= CALLS + MOST_RETRIES_IN_AN_OUTAGE


@both
def test_one_failure_in_ten_is_hardly_noticed_on_either_side(drive: Drive) -> None:
    with Storm(share=0.1) as storm:
        answers = drive(model_at(storm), CALLS)

    assert answers >= 0.998 * CALLS
    assert storm.requests <= 1.15 * CALLS


def test_calls_come_through_again_soon_after_an_outage() -> None:
    done: list[tuple[float, bool]] = []

    async def work(model: Model, until: Callable[[], bool]) -> None:
        while not until():
            try:
                await model.acall("Hi")
            except Overloaded:
                done.append((time.monotonic(), False))
            else:
                done.append((time.monotonic(), True))
            # The pace is the callers', so that no other load of the machine shows.
            await asyncio.sleep(0.1)

    async def run(storm: Storm) -> tuple[float, float]:
        ended = asyncio.Event()
        model = model_at(storm)
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(work(model, ended.is_set))
            await asyncio.sleep(3)
            storm.share, began = 1.0, time.monotonic()
            await asyncio.sleep(3)
            storm.share, over = 0.0, time.monotonic()
            await asyncio.sleep(6)
            ended.set()
        return began, over

    with Storm(share=0.0) as storm:
        began, over = asyncio.run(run(storm))

    def rate(start: float, seconds: float) -> float:
        return sum(good for at, good in done if start <= at < start + seconds) / seconds

    before = rate(began - 2, 2)
    assert rate(over - 1, 1) == 0
    assert all(good for at, good in done if at > over + 1)
    assert max(rate(over + tenths / 10, 1) for tenths in range(41)) >= 0.8 * before
