from __future__ import annotations

import pytest

from modelwrap.errors import TimedOut
from modelwrap.runtime.base import Deadline, Limit


class Clock:
    time = 100.0

    def __call__(self) -> float:
        return self.time


def test_counts_down_on_its_own_clock() -> None:
    clock = Clock()
    deadline = Deadline(10, clock)

    clock.time += 4

    assert deadline.remaining() == 6
    clock.time += 5.5
    deadline.check()


def test_says_that_it_has_passed() -> None:
    clock = Clock()
    deadline = Deadline(10, clock)

    clock.time += 10

    with pytest.raises(TimedOut, match="longer than 10 s in all") as caught:
        deadline.check()
    assert caught.value.limit == "total"
    assert not caught.value.retryable


def test_a_limit_is_never_more_than_the_deadline_leaves() -> None:
    clock = Clock()
    limit = Limit(5, Deadline(7, clock), "first_token")

    left_at_first = limit.left()
    clock.time += 4

    assert left_at_first == 5
    assert limit.left() == 3


def test_a_limit_may_span_several_operations() -> None:
    clock = Clock()
    limit = Limit(5, Deadline(60, clock), "idle")

    limit.begin()
    clock.time += 3
    left_of_it = limit.left()
    limit.begin()

    assert left_of_it == 2
    assert limit.left() == 5


def test_a_limit_is_never_more_than_the_system_can_wait() -> None:
    limit = Limit(1e12, Deadline(1e12, Clock()), "idle")

    assert limit.left() == 2_000_000


def test_a_limit_that_spans_operations_ends() -> None:
    clock = Clock()
    limit = Limit(5, Deadline(60, clock), "idle")

    limit.begin()
    clock.time += 7

    assert limit.left() == -2


@pytest.mark.parametrize(
    "name, words",
    [
        ("connect", "no connection within 5 s"),
        ("first_token", "no first token within 5 s"),
        ("idle", "nothing came for 5 s"),
        ("a name of its own:", "a name of its own: 5 s"),
    ],
)
def test_a_limit_says_what_it_was_for(name: str, words: str) -> None:
    limit = Limit(5, Deadline(7, Clock()), name)

    passed = limit.passed()

    assert (passed.limit, str(passed), passed.retryable) == (name, words, True)


@pytest.mark.parametrize("left, limit", [(0.5, "idle"), (0.0, "total"), (-0.5, "total")])
def test_a_limit_tells_which_of_the_two_passed(left: float, limit: str) -> None:
    clock = Clock()
    idle = Limit(5, Deadline(7, clock), "first_token")

    idle.change(2, "idle")
    clock.time += 7 - left

    assert idle.passed().limit == limit
    assert str(idle.passed()).endswith(" 2 s" if limit == "idle" else "longer than 7 s in all")
