"""Try again where that can help, within a budget, a count and a deadline."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from modelwrap.errors import CallError, RateLimited
from modelwrap.models.base import Model
from modelwrap.models.call import Call, Chunks
from modelwrap.policies.base import Wrapper
from modelwrap.runtime.base import Runtime
from modelwrap.runtime.lock import Lock
from modelwrap.types import Reply

if TYPE_CHECKING:
    from tenacity import AsyncRetrying, RetryCallState

T = TypeVar("T")

LONGEST_WAIT = 120.0
"""A provider that asks for more is not waited for: the error says how long, and the caller decides."""

_BASE = 0.5
_BASE_THROTTLED = 1.0
_CAP = 20.0

# Enough for the cap, and few enough for a number.
_MOST_DOUBLINGS = 10


class Budget:
    """Bound the retries to one endpoint, so that its bad hour is not made worse.

    Retries draw on it, answers fill it; when it is empty, failures go straight to the caller.
    """

    CAPACITY = 500
    COST = 14
    COST_THROTTLED = 5

    def __init__(self) -> None:
        self._lock = Lock()
        self._left = self.CAPACITY

    def take(self, cost: int) -> bool:
        with self._lock:
            if self._left < cost:
                return False
            self._left -= cost
            return True

    def give(self, amount: int) -> None:
        if self._left < self.CAPACITY:
            with self._lock:
                self._left = min(self.CAPACITY, self._left + amount)


_BUDGETS: dict[str, Budget] = {}
"""One for each endpoint of this process, whatever names stand for it."""


class Retry(Wrapper):
    """Wrap a model so that its retryable failures are tried again: the only place where that happens."""

    def __init__(self, model: Model, budgets: dict[str, Budget] = _BUDGETS) -> None:
        super().__init__(model)
        self._budgets = budgets

    async def complete(self, call: Call, runtime: Runtime) -> Reply:
        return await self._persist(lambda: self.model.complete(call, runtime), call, runtime)

    async def open(self, call: Call, runtime: Runtime) -> Chunks:
        # Opening ends with the first piece; from there on pieces have been delivered, and nothing is tried again.
        return await self._persist(lambda: self.model.open(call, runtime), call, runtime)

    async def _persist(self, attempt: Callable[[], Awaitable[T]], call: Call, runtime: Runtime) -> T:
        try:
            answer = await attempt()
        except CallError as error:
            if not error.retryable or call.max_retries == 0:
                raise
            # In a list, which is emptied: a variable would hold on to the error, whose frames hold on to the variable.
            failed = [error]
        else:
            self._budget(call.endpoint).give(1)
            return answer
        return await self._again(attempt, failed, call, runtime)

    async def _again(
        self, attempt: Callable[[], Awaitable[T]], failed: list[CallError], call: Call, runtime: Runtime
    ) -> T:
        persistence = _Persistence(call, runtime, self._budget)

        async def next_attempt() -> T:
            if failed:
                raise failed.pop()
            return await attempt()

        retrying = persistence.retrying()
        try:
            answer: T = await retrying(next_attempt)
        finally:
            # It refers to itself, and to the call with all that was given to it.
            retrying.iter_state.reset()
        self._budget(call.endpoint).give(persistence.last_cost)
        return answer

    def _budget(self, endpoint: str) -> Budget:
        return self._budgets.get(endpoint) or self._budgets.setdefault(endpoint, Budget())


class _Persistence:
    """Decide, for one failing call, whether and when to try again."""

    def __init__(self, call: Call, runtime: Runtime, budget: Callable[[str], Budget]) -> None:
        self._call = call
        self._runtime = runtime
        self._budget = budget
        self._failures = 0
        self._answered = len(call.answered)
        self.last_cost = 0

    def retrying(self) -> AsyncRetrying:
        # Imported here because a call that succeeds never needs it.
        from tenacity import AsyncRetrying, retry_if_exception

        return AsyncRetrying(
            sleep=self._sleep,
            retry=retry_if_exception(lambda error: isinstance(error, CallError) and error.retryable),
            wait=self._wait,
            stop=lambda state: self._tried_enough(state) or self._too_long(state) or self._spent(state),
            reraise=True,
        )

    def _wait(self, state: RetryCallState) -> float:
        """Count a failure, and choose how long to wait after it.

        Of a call that is made of many requests, what was answered since the last failure is no failure's: the count
        begins anew, and the budget has back what the retry cost.
        """
        answered = len(self._call.answered)
        if answered > self._answered and self._failures:
            self._failures = 0
            self._budget(self._call.endpoint).give(self.last_cost)
        self._answered = answered
        self._failures += 1
        return delay(_failure(state), self._failures)

    def _tried_enough(self, state: RetryCallState) -> bool:
        """Tell whether there were as many failures as the caller takes, or as trying again can help."""
        most = _failure(state).most_retries
        return self._failures > self._call.max_retries or (most is not None and self._failures > most)

    async def _sleep(self, seconds: float) -> None:
        self._call.waited = seconds
        await self._runtime.sleep(seconds)

    def _too_long(self, state: RetryCallState) -> bool:
        asked = _failure(state).retry_after or 0.0
        return asked > LONGEST_WAIT or state.upcoming_sleep > self._call.deadline.remaining()

    def _spent(self, state: RetryCallState) -> bool:
        error = _failure(state)
        self.last_cost = Budget.COST_THROTTLED if isinstance(error, RateLimited) else Budget.COST
        return not self._budget(error.endpoint or self._call.endpoint).take(self.last_cost)


def delay(error: CallError, attempt: int) -> float:
    """Choose how long to wait after the `attempt`-th failure.

    What the provider asks for is kept, and at most a tenth more; else what the config asks for; else any time up to a
    bound that doubles, so that clients that failed together do not come back together.
    """
    if error.wait is not None and error.retry_after is None:
        return error.wait
    if error.retry_after is not None:
        return error.retry_after * random.uniform(1.0, 1.1)
    base = _BASE_THROTTLED if isinstance(error, RateLimited) else _BASE
    return random.uniform(0.0, min(_CAP, base * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS)))


def _failure(state: RetryCallState) -> CallError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, CallError)
    return error
