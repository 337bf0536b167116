from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from modelwrap.errors import ConfigError, ContextTooLong, InvalidResponse, ModelwrapError, ServerFailed, TimedOut
from modelwrap.local.messages import (
    Garbled,
    Recipe,
    message_line,
    parse_message,
    parse_recipe,
    parse_report,
    recipe_line,
    report_line,
)
from modelwrap.local.work import Failed, Finished, Job, Piece
from modelwrap.local.workers import Cancel, Gone, Refuse, Share, Stepped, Stop
from modelwrap.secrets import Secret

TEXTS = some.text(some.characters())
PLAIN = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | TEXTS,
    lambda inner: some.lists(inner) | some.dictionaries(TEXTS, inner),
    max_leaves=8,
)
BODIES = some.dictionaries(TEXTS, PLAIN, max_size=4)
TOKENS = some.lists(some.integers(0, 10**6), max_size=4).map(tuple)


@given(some.builds(Job, some.integers(0), BODIES, TOKENS))
def test_a_job_arrives_as_it_was_sent(job: Job) -> None:
    line = message_line(job)

    assert parse_message(line) == job
    assert line.index(b"\n") == len(line) - 1


@given(some.lists(some.builds(Piece, some.integers(0), BODIES, TOKENS) | some.builds(Finished, some.integers(0))))
def test_events_arrive_as_they_were_sent(events: list[Piece | Finished]) -> None:
    report = Stepped(events, 3, 2, -1)

    assert parse_report(report_line(report)) == report


@pytest.mark.parametrize(
    "message", [Cancel(3), Share(("cpu", "cpu")), Refuse(4, "why"), Stop()], ids=lambda message: type(message).__name__
)
def test_a_message_arrives_as_it_was_sent(message: Cancel | Share | Refuse | Stop) -> None:
    assert parse_message(message_line(message)) == message


def test_probabilities_of_nothing_arrive() -> None:
    report = parse_report(report_line(Stepped([Piece(1, {"logprob": -math.inf})], 1, 1, 1)))

    assert isinstance(report, Stepped)
    assert report.events == [Piece(1, {"logprob": -math.inf})]


@pytest.mark.parametrize(
    "error",
    [
        ContextTooLong("too long", status=400, code="context", sent=False),
        TimedOut("late", limit="idle", retryable=False),
        ServerFailed("broken", retryable=False),
        ConfigError("no such folder"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_stays_what_it_is(error: ModelwrapError) -> None:
    failed = parse_report(report_line(Stepped([Failed(7, error)], 1, 1, 1)))
    gone = parse_report(report_line(Gone(error)))

    assert isinstance(failed, Stepped)
    assert isinstance(failed.events[0], Failed)
    assert isinstance(gone, Gone)
    for arrived in (failed.events[0].error, gone.error):
        assert type(arrived) is type(error)
        assert str(arrived) == str(error)
        assert known(arrived) == known(error)


def known(error: ModelwrapError) -> dict[str, Any]:
    return {"retryable": getattr(error, "retryable", None), **vars(error)}


def test_an_error_that_only_the_other_side_knows_arrives_in_words() -> None:
    class OwnError(InvalidResponse):
        pass

    gone = parse_report(report_line(Gone(OwnError("strange"))))

    assert isinstance(gone, Gone)
    assert isinstance(gone.error, ServerFailed)
    assert str(gone.error) == "OwnError: strange"


@pytest.mark.parametrize(
    "line",
    [
        b"no report\n",
        b"[1]\n",
        b"{}\n",
        b'{"events": [[1, 2, 3, 4]], "begun": 1, "inside": 1, "room": 1}\n',
        b'{"events": 7, "begun": 1, "inside": 1, "room": 1}\n',
        b'{"events": []}\n',
        b'{"gone": {"error": "ConfigError"}}\n',
        b'{"gone": {"error": "TimedOut", "message": "", "known": {"unknown": 1}}}\n',
        b"\xff\xfe\n",
        b"[" * 100_000,
    ],
    ids=range(10),
)
def test_what_is_no_report_is_told_from_one(line: bytes) -> None:
    with pytest.raises(Garbled):
        parse_report(line)


def test_a_recipe_shows_its_secrets_on_the_wire_only() -> None:
    recipe = Recipe("transformers", {"token": Secret("hf_abcdefgh"), "inner": [Secret("abcdefgh")]}, "cpu")

    arrived = parse_recipe(recipe_line(recipe))

    assert arrived.settings == {"token": "hf_abcdefgh", "inner": ["abcdefgh"]}
    assert "abcdefgh" not in repr(recipe)
    assert "abcdefgh" not in repr(arrived)
