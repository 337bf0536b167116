"""Calls of tools as models write them into their text, read back."""

from __future__ import annotations

import ast
import json
import math
import random
import re
import string
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, TypeAlias

from modelwrap.types import JSON

Schema: TypeAlias = dict[str, Any]
Tools: TypeAlias = Mapping[str, Schema]
"""The schemas of tools' arguments, by the tools' names."""

_LETTERS = string.ascii_letters + string.digits
# Mistral's templates refuse ids of any other length, and everyone else takes them.
_ID_LENGTH = 9


@dataclass(frozen=True, slots=True)
class ToolCall:
    name: str
    arguments: str
    """As JSON."""
    id: str = field(default_factory=lambda: "".join(random.choices(_LETTERS, k=_ID_LENGTH)))

    def as_json(self, index: int) -> dict[str, Any]:
        """Write the call as a piece of a chat in OpenAI's form."""
        function = {"name": self.name, "arguments": self.arguments}
        return {"index": index, "id": self.id, "type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class Read:
    """Be what a text turned out to hold; what is no call is in `rest`."""

    calls: list[ToolCall]
    rest: str


Reader: TypeAlias = Callable[[str, Tools], Read]


def call_of(value: JSON) -> ToolCall | None:
    """Make a call of an object that names a tool and its arguments, or of a text that is one."""
    if isinstance(value, str):
        value = _loads(value)
    if not isinstance(value, dict):
        return None
    inner = value.get("function")
    if isinstance(inner, dict):
        value = inner
    name = value.get("name") or (inner if isinstance(inner, str) else None)
    arguments = value.get("arguments", value.get("parameters"))
    if isinstance(arguments, str):
        arguments = _loads(arguments)
    if not isinstance(name, str) or not name or not isinstance(arguments, (dict, NoneType)):
        return None
    return ToolCall(name, _dumps(arguments or {})) if _is_whole(name) else None


def _dumps(value: JSON) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    # Half of a surrogate pair stays the escape that the model wrote: as a character it could be sent nowhere.
    return text if _is_whole(text) else json.dumps(value, allow_nan=False)


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number of JSON")
    return number


# A model may write a line's end inside of a text. NaN and infinities are no JSON, and would not be read elsewhere.
_JSON = json.JSONDecoder(strict=False, parse_float=_finite, parse_constant=_finite)
_BROKEN: Any = object()


def _loads(text: str) -> JSON:
    """Read JSON; what is none gives what stands for nothing."""
    try:
        return _JSON.decode(text)
    except (ValueError, RecursionError):
        return _BROKEN


def read_json(text: str, tools: Tools) -> Read:
    """Read objects or lists of them, one behind the other."""
    calls: list[ToolCall] = []
    place = 0
    while place < len(text):
        if text[place].isspace() or text[place] in ";,":
            place += 1
            continue
        try:
            value, end = _JSON.raw_decode(text, place)
        except (ValueError, RecursionError):
            break
        found = [call_of(item) for item in (value if isinstance(value, list) else [value])]
        if not found or None in found:
            break
        calls += [call for call in found if call is not None]
        place = end
    # Between calls stand marks only; where there are none, all is text.
    return Read(calls, text[place:].strip()) if calls else Read([], text)


def read_tagged(text: str, tools: Tools) -> Read:
    """Read `<tool_call>…</tool_call>`, in which JSON stands, or one of three kinds of tags."""
    calls: list[ToolCall] = []
    rest: list[str] = []
    place = 0
    while found := _OPENING.search(text, place):
        inside, end = _tagged(text, found)
        read = _inside_tags(inside.strip(), tools)
        rest.append(text[place : end if read is None else found.start()])
        calls += read or []
        place = end
    rest.append(text[place:])
    if not calls:
        return Read([], text)
    return Read(calls, "".join(rest).strip())


def _tagged(text: str, opening: re.Match[str]) -> tuple[str, int]:
    """Give what a tag holds, and where it ends; what looks like a tag in the texts of its JSON is none."""
    if opening[0] == "<function=":
        begin, closing = opening.start(), _FUNCTION_CLOSING.search(text, opening.end())
    else:
        begin = opening.end()
        closing = _CLOSING.search(text, _behind_json(text, begin))
    if closing is None:
        return text[begin:], len(text)
    return text[begin : closing.start()], closing.end()


def _behind_json(text: str, place: int) -> int:
    """Give where the JSON ends that begins at a place; the place itself where there is none."""
    begin = _SPACE.match(text, place)
    try:
        return _JSON.raw_decode(text, begin.end() if begin else place)[1]
    except (ValueError, RecursionError):
        return place


_OPENING = re.compile(r"<(?:minimax:)?tool_call>|<function=")
_CLOSING = re.compile(r"</(?:minimax:)?tool_call>|(?=<tool_call>)")
_FUNCTION_CLOSING = re.compile(r"</function>")
_SPACE = re.compile(r"\s+")
_FUNCTION = re.compile(
    r"<(?:function=|invoke\s+name=)\s*\"?([^>\s\"]+)\"?\s*>(.*?)(?:</(?:function|invoke)>|\Z)", re.DOTALL
)
_PARAMETER = re.compile(
    r"<parameter(?:=|\s+name=)\s*\"?([^>\s\"]+)\"?\s*>\n?(.*?)(?:\n?</parameter>|(?=<parameter[=\s])|\Z)", re.DOTALL
)


def _inside_tags(inside: str, tools: Tools) -> list[ToolCall] | None:
    if _FUNCTION.match(inside):
        written = _FUNCTION.findall(inside)
        return [_typed_call(name, _PARAMETER.findall(parameters), tools) for name, parameters in written]
    name = inside.partition("<arg_key>")[0].strip()
    if name in tools:
        return [_typed_call(name, list(map(_pair, inside.split("<arg_key>")[1:])), tools)]
    read = read_json(inside, tools)
    return None if read.rest or not read.calls else read.calls


def _pair(text: str) -> tuple[str, str]:
    key, _, rest = text.partition("</arg_key>")
    return key.strip(), rest.partition("<arg_value>")[2].partition("</arg_value>")[0]


def _typed_call(name: str, written: Sequence[tuple[str, str]], tools: Tools) -> ToolCall:
    """Make a call of arguments that were written as text, by the types that the tool's schema gives them."""
    schema = tools.get(name, {})
    properties = schema.get("properties") or {}
    typed = {key: _typed(text, set(_kinds(properties.get(key), schema))) for key, text in written}
    return ToolCall(name, _dumps(typed))


_WORDS = {"true": True, "false": False, "none": None, "null": None}


def _typed(text: str, kinds: Collection[str]) -> JSON:
    value = _WORDS.get(text.strip().lower(), _BROKEN)
    if value is _BROKEN:
        value = _loads(text)
    if not kinds:
        # A tool whose schema says nothing gets objects as objects, and all else as it was written.
        return value if isinstance(value, (dict, list)) else text
    return value if value is not _BROKEN and not _kind(value).isdisjoint(kinds) else text


def _kinds(schema: JSON, whole: Schema, followed: Sequence[str] = ()) -> list[str]:
    """Name the types that a part of a schema allows; references are followed within the whole of it."""
    if not isinstance(schema, dict):
        return []
    kind = schema.get("type")
    kinds = [kind] if isinstance(kind, str) else list(kind or ())
    values = [*(schema.get("enum") or ()), *([schema["const"]] if "const" in schema else ())]
    kinds += [kind for value in values for kind in _kind(value) or ("string",)]
    inner = [each for key in ("anyOf", "oneOf", "allOf") for each in schema.get(key) or ()]
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference not in followed:
        followed = (*followed, reference)
        inner.append(_referred(reference, whole))
    return kinds + [kind for each in inner for kind in _kinds(each, whole, followed)]


def _referred(reference: str, whole: JSON) -> JSON:
    for step in reference.removeprefix("#/").split("/"):
        whole = whole.get(step) if isinstance(whole, dict) else None
    return whole


def _kind(value: JSON) -> set[str]:
    """Name the types of JSON schema that a value is of; a text is of none, for it was one before."""
    if isinstance(value, bool):
        return {"boolean"}
    if isinstance(value, (int, float)):
        return {"number", "integer"} if value == value // 1 else {"number"}
    if value is None:
        return {"null"}
    return {"object"} if isinstance(value, dict) else {"array"} if isinstance(value, list) else set()


def read_any(text: str, tools: Tools) -> Read:
    """Read calls of a model that was told of tools, and not how to call them."""
    found = _read_bare(text, tools)
    return found if found.calls else read_tagged(text, tools)


def _read_bare(text: str, tools: Tools) -> Read:
    """Read JSON, or else calls as Python writes them, where there is nothing else."""
    found = read_json(text, tools)
    if not found.calls:
        found = _read_python(text, tools)
    return found if found.calls and not found.rest else Read([], text)


def read_mistral(text: str, tools: Tools) -> Read:
    """Read `[TOOL_CALLS]` before a list, or before each `name[ARGS]{…}`."""
    calls: list[ToolCall] = []
    rest = text
    while rest.startswith("[TOOL_CALLS]"):
        read = _read_named(rest.removeprefix("[TOOL_CALLS]"))
        if not read.calls:
            return Read([], text)
        calls += read.calls
        rest = read.rest
    return Read(calls, rest) if calls else Read([], text)


def _read_named(text: str) -> Read:
    """Read one call whose name stands before its arguments, or else what JSON there is."""
    named = _NAMED.match(text)
    if named is None:
        return read_json(text, {})
    end = _behind_json(text, named.end())
    call = arguments_of(named[1], text[named.end() : end])
    return Read([call], text[end:].strip()) if call else Read([], text)


_NAMED = re.compile(r"\s*([\w.-]+)\s*(?:\[CALL_ID\]\s*[\w-]*\s*)?(?:\[ARGS\])?\s*(?=\{)")


def arguments_of(name: str, text: str) -> ToolCall | None:
    """Make a call of a tool's arguments, written as JSON."""
    value = _loads(text)
    return ToolCall(name, _dumps(value)) if name and isinstance(value, dict) else None


def _between(begin: str, end: str, read_one: Callable[[str], ToolCall | None]) -> Reader:
    """Read calls that stand between marks; one that cannot be read makes all of them text."""

    def read(text: str, tools: Tools) -> Read:
        calls = [read_one(piece.partition(end)[0].strip()) for piece in text.split(begin)[1:]]
        whole = [call for call in calls if call is not None]
        return Read(whole, "") if whole and len(whole) == len(calls) else Read([], text)

    return read


def _deepseek(text: str) -> ToolCall | None:
    name, mark, arguments = text.removeprefix("function<｜tool▁sep｜>").partition("\n```json\n")
    if mark:
        return arguments_of(name.strip(), arguments.removesuffix("```"))
    name, _, arguments = text.partition("<｜tool▁sep｜>")
    return arguments_of(name.strip(), arguments)


def _kimi(text: str) -> ToolCall | None:
    name, _, arguments = text.partition("<|tool_call_argument_begin|>")
    return arguments_of(name.strip().partition(":")[0].removeprefix("functions."), arguments)


def _gemma(text: str) -> ToolCall | None:
    found = _GEMMA.fullmatch(text)
    return arguments_of(found[1], _with_quotes(found[2])) if found else None


read_deepseek = _between("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", _deepseek)
"""Read calls whose JSON stands in a fence or behind a separator."""
read_kimi = _between("<|tool_call_begin|>", "<|tool_call_end|>", _kimi)
"""Read calls that are numbered: `functions.name:0`."""
read_gemma = _between("<|tool_call>", "<tool_call|>", _gemma)
"""Read `call:name{key:<|"|>text<|"|>,…}`, which is JSON but for its quotes."""

_GEMMA = re.compile(r"call:\s*([\w.-]+)\s*(\{.*)", re.DOTALL)
_BARE_KEY = re.compile(r"([{,]\s*)([\w.-]+)\s*:")


def _with_quotes(text: str) -> str:
    """Write as JSON what stands between marks in place of quotes, and keys without any."""
    pieces = text.split('<|"|>')
    return "".join(
        _dumps(piece) if place % 2 else _BARE_KEY.sub(r'\1"\2":', piece) for place, piece in enumerate(pieces)
    )


def between(*marks: str) -> Reader:
    """Read what stands bare between marks; in the texts of a call these are no marks."""
    pattern = re.compile(_QUOTED + "|" + "|".join(map(re.escape, marks)), re.DOTALL)

    def read(text: str, tools: Tools) -> Read:
        bare = pattern.sub(lambda found: found[1] or " ", text)
        found = _read_bare(bare.strip(), tools)
        return found if found.calls else Read([], text)

    return read


_QUOTED = r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""


def _read_python(text: str, tools: Tools) -> Read:
    """Read `[name(key="value"), …]` or a call a line."""
    try:
        body = ast.parse(_ESCAPE.sub(_as_python_reads_it, text.strip())).body
        nodes = [node.value if isinstance(node, ast.Expr) else node for node in body]
        nodes = [inner for node in nodes for inner in (node.elts if isinstance(node, ast.List) else [node])]
        calls = [_from_python(node) for node in nodes]
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        # A TypeError is a value that is no JSON, as bytes and sets are.
        return Read([], text)
    return Read(calls, "") if all(call.name in tools for call in calls) else Read([], text)


def _from_python(node: ast.AST) -> ToolCall:
    if not isinstance(node, ast.Call) or node.args or any(keyword.arg is None for keyword in node.keywords):
        raise ValueError("no call with named arguments")
    name = ast.unparse(node.func)
    arguments = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords}
    # Llama's own tools are called as `name.call(…)`.
    return ToolCall(name.removesuffix(".call"), _dumps(arguments))


_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def _as_python_reads_it(escape: re.Match[str]) -> str:
    """Double the backslash that Python would leave as it is, but warn of."""
    return escape[0] if escape[1] in "\n\\'\"abfnrtv01234567xNuU" else f"\\{escape[0]}"
