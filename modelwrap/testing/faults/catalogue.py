"""What a fault is: a name, a line that tells it, and the steps that a server takes instead of a good answer."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, TypeAlias, get_type_hints

from pydantic import TypeAdapter, ValidationError

from modelwrap.errors import ConfigError
from modelwrap.suggestions import nearest


class Act(Enum):
    """Be a step of a script that is neither bytes to send nor seconds to wait."""

    CLOSE = "close the connection"
    RESET = "reset the connection"
    HANG = "do nothing more until the client hangs up"
    LISTEN = "wait until the client has sent something"


Step: TypeAlias = bytes | float | Act
Steps: TypeAlias = Iterator[Step]


@dataclass(frozen=True, slots=True)
class Asked:
    """Be one request as the server saw it."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    at: float
    """When it was complete, by `time.monotonic()`."""
    number: int
    """Which request of its connection it was, from 1."""
    connection: int

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


Script: TypeAlias = Callable[..., Steps]

Place: TypeAlias = Literal["answer", "connection", "refused", "full", "nowhere"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Be one thing that goes wrong.

    `place` says where: in the answer to a request, in the connection before any request, or at a port that refuses,
    that is full, or that is at no known host.
    """

    name: str
    rows: tuple[str, ...]
    """The rows of the table of faults in which it stands."""
    summary: str
    script: Script
    options: Mapping[str, Any] = field(default_factory=dict)
    """What can be set, and to what it is set otherwise."""
    place: Place = "answer"
    tls: str | None = None
    """The kind of certificate that the server shows; None for plain HTTP."""
    scheme: Literal["http", "https"] = "http"

    def check(self, options: Mapping[str, Any]) -> None:
        """Refuse an option that this fault does not have, and a value that is none for it."""
        kinds = get_type_hints(self.script)
        for option, value in options.items():
            if option not in self.options:
                meant = nearest(option, self.options)
                hint = f"did you mean {meant!r}?" if meant else f"there are {', '.join(self.options) or 'none'}"
                raise ConfigError(f"fault {self.name!r} has no option {option!r}; {hint}")
            check_value(f"fault {self.name!r}: {option}", value, kinds[option])


def check_value(what: str, value: Any, kind: Any) -> None:
    """Refuse a value that is none of this type, which may be any that pydantic reads."""
    try:
        TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        raise ConfigError(f"{what}: {error.errors(include_url=False)[0]['msg']}, not {value!r}") from None


_CATALOGUE: dict[str, Fault] = {}


def fault(
    *rows: str, place: Place = "answer", tls: str | None = None, scheme: Literal["http", "https"] | None = None
) -> Callable[[Script], Script]:
    """Put a script into the catalogue, under its own name and the first line of its docstring."""

    def entered(script: Script) -> Script:
        parameters = list(inspect.signature(script).parameters.values())
        options = {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}
        summary = (inspect.getdoc(script) or "").partition("\n")[0]
        _CATALOGUE[script.__name__] = Fault(
            name=script.__name__,
            rows=rows,
            summary=summary,
            script=script,
            options=options,
            place=place,
            tls=tls,
            scheme=scheme or ("https" if tls else "http"),
        )
        return script

    return entered


def catalogue() -> Mapping[str, Fault]:
    """Give every fault by its name."""
    # Each module enters its own scripts.
    from modelwrap.testing.faults import bodies, connections, refusals, streams

    assert all((bodies, connections, refusals, streams))
    return _CATALOGUE


def named(name: str) -> Fault:
    """Give the fault of this name."""
    known = catalogue()
    if name not in known:
        meant = nearest(name, known)
        raise ConfigError(f"there is no fault {name!r}" + (f"; did you mean {meant!r}?" if meant else ""))
    return known[name]
