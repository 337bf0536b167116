from __future__ import annotations

import gc
import random
import statistics
import weakref
from bisect import bisect_right
from collections.abc import Iterable
from contextlib import suppress
from itertools import repeat
from typing import Any

import pytest

from modelwrap.errors import (
    AuthenticationFailed,
    BadRequest,
    CallError,
    ConnectionFailed,
    InvalidResponse,
    Overloaded,
    QuotaExhausted,
    RateLimited,
    ServerFailed,
    TimedOut,
)
from modelwrap.models.base import Model
from modelwrap.models.call import Call, Chunks, Explanation
from modelwrap.policies.retry import LONGEST_WAIT, Budget, Retry, delay
from modelwrap.runtime.base import Deadline, Runtime, run_sync
from modelwrap.types import Attempt, ChatChunk, ChatReply
from modelwrap.wire.http import Timeouts
from tests.colours import FakeRuntime


class Scripted(Model):
    """Answer or raise what a list says, and write down each attempt."""

    def __init__(self, outcomes: Iterable[Any]) -> None:
        self.name = "scripted"
        self.outcomes = iter(outcomes)
        self.tried = 0

    async def complete(self, call: Call, runtime: Runtime) -> ChatReply:
        self.tried += 1
        runtime.now()
        call.endpoint = "http://one"
        outcome = next(self.outcomes)
        call.history.append(Attempt("http://one", str(outcome), None, 0.0, call.waited))
        if isinstance(outcome, Exception):
            raise outcome
        return ChatReply(id=outcome)

    async def open(self, call: Call, runtime: Runtime) -> Chunks:
        reply = await self.complete(call, runtime)

        async def chunks() -> Any:
            yield ChatChunk(id=reply.id)
            raise Overloaded("in the middle")

        return chunks()

    def describe(self, call: Call) -> Explanation:
        return Explanation("POST", "", {}, None)


def retrying(model: Model) -> Retry:
    """Give a policy whose budgets are its own."""
    return Retry(model, {})


def a_call(runtime: Runtime, *, retries: int = 2, total: float = 600) -> Call:
    timeouts = Timeouts(total=total)
    return Call(None, {}, timeouts, Deadline(total, runtime.now), retries)


def test_tries_again_what_may_pass() -> None:
    model = Scripted([Overloaded("busy"), ConnectionFailed("cut"), "good"])
    runtime = FakeRuntime()
    call = a_call(runtime)

    reply = run_sync(retrying(model).complete(call, runtime))

    assert reply.id == "good"  # type: ignore[attr-defined]
    assert model.tried == 3
    assert len(runtime.slept) == 2
    assert [attempt.delay for attempt in call.history] == [0.0, *runtime.slept]


@pytest.mark.parametrize("kind", [BadRequest, AuthenticationFailed, QuotaExhausted])
def test_gives_up_at_once_where_trying_again_cannot_help(kind: type[CallError]) -> None:
    model = Scripted([kind("no")])
    runtime = FakeRuntime()

    with pytest.raises(kind):
        run_sync(retrying(model).complete(a_call(runtime), runtime))

    assert model.tried == 1
    assert runtime.slept == []


def test_gives_up_after_the_last_attempt_with_the_last_error() -> None:
    model = Scripted([ServerFailed("one"), ServerFailed("two"), ServerFailed("three")])
    runtime = FakeRuntime()

    with pytest.raises(ServerFailed, match="three"):
        run_sync(retrying(model).complete(a_call(runtime), runtime))

    assert model.tried == 3


def test_stops_when_a_later_failure_cannot_be_helped() -> None:
    model = Scripted([ServerFailed("one"), BadRequest("two")])
    runtime = FakeRuntime()

    with pytest.raises(BadRequest, match="two"):
        run_sync(retrying(model).complete(a_call(runtime), runtime))


def test_an_error_may_say_of_itself_that_it_is_final() -> None:
    model = Scripted([TimedOut("all time is up", retryable=False)])
    runtime = FakeRuntime()

    with pytest.raises(TimedOut):
        run_sync(retrying(model).complete(a_call(runtime), runtime))

    assert model.tried == 1


def test_an_error_may_bound_how_often_trying_again_can_help() -> None:
    garbled = InvalidResponse("not JSON", retryable=True)
    garbled.most_retries = 1
    model = Scripted([garbled, garbled, "never asked for"])
    runtime = FakeRuntime()

    with pytest.raises(InvalidResponse):
        run_sync(retrying(model).complete(a_call(runtime), runtime))

    assert model.tried == 2


