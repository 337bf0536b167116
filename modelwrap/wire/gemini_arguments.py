"""A function call whose arguments Vertex streams value by value, put together again."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from modelwrap.errors import InvalidResponse

_VALUES = ("stringValue", "numberValue", "boolValue")
# The steps of a path such as $.guests[0].name or $['first name'] (RFC 9535, section 2.5.1).
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\['((?:[^'\\]|\\.)*)'\]|\[\"((?:[^\"\\]|\\.)*)\"\]")

# No call has as many arguments in one list, and a place far behind the others would cost memory.
_MOST_ITEMS = 10_000


class StreamedCall:
    """Collect the pieces of one call."""

    def __init__(self) -> None:
        self._call: dict[str, Any] = {}
        self._beside: dict[str, Any] = {}
        self.ended = False

    def add(self, part: dict[str, Any], call: dict[str, Any]) -> None:
        self._beside.update({name: value for name, value in part.items() if name != "functionCall"})
        for name in ("id", "name"):
            if call.get(name):
                self._call.setdefault(name, call[name])
        arguments = self._call.setdefault("args", {})
        if type(call.get("args")) is dict:
            arguments.update(call["args"])
        pieces = call.get("partialArgs")
        for piece in pieces if type(pieces) is list else ():
            if type(piece) is dict:
                _put(arguments, piece)
        self.ended = not call.get("willContinue")

    def whole(self) -> dict[str, Any]:
        """Give the part as it would have come in one piece."""
        return {"functionCall": dict(self._call), **self._beside}


def _put(arguments: dict[str, Any], piece: dict[str, Any]) -> None:
    """Lay a value where its path says; a text that goes on is continued."""
    steps = _steps(piece.get("jsonPath"))
    name = next((name for name in _VALUES if name in piece), None)
    if name is None and "nullValue" not in piece:
        return
    value = None if name is None else piece[name]
    holder: Any = arguments
    for step, following in pairwise(steps):
        holder = _inside(holder, step, [] if isinstance(following, int) else {})
    before = _at(holder, steps[-1])
    whole = before + value if isinstance(before, str) and isinstance(value, str) else value
    _set(holder, steps[-1], whole)


def _steps(path: Any) -> list[str | int]:
    if not isinstance(path, str) or not path.startswith("$"):
        raise InvalidResponse("functionCall.partialArgs.jsonPath: a path from $ is expected")
    steps: list[str | int] = []
    position = 1
    while position < len(path):
        found = _STEP.match(path, position)
        if found is None:
            raise InvalidResponse(f"functionCall.partialArgs.jsonPath: {path!r:.80} cannot be read")
        member, place, *quoted = found.groups()
        steps.append(int(place) if place else next(name for name in (member, *quoted) if name is not None))
        position = found.end()
    if not steps:
        raise InvalidResponse("functionCall.partialArgs.jsonPath: it names no argument")
    return steps


def _inside(holder: Any, step: str | int, empty: Any) -> Any:
    found = _at(holder, step)
    if type(found) is not type(empty):
        _set(holder, step, empty)
        return empty
    return found


def _at(holder: Any, step: str | int) -> Any:
    if isinstance(holder, dict):
        return holder.get(step)
    return holder[step] if isinstance(step, int) and step < len(holder) else None


def _set(holder: Any, step: str | int, value: Any) -> None:
    if isinstance(holder, list) and isinstance(step, int):
        if step > min(len(holder), _MOST_ITEMS):
            raise InvalidResponse("functionCall.partialArgs.jsonPath: it leaves out items of a list")
        holder[step : step + 1] = [value]
    elif isinstance(holder, dict):
        holder[str(step)] = value
