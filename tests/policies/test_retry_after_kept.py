"""What a server says of when to come back, from its header to the wait: kept, refused at once, or one's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from modelwrap.errors import CallError, RateLimited
from modelwrap.models.base import Model
from modelwrap.models.call import Call
from modelwrap.policies.retry import Retry
from modelwrap.runtime.base import Deadline, Runtime, run_sync
from modelwrap.types import Attempt, ChatReply
from modelwrap.wire import openai_chat
from modelwrap.wire.http import Timeouts
from tests.colours import FakeRuntime

OWN = "own"
REFUSED = "refused"


class Refuses(Model):
    """Refuse the first call with some headers, and answer the next."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.name = "refuses"
        self._headers = headers

    async def complete(self, call: Call, runtime: Runtime) -> ChatReply:
        call.endpoint = "http://one"
        call.history.append(Attempt("http://one", "", 429, 0.0))
        if len(call.history) == 1:
            raise openai_chat.from_error(429, self._headers, b'{"error": {"message": "slow down"}}')
        return ChatReply(id="good")

    async def open(self, call: Call, runtime: Runtime) -> Any:
        raise AssertionError("not asked here")

    describe = None  # type: ignore[assignment]


def written(value: str) -> str:
    """Write a moment, given as so many seconds from now, as the date of a header."""
    if not value.startswith("in "):
        return value
    moment = datetime.now(UTC) + timedelta(seconds=float(value.split()[1]))
    return format_datetime(moment, usegmt=True)


ROWS: list[tuple[dict[str, str], float | str]] = [
    ({}, OWN),
    ({"retry-after": "1"}, 1.0),
    ({"retry-after": "20"}, 20.0),
    ({"retry-after": "0.5"}, 0.5),
    ({"retry-after": " 2 "}, 2.0),
    ({"retry-after": "+3"}, 3.0),
    ({"retry-after": "1e1"}, 10.0),
    ({"retry-after": "120"}, 120.0),
    ({"retry-after": "121"}, REFUSED),
    ({"retry-after": "3600"}, REFUSED),
    ({"retry-after": "1e35"}, REFUSED),
    ({"retry-after": "99999999999999999999999999999999999"}, REFUSED),
    ({"retry-after": "0"}, OWN),
    ({"retry-after": "-5"}, OWN),
    ({"retry-after": "-0"}, OWN),
    ({"retry-after": "nan"}, OWN),
    ({"retry-after": "inf"}, OWN),
    ({"retry-after": "1e309"}, OWN),
    ({"retry-after": "0x10"}, OWN),
    ({"retry-after": "1_0"}, OWN),
    ({"retry-after": "٣"}, OWN),
    ({"retry-after": "abc"}, OWN),
    ({"retry-after": ""}, OWN),
    ({"retry-after": "2, 5"}, 5.0),
    ({"retry-after": "in 30 seconds"}, 29.0),
    ({"retry-after": "in 3600 seconds"}, REFUSED),
    ({"retry-after": "in -3600 seconds"}, OWN),
    ({"retry-after": "Fri, 31 Dec 100000 23:59:59 GMT"}, REFUSED),
    ({"retry-after": "Zun, 29 Sep"}, OWN),
    ({"retry-after-ms": "1500"}, 1.5),
    ({"retry-after-ms": "120000"}, 120.0),
    ({"retry-after-ms": "120001"}, REFUSED),
    ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
    ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
]


@pytest.mark.parametrize("headers, expected", ROWS, ids=[str(headers) for headers, _ in ROWS])
def test_a_server_is_obeyed_but_not_to_absurdity(headers: dict[str, str], expected: float | str) -> None:
    headers = {name: written(value) for name, value in headers.items()}
    runtime = FakeRuntime()
    call = Call("Hi", {}, Timeouts(), Deadline(600, runtime.now), 2)
    failed: CallError | None = None

    try:
        run_sync(Retry(Refuses(headers), {}).complete(call, runtime))
    except CallError as error:
        failed = error

    if expected == REFUSED:
        assert isinstance(failed, RateLimited)
        assert (failed.retry_after or 0) > 120
        assert runtime.slept == []
    elif expected == OWN:
        assert failed is None
        assert 0 <= runtime.slept[0] <= 1.0
    else:
        assert failed is None
        assert isinstance(expected, float)
        assert expected <= runtime.slept[0] <= (expected + 1) * 1.1


def test_there_are_as_many_rows_as_ways_to_write_it() -> None:
    assert len(ROWS) == 34