def test_counts_failures_in_a_row_where_a_call_is_made_of_many_requests() -> None:
    class Advancing(Scripted):
        async def complete(self, call: Call, runtime: Runtime) -> ChatReply:
            call.answered[self, self.tried // 2] = ChatReply()
            return await super().complete(call, runtime)

    runtime = FakeRuntime()
    model = Advancing([Overloaded("busy")] * 7 + ["good"])
    stuck = Scripted([Overloaded("busy")] * 7 + ["good"])

    reply = run_sync(retrying(model).complete(a_call(runtime), runtime))
    with pytest.raises(Overloaded):
        run_sync(retrying(stuck).complete(a_call(runtime), runtime))

    assert (reply.id, model.tried, stuck.tried) == ("good", 8, 3)


def test_tries_nothing_again_when_told_so() -> None:
    model = Scripted([Overloaded("busy")])
    runtime = FakeRuntime()

    with pytest.raises(Overloaded):
        run_sync(retrying(model).complete(a_call(runtime, retries=0), runtime))

    assert model.tried == 1


def test_tries_once_more_when_told_so() -> None:
    model = Scripted([Overloaded("busy"), "good", "never asked for"])
    runtime = FakeRuntime()

    run_sync(retrying(model).complete(a_call(runtime, retries=1), runtime))

    assert model.tried == 2


def test_waits_as_long_as_the_provider_asks() -> None:
    model = Scripted([RateLimited("slow down", retry_after=7.0), "good"])
    runtime = FakeRuntime()

    run_sync(retrying(model).complete(a_call(runtime), runtime))

    assert 7.0 <= runtime.slept[0] <= 7.7


def test_waits_the_longest_that_it_may_whatever_the_dice_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _, most: most)
    model = Scripted([RateLimited("slow down", retry_after=LONGEST_WAIT), "good"])
    runtime = FakeRuntime()

    run_sync(retrying(model).complete(a_call(runtime), runtime))

    assert runtime.slept == [pytest.approx(LONGEST_WAIT * 1.1)]


def test_leaves_nothing_behind_for_the_garbage_collector() -> None:
    class FailsOnce(Scripted):
        async def complete(self, call: Call, runtime: Runtime) -> ChatReply:
            self.tried += 1
            if self.tried == 1:
                error = ServerFailed("once")
                watched.append(weakref.ref(error))
                try:
                    raise error
                finally:
                    del error
            return ChatReply()

    class Picture:
        pass

    watched: list[weakref.ref[Any]] = []
    runtime = FakeRuntime()
    call = a_call(runtime)
    call.input = Picture()
    watched.append(weakref.ref(call.input))
    gc.disable()

    try:
        run_sync(retrying(FailsOnce([])).complete(call, runtime))
        del call
        left = [reference() for reference in watched]
    finally:
        gc.enable()

    assert left == [None, None]


@pytest.mark.parametrize("asked", [LONGEST_WAIT + 1, 3600.0, 1e35])
def test_does_not_wait_absurdly_long(asked: float) -> None:
    model = Scripted([RateLimited("come back tomorrow", retry_after=asked)])
    runtime = FakeRuntime()

    with pytest.raises(RateLimited) as caught:
        run_sync(retrying(model).complete(a_call(runtime), runtime))

    assert caught.value.retry_after == asked
    assert runtime.slept == []


def test_does_not_wait_past_the_deadline() -> None:
    model = Scripted([RateLimited("slow down", retry_after=30.0)])
    runtime = FakeRuntime()

    with pytest.raises(RateLimited):
        run_sync(retrying(model).complete(a_call(runtime, total=20), runtime))

    assert runtime.slept == []


