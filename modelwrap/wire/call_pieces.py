"""The pieces of a stream's tool calls told apart, whatever servers forget, repeat or say twice."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from modelwrap.types import JSON, Change
from modelwrap.wire.repair import tell

_NUMBERED = Change("repaired", "tool_calls.index", "calls that the server did not tell apart were numbered")
_SAID_TWICE = Change("repaired", "tool_calls.arguments", "what the server said twice was taken once")


class CallPieces:
    """Number the tool calls of one choice, of which some servers send no index, or 0 for all.

    A call begins where a new id comes with a name. vLLM once gave each piece an id of its own, but the name to the
    first piece only; others repeat id and name with every piece, or the whole call at its end.
    """

    def __init__(self, changes: list[Change]) -> None:
        self._changes = changes
        self._calls: dict[int, _Call] = {}
        self._by_wire: dict[int, int] = {}
        self._by_id: dict[str, int] = {}
        self._next = 0
        self._last: int | None = None

    def told_apart(self, pieces: list[Any]) -> list[Any]:
        """Give the pieces as they are to be read; each the same object where nothing is to be done."""
        touched: set[int] = set()
        return [self._piece(piece, touched) if type(piece) is dict else piece for piece in pieces]

    def _piece(self, piece: dict[str, Any], touched: set[int]) -> dict[str, Any]:
        wire = _index(piece.get("index"))
        kind, text = (
            ("function", "arguments") if piece.get("function") or not piece.get("custom") else ("custom", "input")
        )
        function = piece[kind] if type(piece.get(kind)) is dict else {}
        call_id, name, arguments = _text(piece.get("id")), _text(function.get("name")), function.get(text)
        number = self._known(wire, call_id, name, arguments)
        if number is None or self._begins(number, wire, call_id, name, arguments, number in touched):
            number = self._new(wire)
        call = self._calls[number]
        if wire is not None:
            self._by_wire[wire] = number
        if call_id:
            self._by_id[call_id] = number
        self._last = number
        touched.add(number)
        # The input of a custom tool is any text, in which nothing tells what is said twice.
        unsaid = call.unsaid(arguments) if kind == "function" else arguments
        call.add(call_id, name, unsaid)
        if unsaid != arguments:
            tell(self._changes, _SAID_TWICE)
            piece = {**piece, kind: {**function, text: unsaid}}
        if piece.get("index") == number:
            return piece
        tell(self._changes, _NUMBERED)
        return {**piece, "index": number}

    def _new(self, wire: int | None) -> int:
        number = wire if wire is not None and wire not in self._calls else self._next
        self._next = max(self._next, number + 1)
        self._calls[number] = _Call()
        return number

    def _known(self, wire: int | None, call_id: str, name: str, arguments: JSON) -> int | None:
        """Find the call that a piece may belong to."""
        if wire in self._by_wire:
            return self._by_wire[wire]
        number = self._by_id.get(call_id)
        if wire is None:
            return self._last if number is None else number
        if number is None:
            return None
        # LocalAI says one call under several indexes; where every call has the same id, each has a name of its own.
        return number if not name or self._calls[number].was_said(name, arguments) else None

    def _begins(self, number: int, wire: int | None, call_id: str, name: str, arguments: JSON, touched: bool) -> bool:
        """Tell whether a piece begins another call than the one that it seems to belong to."""
        call = self._calls[number]
        if not name or not call.name:
            return False
        same_id = bool(call_id) and call_id == call.id
        if call_id and call.id and not same_id:
            return True
        if name != call.name:
            return wire is None or touched or call.has_arguments
        if touched and not same_id:
            return True
        if not _opens(arguments) or not call.is_whole():
            return False
        return not same_id or not call.was_said(name, arguments)


class _Call:
    """Remember of a tool call what tells it from the next."""

    __slots__ = ("_grows", "_length", "_objects", "_parts", "id", "name")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self._parts: list[str] = []
        self._length = 0
        self._objects: list[JSON] = []
        """Arguments that came as what they are, not as a text of it."""
        self._grows = False
        """Whether pieces begin with all that came before them."""

    @property
    def has_arguments(self) -> bool:
        return bool(self._parts or self._objects)

    def add(self, call_id: str, name: str, arguments: JSON) -> None:
        self.id = self.id or call_id
        self.name = self.name or name
        if arguments and isinstance(arguments, str):
            self._parts.append(arguments)
            self._length += len(arguments)
        elif arguments:
            self._objects.append(arguments)

    def is_whole(self) -> bool:
        """Tell whether its arguments are finished."""
        return bool(self._objects) or (self._is_closed() and isinstance(_json(self._said()), dict))

    def was_said(self, name: str, arguments: JSON) -> bool:
        """Tell whether a piece says again what is known of this call."""
        return name == self.name and self.unsaid(arguments) != arguments

    def unsaid(self, arguments: JSON) -> JSON:
        """Give what a piece adds to the arguments.

        Some servers say them all once more at the end, or with every piece what came before it. A piece that can be
        read on from what was said is never taken for such a one.
        """
        if not isinstance(arguments, str):
            return "" if arguments and arguments in self._objects else arguments
        if arguments[:1] not in ("{", '"') or not self._parts:
            return arguments
        if len(arguments) < self._length and not self._is_closed():
            return arguments
        said = self._said()
        if not self._grows and _begins_json(said + arguments):
            return arguments
        if arguments.startswith(said):
            self._grows = True
            return arguments[len(said) :]
        whole = _json(said)
        # LiteLLM's proxy once wrote them as a text of JSON in JSON.
        return "" if isinstance(whole, dict) and _json(arguments) in (whole, said) else arguments

    def _is_closed(self) -> bool:
        return bool(self._parts) and self._parts[-1].rstrip().endswith("}")

    def _said(self) -> str:
        # Kept in one piece, so that the next who asks joins few.
        self._parts = ["".join(self._parts)]
        return self._parts[0]


def _opens(arguments: JSON) -> bool:
    """Tell whether a piece may be the first of a call's arguments."""
    return arguments.lstrip().startswith("{") if isinstance(arguments, str) else bool(arguments)


def _index(index: JSON) -> int | None:
    if type(index) is str and index.isascii() and index.isdigit():
        return int(index[:9])
    return index if type(index) is int else None


def _json(text: str) -> JSON:
    try:
        return from_json(text)
    except ValueError:
        return None


def _begins_json(text: str) -> bool:
    try:
        from_json(text)
    except ValueError as error:
        return str(error).startswith("EOF")
    return True


def _text(value: Any) -> str:
    return value if type(value) is str else ""
