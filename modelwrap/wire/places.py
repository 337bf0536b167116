"""Places inside JSON, as people write them: `data.choices[0].text`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

Place: TypeAlias = tuple[str | int, ...]

_STEP = re.compile(r"(?:^|\.)(?P<name>[^.\[\]]+)|\[(?P<index>\d{1,9})\]")


def place_of(written: str) -> Place:
    """Read a place; `ValueError` where it is none.

    >>> place_of("data.choices[0].text")
    ('data', 'choices', 0, 'text')
    """
    steps: list[str | int] = []
    position = 0
    while position < len(written):
        found = _STEP.match(written, position)
        if found is None:
            raise ValueError("write names with dots between them, and positions in brackets: data.choices[0].text")
        steps.append(found["name"] if found["index"] is None else int(found["index"]))
        position = found.end()
    return tuple(steps)


def written(place: Place) -> str:
    """Write a place as people do.

    >>> written(("data", "choices", 0, "text"))
    'data.choices[0].text'
    """
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")


def at(value: Any, place: Place) -> Any:
    """Give what stands at a place; None where nothing does."""
    for step in place:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and len(value) > step else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def with_value(holder: Mapping[str, Any], place: Place, value: Any) -> dict[str, Any]:
    """Give a copy of an object with a value put at a place; what is on the way there is made, or kept and copied.

    >>> with_value({"k": 1, "texts": ["a"]}, place_of("texts[1].text"), "b")
    {'k': 1, 'texts': ['a', {'text': 'b'}]}
    """
    filled: dict[str, Any] = _filled(holder, place, value)
    return filled


def _filled(holder: Any, place: Place, value: Any) -> Any:
    if not place:
        return value
    step, rest = place[0], place[1:]
    if isinstance(step, str):
        kept = dict(holder) if isinstance(holder, Mapping) else {}
        return {**kept, step: _filled(kept.get(step), rest, value)}
    items = list(holder) if isinstance(holder, list) else []
    items += [None] * (step + 1 - len(items))
    items[step] = _filled(items[step], rest, value)
    return items
