"""Whether a value keeps to a JSON schema: the keywords that people write, for answers that must be checked here.

Annotations, formats and keywords that nobody knows are not held against a value, nor is a reference that leads
nowhere: it is the answer that is judged and not the schema.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from modelwrap.types import JSON

# References may lead in circles that no value ends.
_DEEPEST = 200

_TYPES: dict[str, Callable[[JSON], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: _is_number(value),
    "integer": lambda value: _is_number(value) and value == value // 1,
}
_LIMITS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "minimum": (lambda value, limit: value >= limit, "less than {}"),
    "maximum": (lambda value, limit: value <= limit, "more than {}"),
    "exclusiveMinimum": (lambda value, limit: value > limit, "not above {}"),
    "exclusiveMaximum": (lambda value, limit: value < limit, "not below {}"),
    "multipleOf": (lambda value, limit: _is_multiple(value, limit), "no multiple of {}"),
}
_SIZES = {
    "minLength": (str, 1, "shorter than {}"),
    "maxLength": (str, -1, "longer than {}"),
    "minItems": (list, 1, "fewer than {} items"),
    "maxItems": (list, -1, "more than {} items"),
    "minProperties": (dict, 1, "fewer than {} keys"),
    "maxProperties": (dict, -1, "more than {} keys"),
}


def mistake(value: JSON, schema: JSON) -> str | None:
    """Say the first thing in which a value does not keep to a schema, as in `names[2]: 7 is no string`."""
    return next(_Reading(schema).mistakes(value, schema, ""), None)


class _Reading:
    def __init__(self, root: JSON) -> None:
        self._root = root
        self._depth = 0

    def mistakes(self, value: JSON, schema: JSON, where: str) -> Iterator[str]:
        """Give what is wrong, each with its place."""
        if schema is False:
            yield f"{_place(where)}nothing may stand here"
        if not isinstance(schema, Mapping) or self._depth > _DEEPEST:
            return
        self._depth += 1
        try:
            for keyword, given in schema.items():
                if keyword in _SIZES or keyword in _LIMITS:
                    words = _measured(value, keyword, given)
                    yield from [f"{_place(where)}{words}"] if words else []
                elif check := _CHECKS.get(keyword):
                    yield from check(self, value, given, schema, where)
        finally:
            self._depth -= 1

    def fits(self, value: JSON, schema: JSON) -> bool:
        return next(self.mistakes(value, schema, ""), None) is None

    def target(self, reference: Any) -> JSON:
        """Follow a reference within the schema; True, which allows everything, where it leads elsewhere."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return True
        found = self._root
        for step in filter(None, reference[1:].split("/")):
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping) and step in found:
                found = found[step]
            elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
                found = found[int(step)]
            else:
                return True
        return found


_Schema: TypeAlias = Mapping[str, Any]


def _type(reading: _Reading, value: JSON, given: Any, schema: _Schema, where: str) -> Iterator[str]:
    kinds = given if isinstance(given, list) else [given]
    known = [_TYPES[kind] for kind in kinds if isinstance(kind, str) and kind in _TYPES]
    if known and not any(fits(value) for fits in known):
        yield f"{_place(where)}{_shown(value)} is no {' or '.join(map(str, kinds))}"


def _enum(reading: _Reading, value: JSON, given: Any, schema: _Schema, where: str) -> Iterator[str]:
    if isinstance(given, list) and not any(_same(value, item) for item in given):
        yield f"{_place(where)}{_shown(value)} is none of {_shown(given)}"


def _const(reading: _Reading, value: JSON, given: Any, schema: _Schema, where: str) -> Iterator[str]:
    if not _same(value, given):
        yield f"{_place(where)}{_shown(value)} is not {_shown(given)}"


def _pattern(reading: _Reading, value: JSON, given: Any, schema: _Schema, where: str) -> Iterator[str]:
    if isinstance(value, str) and _finds(given, value) is False:
        yield f"{_place(where)}{_shown(value)} does not fit the pattern {given}"


def _properties(reading: _Reading, value: JSON, given: Any, schema: _Schema, where: str) -> Iterator[str]:
    if isinstance(value, dict) and isinstance(given, Mapping):
        for name, inner in given.items():
            if name in value:
                yield from reading.mistakes(value[name], inner, f"{where}.{name}".lstrip("."))


def _required(reading: _Reading, value: JSON, given: Any, schema: _Schema, where: str) -> Iterator[str]:
    if isinstance(value, dict) and isinstance(given, list):
        for name in given:
            if name not in value:
                yield f"{_place(where)}{name} is missing"


def _others(reading: _Reading, value: JSON, given: Any, schema: _Schema, where: str) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    named = schema.get("properties") or {}
    patterns = schema.get("patternProperties") or {}
    for name, item in value.items():
        if name not in named and not any(_finds(pattern, name) for pattern in patterns):
            yield from reading.mistakes(item, given, f"{where}.{name}".lstrip("."))


def _by_pattern(reading: _Reading, value: JSON, given: Any, schema: _Schema, where: str) -> Iterator[str]:
    if isinstance(value, dict) and isinstance(given, Mapping):
        for pattern, inner in given.items():
            for name, item in value.items():
                if _finds(pattern, name):
                    yield from reading.mistakes(item, inner, f"{where}.{name}".lstrip("."))


