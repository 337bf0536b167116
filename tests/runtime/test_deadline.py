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


def test_a_limit_tells_which_of_the_two_passed() -> None:
    clock = Clock()
    limit = Limit(5, Deadline(7, clock), "first_token")

    own = limit.passed()
    limit.change(2, "idle")
    idle = limit.passed()
    clock.time += 8
    total = limit.passed()

    assert (own.limit, str(own)) == ("first_token", "no first token within 5 s")
    assert (idle.limit, str(idle)) == ("idle", "nothing came for 2 s")
    assert total.limit == "total"
