from __future__ import annotations

import time

import pytest

from modelwrap.wire import failures
from modelwrap.wire.retry_after import retry_after, retry_after_in

NOW = 1_443_543_990.0  # Tue, 29 Sep 2015 16:26:30 GMT


@pytest.mark.parametrize(
    "value, seconds",
    [
        ("20", 20.0),
        ("0.5", 0.5),
        (" 2 ", 2.0),
        ("3600", 3600.0),
        ("1e35", 1e35),
        ("99999999999999999999999999999999999", 1e35),
        ("2, 5", 5.0),
        ("Tue, 29 Sep 2015 16:26:57 GMT", 27.0),
        ("Tue, 29 Sep 2015 18:26:57 +0200", 27.0),
        ("Zun, 29 Sep 2015 16:26:57 GMT", 27.0),
        ("Tue, 29 Sep 2015 16:26:31 GMT", 1.0),
        ("Tue, 29 Sep 2015 16:26:60 GMT", 29.0),
        ("Tue, 29 Sep 2015 16:26:30 GMT", None),
        ("Tue, 29 Sep 2015 16:26:00 GMT", None),
        ("Tue, ٢٩ Sep 2015 16:26:57 GMT", None),
        ("X5X", None),
        ("\x0b5", None),
        ("Tue, 99 Sep 2015 16:26:57 GMT", None),
        ("Zun, 29 Sep", None),
        ("Tue, 29999999999999999999999999 Sep 2015 16:26:57 GMT", None),
        ("Tue, 29 Sep 2015 99999999999999999999:26:57 GMT", None),
        (f"Tue, 29 Sep {'9' * 400} 16:26:57 GMT", None),
        (f"Tue, 29 Sep {'9' * 5000} 16:26:57 GMT", None),
        (f"Tue, 29 Sep 2015 16:26:57 +{'9' * 400}", None),
        ("0", None),
        ("-5", None),
        ("-0", None),
        ("nan", None),
        ("inf", None),
        ("1e309", None),
        ("0x10", None),
        ("1_0", None),
        ("٣", None),
        ("²", None),
        ("abc", None),
        ("1 2", None),
        (",", None),
        ("", None),
    ],
)
def test_retry_after_is_read(value: str, seconds: float | None) -> None:
    found = retry_after({"retry-after": value}, NOW)

    assert found == (None if seconds is None else pytest.approx(seconds))


def test_milliseconds_come_first_where_they_can_be_read() -> None:
    assert retry_after({"retry-after-ms": "1500", "retry-after": "9"}) == 1.5
    assert retry_after({"retry-after-ms": "soon", "retry-after": "9"}) == 9.0


def test_a_date_is_read_in_any_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()

    try:
        found = retry_after({"retry-after": "Tue, 29 Sep 2015 16:26:57 GMT"}, NOW)
    finally:
        monkeypatch.undo()
        time.tzset()

    assert found == 27.0


def test_years_go_on_after_the_calendar_ends() -> None:
    last, next_one = (retry_after({"retry-after": f"Fri, 29 Sep {year} 16:26:57 GMT"}, NOW) for year in (9999, 10000))

    assert last is not None
    assert next_one == pytest.approx(last + 365.25 * 24 * 3600, abs=24 * 3600)


def test_far_future_is_far_away() -> None:
    found = retry_after({"retry-after": "Fri, 29 Sep 100000 16:26:57 GMT"})

    assert found is not None
    assert found > 1e12


def test_no_header_asks_for_nothing() -> None:
    assert retry_after({}) is None


@pytest.mark.parametrize(
    "words, seconds",
    [
        ("Rate limit reached for gpt-6 on tokens per min. Please try again in 1.898s. Visit https://host", 1.898),
        ("Please try again in 20ms.", 0.02),
        ("Please try again in 6m0s.", 360.0),
        ("Please retry after 26 seconds.", 26.0),
        ("Please wait 57 seconds before retrying.", 57.0),
        ("Please retry in 36.19s", 36.19),
        ("Please try again later.", None),
        ("Please try again in 2 hours.", None),
        ("Please try again in 0s.", None),
        ("Please try again in " + "9" * 400 + "s.", None),
    ],
)
def test_words_may_say_how_long_to_wait(words: str, seconds: float | None) -> None:
    assert retry_after_in(words) == seconds


def test_a_header_goes_before_words() -> None:
    body = b'{"error": {"message": "Please try again in 1.5s."}}'

    assert failures.failure(429, {}, body).retry_after == 1.5
    assert failures.failure(429, {"retry-after": "7"}, body).retry_after == 7.0
    assert failures.failure(400, {}, body).retry_after is None