def _names(reading: _Reading, value: JSON, given: Any, schema: _Schema, where: str) -> Iterator[str]:
    for name in value if isinstance(value, dict) else ():
        yield from reading.mistakes(name, given, where)


def _dependent(reading: _Reading, value: JSON, given: Any, schema: _Schema, where: str) -> Iterator[str]:
    if isinstance(value, dict) and isinstance(given, Mapping):
        for name, needed in given.items():
            if name in value:
                yield from _required(reading, value, needed, schema, where)


def _items(reading: _Reading, value: JSON, given: Any, schema: _Schema, where: str) -> Iterator[str]:
    if isinstance(value, list):
        first = len(schema.get("prefixItems") or ())
        for number, item in enumerate(value[first:], first):
            yield from reading.mistakes(item, given, f"{where}[{number}]")


def _first_items(reading: _Reading, value: JSON, given: Any, schema: _Schema, where: str) -> Iterator[str]:
    if isinstance(value, list) and isinstance(given, list):
        for number, (item, inner) in enumerate(zip(value, given, strict=False)):
            yield from reading.mistakes(item, inner, f"{where}[{number}]")


def _unique(reading: _Reading, value: JSON, given: Any, schema: _Schema, where: str) -> Iterator[str]:
    if given is True and isinstance(value, list):
        for number, item in enumerate(value):
            if any(_same(item, other) for other in value[:number]):
                yield f"{_place(where)}{_shown(item)} stands there twice"
                return


def _contains(reading: _Reading, value: JSON, given: Any, schema: _Schema, where: str) -> Iterator[str]:
    if isinstance(value, list):
        count = sum(reading.fits(item, given) for item in value)
        if count < schema.get("minContains", 1) or count > schema.get("maxContains", count):
            yield f"{_place(where)}{count} of its items are of the kind that it is to contain"


def _all(reading: _Reading, value: JSON, given: Any, schema: _Schema, where: str) -> Iterator[str]:
    for inner in given if isinstance(given, list) else ():
        yield from reading.mistakes(value, inner, where)


def _any(reading: _Reading, value: JSON, given: Any, schema: _Schema, where: str) -> Iterator[str]:
    if isinstance(given, list) and not any(reading.fits(value, inner) for inner in given):
        only = next(reading.mistakes(value, given[0], where), "") if len(given) == 1 else ""
        yield only or f"{_place(where)}{_shown(value)} is of none of the kinds"


def _one(reading: _Reading, value: JSON, given: Any, schema: _Schema, where: str) -> Iterator[str]:
    if isinstance(given, list):
        count = sum(reading.fits(value, inner) for inner in given)
        if count != 1:
            yield f"{_place(where)}{_shown(value)} is of {count or 'none'} of the kinds of which it is to be one"


def _not(reading: _Reading, value: JSON, given: Any, schema: _Schema, where: str) -> Iterator[str]:
    if reading.fits(value, given):
        yield f"{_place(where)}{_shown(value)} is what it must not be"


def _if(reading: _Reading, value: JSON, given: Any, schema: _Schema, where: str) -> Iterator[str]:
    then = schema.get("then" if reading.fits(value, given) else "else", True)
    yield from reading.mistakes(value, then, where)


def _reference(reading: _Reading, value: JSON, given: Any, schema: _Schema, where: str) -> Iterator[str]:
    yield from reading.mistakes(value, reading.target(given), where)


_CHECKS: dict[str, Callable[[_Reading, JSON, Any, _Schema, str], Iterator[str]]] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "pattern": _pattern,
    "properties": _properties,
    "required": _required,
    "additionalProperties": _others,
    "patternProperties": _by_pattern,
    "propertyNames": _names,
    "dependentRequired": _dependent,
    "items": _items,
    "prefixItems": _first_items,
    "uniqueItems": _unique,
    "contains": _contains,
    "allOf": _all,
    "anyOf": _any,
    "oneOf": _one,
    "not": _not,
    "if": _if,
    "$ref": _reference,
}


def _measured(value: JSON, keyword: str, limit: Any) -> str:
    """Say that a value is too large or too small; nothing where it is neither, or nothing to be measured."""
    if not _is_number(limit):
        return ""
    if keyword in _LIMITS:
        fits, words = _LIMITS[keyword]
        wrong = _is_number(value) and not fits(value, limit)
    else:
        kind, sign, words = _SIZES[keyword]
        wrong = isinstance(value, kind) and (len(value) - limit) * sign < 0
    return f"{_shown(value)} is {words.format(limit)}" if wrong else ""


def _is_multiple(value: float, limit: float) -> bool:
    if isinstance(value, int) and isinstance(limit, int):
        return limit == 0 or value % limit == 0
    times = value / limit if limit else 0.0
    # Of 0.3 and 0.1 the quotient is not quite 3.
    return not math.isfinite(times) or abs(times - round(times)) < 1e-9


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _same(one: JSON, other: JSON) -> bool:
    """Compare as JSON does, to which 1 is 1.0 and neither is true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(item, other[name]) for name, item in one.items())
    return bool(one == other)


def _finds(pattern: Any, text: str) -> bool | None:
    """Search as ECMA's patterns do; None for a pattern that Python cannot read."""
    try:
        return re.search(pattern, text) is not None
    except (re.error, TypeError):
        return None


def _place(where: str) -> str:
    return f"{where}: " if where else ""


def _shown(value: JSON) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
