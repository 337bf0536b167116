"""How long a server asks us to wait, read from headers and words that anybody may have written."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_tz

_NUMBER = re.compile(r"\+?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_SECONDS_IN_YEAR = 31_556_952

# "Please try again in 1m2.5s", "Please retry after 26 seconds", "Please wait 57 seconds before retrying", "… in 20ms".
_IN_WORDS = re.compile(
    r"\b(?:try again|retry|wait)(?: in| after)? "
    r"(?:(?P<minutes>\d{1,6})m)?(?P<number>\d{1,9}(?:\.\d{1,9})?) ?(?P<unit>ms|s)",
    re.ASCII | re.IGNORECASE,
)


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Give the seconds that `retry-after-ms` or `retry-after` (seconds or a date) asks for; None for anything else.

    `headers` has lower-case names. The number may be absurdly large: how long to wait at most is not decided here.
    """
    milliseconds = _seconds(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after", "")
    seconds = _seconds(value)
    return seconds if seconds is not None else _until(value, time.time() if now is None else now)


def retry_after_in(words: str) -> float | None:
    """Give the seconds that a refusal asks for in its words, as where it comes within a stream, without headers.

    >>> retry_after_in("Rate limit reached. Please try again in 1m2.5s.")
    62.5
    """
    found = _IN_WORDS.search(words)
    if found is None:
        return None
    seconds = float(found["number"]) / (1000 if found["unit"].lower() == "ms" else 1) + 60 * int(found["minutes"] or 0)
    return seconds or None


def _seconds(value: str) -> float | None:
    """Read a positive number; of several headers, joined by commas, the longest wait."""
    numbers = [part.strip(" \t") for part in value.split(",")]
    if not all(_NUMBER.fullmatch(number) for number in numbers):
        return None
    longest = max(map(float, numbers))
    return longest if 0 < longest < math.inf else None


def _until(value: str, now: float) -> float | None:
    date = parsedate_tz(value) if value.isascii() else None
    if date is None:
        return None
    year, month, day, hour, minute, second = date[:6]
    try:
        # The calendar ends with the year 9999; a server's need not. Nor has it leap seconds.
        moment = datetime(min(year, 9999), month, day, hour, minute, min(second, 59), tzinfo=UTC).timestamp()
        moment += max(year - 9999, 0) * _SECONDS_IN_YEAR
        left = moment - (date[9] or 0) - now
    except (ValueError, OverflowError):
        return None
    return left if left > 0 else None