@pytest.mark.parametrize("seed", range(3))
def test_spreads_the_retries_of_clients_that_failed_together(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", random.Random(seed).uniform)

    first = [first_wait(ServerFailed("down")) for _ in range(1000)]

    assert fullest(first, 0.1) <= 250
    assert 0.23 < statistics.mean(first) < 0.27


@pytest.mark.prove
def test_spreads_the_retries_of_many_crowds() -> None:
    crowds = [fullest([first_wait(ServerFailed("down")) for _ in range(1000)], 0.1) for _ in range(50)]

    assert statistics.mean(crowds) <= 250
    assert max(crowds) <= 275


def first_wait(error: CallError) -> float:
    """Give how long a call waits before its first retry."""
    runtime = FakeRuntime()
    run_sync(retrying(Scripted([error, "good"])).complete(a_call(runtime), runtime))
    return runtime.slept[0]


def fullest(moments: Iterable[float], window: float) -> int:
    """Count the most moments that fall into any window of this length."""
    ordered = sorted(moments)
    return max(bisect_right(ordered, start + window) - number for number, start in enumerate(ordered))


def test_the_bound_on_a_wait_doubles_up_to_a_cap() -> None:
    bounds = [max(delay(ServerFailed(), attempt) for _ in range(500)) for attempt in (1, 2, 3, 12, 5000)]

    assert [round(bound / 0.5) for bound in bounds] == [1, 2, 4, 40, 40]


def test_throttling_is_given_more_time_than_a_fault() -> None:
    waits = [delay(RateLimited(), 1) for _ in range(500)]

    assert 0.9 < max(waits) <= 1.0


def requests_in_an_outage(error: CallError, calls: int) -> int:
    """Count what goes out while an endpoint refuses everything."""
    model = Scripted(repeat(error))
    policy, runtime = retrying(model), FakeRuntime()
    for _ in range(calls):
        with pytest.raises(type(error)):
            run_sync(policy.complete(a_call(runtime), runtime))
    return model.tried


def test_a_long_outage_is_not_made_worse() -> None:
    assert requests_in_an_outage(Overloaded("down"), 1000) == 1000 + Budget.CAPACITY // Budget.COST


def test_throttling_uses_less_of_the_budget_than_a_fault() -> None:
    assert requests_in_an_outage(RateLimited("slow down"), 200) == 200 + Budget.CAPACITY // Budget.COST_THROTTLED


def test_one_failure_in_ten_is_hardly_noticed_on_either_side() -> None:
    dice = random.Random(7)
    model = Scripted(Overloaded("busy") if dice.random() < 0.1 else "good" for _ in repeat(None))
    policy, runtime = retrying(model), FakeRuntime()
    answers = 0

    for _ in range(1000):
        with suppress(Overloaded):
            run_sync(policy.complete(a_call(runtime), runtime))
            answers += 1

    assert answers >= 998
    assert model.tried <= 1150


def emptied() -> Budget:
    budget = Budget()
    while budget.take(1):
        pass
    return budget


def test_a_budget_gives_all_that_it_has_and_holds_no_more_than_it_may() -> None:
    budget = emptied()

    budget.give(Budget.COST)
    taken = [budget.take(Budget.COST), budget.take(1)]
    budget.give(Budget.CAPACITY + 1)
    budget.give(1)

    assert taken == [True, False]
    assert [budget.take(Budget.CAPACITY), budget.take(1)] == [True, False]


def test_an_answer_gives_its_endpoint_one_back() -> None:
    budgets = {"http://one": emptied()}
    runtime = FakeRuntime()
    model = Retry(Scripted(["good"] * 3), budgets)

    for _ in range(3):
        run_sync(model.complete(a_call(runtime), runtime))

    assert [budgets["http://one"].take(3), budgets["http://one"].take(1)] == [True, False]


def test_a_retry_that_helped_gives_back_what_it_cost() -> None:
    budgets: dict[str, Budget] = {}
    runtime = FakeRuntime()
    model = Retry(
        Scripted([ServerFailed("no"), "good", RateLimited("slow down"), RateLimited("slow down"), "good"]), budgets
    )

    run_sync(model.complete(a_call(runtime), runtime))
    whole = budgets["http://one"].take(Budget.CAPACITY)
    budgets["http://one"].give(Budget.CAPACITY)
    run_sync(model.complete(a_call(runtime), runtime))

    assert whole
    assert budgets["http://one"].take(Budget.CAPACITY - Budget.COST_THROTTLED)
    assert not budgets["http://one"].take(1)


def test_a_retry_that_helped_costs_nothing() -> None:
    runtime = FakeRuntime()
    outcomes = [outcome for _ in range(100) for outcome in (ServerFailed("no"), "good")]
    model = retrying(Scripted(outcomes))

    replies = [run_sync(model.complete(a_call(runtime), runtime)) for _ in range(100)]

    assert len(replies) == 100


def test_models_of_one_endpoint_share_its_budget() -> None:
    budgets = {"http://one": Budget()}
    while budgets["http://one"].take(Budget.COST):
        pass
    models = [Scripted([ServerFailed("no"), "good"]) for _ in range(2)]
    runtime = FakeRuntime()

    for model in models:
        with pytest.raises(ServerFailed):
            run_sync(Retry(model, budgets).complete(a_call(runtime), runtime))

    assert [model.tried for model in models] == [1, 1]
    assert Retry(models[0])._budgets is Retry(models[1])._budgets


def test_a_stream_is_tried_again_only_while_nothing_was_delivered() -> None:
    model = Scripted([Overloaded("busy"), "good"])
    runtime = FakeRuntime()
    call = a_call(runtime)

    async def read() -> list[str]:
        pieces = []
        chunks = await retrying(model).open(call, runtime)
        try:
            async for chunk in chunks:
                pieces.append(chunk.id)
        except Overloaded as error:
            pieces.append(str(error))
        return pieces

    pieces = run_sync(read())

    assert pieces == ["good", "in the middle"]
    assert model.tried == 2
