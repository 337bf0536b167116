"""A signal that ends a blocking call between any two of its steps leaves no place taken, no lock held, no socket."""

from __future__ import annotations

import dis
import functools
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any
from urllib.parse import urlsplit

import pytest

import modelwrap
from modelwrap.runtime import pools
from modelwrap.runtime.httpx2_backend import BlockingPool
from modelwrap.testing import FaultServer
from tests.open_sockets import sockets_to

LONG = [pytest.mark.prove, pytest.mark.timeout(300)]

RUNTIME = ("modelwrap/runtime",)
ALL = ("modelwrap/runtime", "modelwrap/models", "httpcore2")


class Interrupt:
    """Raise KeyboardInterrupt at the nth step of what is traced, of those between which Python looks for signals."""

    def __init__(self, at: int, within: tuple[str, ...]) -> None:
        self.left = at
        self.within = within

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not any(place in frame.f_code.co_filename for place in self.within):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._step

    def _step(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode" and frame.f_lasti in steps_with_signals(frame.f_code):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self._step


@functools.cache
def steps_with_signals(code: CodeType) -> frozenset[int]:
    """Give the steps at which a signal may raise: where a function begins, within a call, behind it, and in a loop.

    The call that ends a `with` is none of them: what releases a lock waits for nothing.
    """
    found: set[int] = set()
    steps = [step for step in dis.get_instructions(code) if step.opname != "PRECALL"]
    for number, step in enumerate(steps):
        called = step.opname.startswith("CALL")
        ends_with = [before.argval for before in steps[max(0, number - 3) : number]] == [None, None, None]
        if step.opname == "JUMP_BACKWARD" or (called and not ends_with):
            found.add(step.offset)
        if called or step.opname == "RESUME":
            found.add(steps[number + 1].offset)
    return frozenset(found)


def interrupted(work: Callable[[], object], at: int, within: tuple[str, ...]) -> bool:
    """Do the work up to a step, and tell whether it came to that."""
    before = sys.gettrace()
    # Python 3.12 traces single steps only where a frame had asked for them before.
    sys._getframe().f_trace_opcodes = True
    sys.settrace(Interrupt(at, within))
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.fixture
def faults() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


# Of what was made and had no name yet when the signal came, Python itself says that it throws it away.
@pytest.mark.filterwarnings(
    "ignore:unclosed <(socket|ssl):ResourceWarning", "ignore:coroutine .* was never awaited:RuntimeWarning"
)
@pytest.mark.parametrize("connected", [False, True], ids=["connecting", "connected"])
@pytest.mark.parametrize(
    "within, stream",
    [
        pytest.param(RUNTIME, False, id="runtime-whole"),
        pytest.param(ALL, False, id="all-whole", marks=LONG),
        pytest.param(ALL, True, id="all-streamed", marks=LONG),
    ],
)
def test_a_signal_between_any_two_steps_of_a_call_leaves_nothing_behind(
    faults: FaultServer, connected: bool, within: tuple[str, ...], stream: bool
) -> None:
    url = faults.url("good")
    client = {"base_url": url, "max_retries": 0}
    model = modelwrap.load(
        {"config_name": "a", "model_type": "openai", "model": "m", "api_key": "EMPTY", "client_args": client}
    )["a"]

    def work() -> str:
        return model.stream("Hi").reply.text if stream else model("Hi").text

    pools.current().close_blocking()
    work()
    at = 0
    while True:
        at += 1
        if not connected:
            pools.current().close_blocking()
        if not interrupted(work, at, within):
            break
        for pool in pools.current().blocking.values():
            assert isinstance(pool, BlockingPool)
            assert pool.places.empty, at
            assert not pool.places._lock._is_owned(), at  # type: ignore[attr-defined]  # as threading.Condition asks it
            assert sockets_to(urlsplit(url).port or 0) == len(pool._idle), at

    assert at > 300
    assert work()
