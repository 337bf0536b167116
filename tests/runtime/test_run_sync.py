from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest

from modelwrap.runtime.base import StrayAwait, next_or_none, run_sync


async def _never_suspends() -> int:
    return 7


def test_gives_what_the_coroutine_returns() -> None:
    assert run_sync(_never_suspends()) == 7


def test_lets_errors_through() -> None:
    async def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run_sync(fails())


def test_stops_a_stray_await_that_catches_everything_it_may() -> None:
    cleaned = []

    async def strays() -> None:
        try:
            await asyncio.sleep(0)
        except Exception:
            cleaned.append("swallowed")
        finally:
            cleaned.append("finally")

    with pytest.raises(StrayAwait, match="^a blocking call awaited something other than its runtime$"):
        run_sync(strays())

    assert cleaned == ["finally"]


def test_stops_a_stray_await_even_where_all_is_swallowed() -> None:
    async def swallows() -> str:
        try:
            await asyncio.sleep(0)
        except BaseException:
            return "fine"
        return "never"

    with pytest.raises(StrayAwait):
        run_sync(swallows())


def test_leaves_the_hooks_of_a_running_loop_as_they_were() -> None:
    async def inside() -> bool:
        before = sys.get_asyncgen_hooks()
        run_sync(_never_suspends())
        return sys.get_asyncgen_hooks() == before

    assert asyncio.run(inside())


def test_a_running_loop_adopts_no_generator_of_a_blocking_call() -> None:
    async def hooks() -> sys._asyncgen_hooks:
        return sys.get_asyncgen_hooks()

    async def inside() -> tuple[object, object]:
        return tuple(run_sync(hooks()))

    assert asyncio.run(inside()) == (None, None)


def test_the_end_of_an_iterator_is_none() -> None:
    async def one() -> AsyncIterator[int]:
        yield 7

    async def take() -> list[int | None]:
        iterator = one()
        return [await next_or_none(iterator) for _ in range(3)]

    assert run_sync(take()) == [7, None, None]
