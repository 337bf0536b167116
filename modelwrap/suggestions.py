"""What a person probably meant by a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_LIKE = 0.7
"""How much of two names must be the same; with less, what is merely as long is taken for a slip of the pen."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Give the known name that is most like this one, capitals aside; None where none is like it.

    >>> nearest("timeot", ["timeout", "proxy"])
    'timeout'
    """
    by_folded = {candidate.casefold(): candidate for candidate in known}
    found = get_close_matches(name.casefold(), by_folded, n=1, cutoff=_LIKE)
    return by_folded[found[0]] if found else None
