"""Look for a secret in everything that an error shows, and in everything that hangs on it."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Coroutine
from typing import Any

from modelwrap.errors import chain


def assert_hidden(error: BaseException, *secrets: str) -> None:
    shown = "".join(traceback.format_exception(error))
    for link in chain(error):
        shown += repr(link) + repr(link.args) + _held(vars(link), depth=4)
    for secret in secrets:
        assert secret not in shown


def _held(values: dict[str, Any], depth: int) -> str:
    if not depth:
        return ""
    inner = [_held(vars(value), depth - 1) for value in values.values() if hasattr(value, "__dict__")]
    return "".join([*(f"{name}={value!r}\n" for name, value in values.items()), *inner])


async def frames_when_cancelled(call: Coroutine[Any, Any, object], after: float = 0.1) -> str:
    """Give a call up, and give what those see who collect the locals of its frames."""
    task = asyncio.create_task(call)
    await asyncio.sleep(after)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError as error:
        return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    raise AssertionError("it was over before")
