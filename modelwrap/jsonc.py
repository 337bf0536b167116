"""JSON as people write it: comments and trailing commas are taken, and every other mistake is named with its place."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn, TypeAlias

from modelwrap.errors import ConfigError
from modelwrap.secrets import is_sensitive
from modelwrap.types import JSON

Path: TypeAlias = tuple[str | int, ...]
Position: TypeAlias = tuple[int, int]
"""Line and column, counted from 1."""

DEEPEST = 64
_MOST_DIGITS = 100
_WIDEST_EXCERPT = 100
_LONGEST_SEARCHED = 4096

_BLANK = re.compile(r"(?:[ \t\n]|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?(?![\w.+-])")
_WORD = re.compile(r"[^\s,:=\[\]{}\"'#/]+")
_PLAIN = re.compile(r'[^"\\\x00-\x1f\ud800-\udfff]*')
_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"?')
_HEX = re.compile(r"[0-9a-fA-F]{4}")
_NAME = re.compile(r"""(["']?)([\w.-]+)\1\s*[:=]""")
_USERINFO = re.compile(r"//[^/\s\"']*@")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]")
_TOKEN = re.compile(r"(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{20,}")
_COUNTS_TOKENS = re.compile(r"tokens$|first_token|tokeniz|token_ids?$", re.IGNORECASE)

_LITERALS = {"true": True, "false": False, "null": None}
_FOREIGN = {"none": "null", "nil": "null", "undefined": "null", "yes": "true", "no": "false"}
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WRONG_QUOTES = {
    "'": "double quotes, not in single ones",
    **dict.fromkeys("‘’“”", "plain double quotes, not in typographic ones"),
}


@dataclass(frozen=True, slots=True)
class Document:
    """Hold a parsed value, and where in its source each value and each key stands."""

    value: JSON
    source: str = ""
    positions: Mapping[Path, Position] = field(default_factory=dict)
    keys: Mapping[Path, Position] = field(default_factory=dict)


def parse(text: str | bytes, source: str) -> Document:
    """Read JSON with comments and trailing commas; `ConfigError` says where it is wrong and how to put it right."""
    parser = _Parser(_decoded(text, source) if isinstance(text, bytes) else text, source)
    return Document(parser.document(), source, parser.positions, parser.keys)


@dataclass(frozen=True, slots=True)
class Layout:
    """Hold the text of a document, and from where to where in it each value and each key stands."""

    text: str
    value: JSON
    values: Mapping[Path, tuple[int, int]]
    keys: Mapping[Path, tuple[int, int]]


def laid_out(text: str | bytes, source: str) -> Layout:
    """Read JSON as `parse` does, for those who are to change its text in some places."""
    parser = _LayoutParser(_decoded(text, source) if isinstance(text, bytes) else text, source)
    return Layout(parser.text, parser.document(), parser.value_spans, parser.key_spans)


def holds_secret(name: str) -> bool:
    """Tell whether the value under this key may be a credential."""
    return (is_sensitive(name) and not _COUNTS_TOKENS.search(name)) or name.lower().endswith("proxy")


def _is_secret(path: Iterable[str | int]) -> bool:
    return any(isinstance(key, str) and holds_secret(key) for key in path)


def _decoded(data: bytes, source: str) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:4]:
        raise ConfigError(f"{source}:1:1: the file is written in UTF-16 or is no text; save it as UTF-8")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise ConfigError(f"{source}:{line}:{column}: this byte is not UTF-8; save the file as UTF-8") from None


class _Parser:
    def __init__(self, text: str, source: str) -> None:
        # A raw line break is refused inside strings, so that no value changes here.
        self.text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        self.source = source
        self.at = 0
        self.path: list[str | int] = []
        self.positions: dict[Path, Position] = {}
        self.keys: dict[Path, Position] = {}
        self.line_starts = [0, *(match.end() for match in re.finditer("\n", self.text))]

    def document(self) -> JSON:
        self.skip_blank()
        if not self.char:
            self.fail("the file is empty; it must hold one config { … } or a list of them [ … ]")
        value = self.value()
        self.skip_blank()
        if self.char:
            self.fail("something stands after the end of the JSON; several configs go into one list: [ {…}, {…} ]")
        return value

    @property
    def char(self) -> str:
        """The next character; empty at the end."""
        return self.text[self.at : self.at + 1]

    def skip_blank(self) -> None:
        blank = _BLANK.match(self.text, self.at)
        assert blank is not None  # it matches the empty text, too
        self.at = blank.end()
        if self.text.startswith("/*", self.at):
            self.fail("this comment never ends; close it with */")

    # Values

    def value(self) -> JSON:
        self.positions[tuple(self.path)] = self.position(self.at)
        if self.char == "{":
            return self.object()
        if self.char == "[":
            return self.array()
        if self.char == '"':
            return self.string()
        word = _WORD.match(self.text, self.at)
        if word and word[0] in _LITERALS:
            self.at = word.end()
            return _LITERALS[word[0]]
        if number := _NUMBER.match(self.text, self.at):
            return self.number(number)
        return self.no_value(word[0] if word else "")

    def object(self) -> dict[str, JSON]:
        opened = self.open()
        members: dict[str, JSON] = {}
        while not self.closes("}", opened):
            start = self.at
            key = self.key()
            self.path.append(key)
            path = tuple(self.path)
            if key in members:
                first, second = self.keys[path][0], self.position(start)[0]
                self.fail(f'"{key}" stands here twice, in line {first} and in line {second}; keep one', start)
            self.keys[path] = self.position(start)
            self.colon()
            members[key] = self.value()
            self.path.pop()
            self.comma("}", opened)
        return members

    def array(self) -> list[JSON]:
        opened = self.open()
        items: list[JSON] = []
        while not self.closes("]", opened):
            self.path.append(len(items))
            items.append(self.value())
            self.path.pop()
            self.comma("]", opened)
        return items

    def open(self) -> int:
        if len(self.path) >= DEEPEST:
            self.fail(f"this is nested more than {DEEPEST} deep")
        self.at += 1
        return self.at - 1

    def closes(self, closer: str, opened: int) -> bool:
        """Step over the closing bracket if it stands here."""
        self.skip_blank()
        if not self.char:
            self.fail(f"this {self.text[opened]} is never closed; a {closer} is missing", opened)
        if self.char == closer:
            self.at += 1
            return True
        return False

    def comma(self, closer: str, opened: int) -> None:
        """Step over the comma after a value; before the closing bracket there may be none."""
        ended = self.at
        self.skip_blank()
        if self.char == ",":
            self.at += 1
            return
        self.nothing_unseen()
        if self.char and self.char in "]}" and self.char != closer:
            line = self.position(opened)[0]
            self.fail(f"the {self.text[opened]} of line {line} is closed by {self.char}; write {closer}")
        elif self.char and self.char in "=:;":
            self.fail(f"there should be a comma or a {closer} here, not {self.char}")
        elif self.char and self.char != closer:
            inside = ended == self.at and self.text[ended - 1] == '"'
            hint = '; or, if the " before it is part of the text, write it as \\"' if inside else ""
            self.fail(f"a comma is missing here, after the value{hint}", ended)

    def key(self) -> str:
        if self.char != '"':
            self.no_key()
        return self.string()

    def no_key(self) -> NoReturn:
        self.nothing_unseen()
        if self.char in _WRONG_QUOTES:
            self.fail(f'a key stands in {_WRONG_QUOTES[self.char]}: write "key"')
        if self.char == ",":
            self.fail("there is one comma too many here; take it out")
        if self.char == "#":
            self.fail("a comment begins with //, not with #")
        if _WORD.match(self.text, self.at):
            self.fail('a key stands in double quotes: write "key"')
        self.fail('there should be a key in double quotes here, as in "model_type": "openai"')

    def nothing_unseen(self) -> None:
        """Name what no editor shows, such as the blanks that come along from a page."""
        if self.char.isspace() or _UNPRINTABLE.match(self.char):
            self.fail(f"a character that is not seen stands here, U+{ord(self.char):04X}; take it out")

    def colon(self) -> None:
        self.skip_blank()
        if self.char == "=":
            self.fail("between a key and its value stands a colon, not =")
        if self.char != ":":
            self.fail("a colon is missing here, between the key and its value")
        self.at += 1
        self.skip_blank()

    def number(self, match: re.Match[str]) -> int | float:
        if len(match[0]) > _MOST_DIGITS:
            self.fail(f"this number has more than {_MOST_DIGITS} digits")
        number = float(match[0]) if match[1] or match[2] else int(match[0])
        if number in (float("inf"), float("-inf")):
            self.fail("this number is too large")
        self.at = match.end()
        return number

    def no_value(self, word: str) -> NoReturn:
        known = word.lower()
        if not self.char:
            self.fail("the file ends here, where a value should stand")
        self.nothing_unseen()
        if self.char in _WRONG_QUOTES:
            self.fail(f'a string stands in {_WRONG_QUOTES[self.char]}: write "text"')
        if self.char in ",]}":
            self.fail(f"a value is missing here, before the {self.char}")
        if self.char == "#":
            self.fail("a comment begins with //, not with #")
        if known in _LITERALS or known in _FOREIGN:
            self.fail(f"{word} is not JSON; write {_FOREIGN.get(known, known)}")
        if known.lstrip("+-") in ("nan", "inf", "infinity"):
            self.fail(f"{word} is not allowed; write a number")
        if word and word.lstrip("+-.")[:1].isdigit():
            self.fail("this is no number in JSON; write it like 0.5, 10 or 1e-3, or put text in double quotes")
        if word:
            self.fail("text stands in double quotes; without them only numbers, true, false and null may stand")
        self.fail(f"there should be a value here, not {self.char}")

    # Strings

    def string(self) -> str:
        opened = self.at
        self.at += 1
        pieces: list[str] = []
        while True:
            plain = _PLAIN.match(self.text, self.at)
            assert plain is not None  # it matches the empty text, too
            pieces.append(plain[0])
            self.at = plain.end()
            if self.char == '"':
                self.at += 1
                return "".join(pieces)
            if self.char == "\\":
                pieces.append(self.escape())
            elif not self.char or self.char == "\n":
                self.fail('this string never ends; its closing " is missing (a line break is written \\n)', opened)
            elif "\ud800" <= self.char <= "\udfff":
                self.fail("half a surrogate pair stands here, which is no character")
            else:
                self.fail(f"a control character stands in this string; write it as \\u{ord(self.char):04x}")

    def escape(self) -> str:
        start = self.at
        letter = self.text[start + 1 : start + 2]
        if letter in _ESCAPES and letter:
            self.at += 2
            return _ESCAPES[letter]
        if letter != "u" or not _HEX.match(self.text, start + 2):
            self.fail("a backslash in a string is written twice: \\\\ (in a Windows path / will do as well)")
        code = self.code_unit()
        if 0xD800 <= code <= 0xDBFF and self.text.startswith("\\u", self.at) and _HEX.match(self.text, self.at + 2):
            low = self.code_unit()
            if 0xDC00 <= low <= 0xDFFF:
                return chr(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00))
        if 0xD800 <= code <= 0xDFFF:
            self.fail("this is half a surrogate pair, which is no character", start)
        return chr(code)

    def code_unit(self) -> int:
        self.at += 6
        return int(self.text[self.at - 4 : self.at], 16)

    # Errors

    def position(self, at: int) -> Position:
        line = bisect_right(self.line_starts, at)
        return line, at - self.line_starts[line - 1] + 1

    def fail(self, message: str, at: int | None = None) -> NoReturn:
        line, column = self.position(self.at if at is None else at)
        text = self.without_secrets(self.text[self.line_starts[line - 1] :].partition("\n")[0], line)
        secret = _is_secret(self.path)
        excerpt = f"\n{_excerpt(text, column, secret)}" if text.strip() else ""
        raise ConfigError(f"{self.source}:{line}:{column}: {message}{excerpt}") from None

    def without_secrets(self, text: str, line: int) -> str:
        """Put stars in the place of credentials that were read in a line; their keys may stand in an earlier one."""
        if len(text) > _LONGEST_SEARCHED:
            return text
        for path, (on_line, column) in self.positions.items():
            if on_line == line and _is_secret(path) and (found := _STRING.match(text, column - 1)):
                text = text[: found.start()] + _starred(found[0]) + text[found.end() :]
        return text


class _LayoutParser(_Parser):
    def __init__(self, text: str, source: str) -> None:
        super().__init__(text, source)
        self.value_spans: dict[Path, tuple[int, int]] = {}
        self.key_spans: dict[Path, tuple[int, int]] = {}

    def value(self) -> JSON:
        start, path = self.at, tuple(self.path)
        value = super().value()
        self.value_spans[path] = start, self.at
        return value

    def key(self) -> str:
        start = self.at
        key = super().key()
        self.key_spans[(*self.path, key)] = start, self.at
        return key


def _excerpt(line: str, column: int, secret: bool) -> str:
    """Show a line with a caret under the column, and stars for what may be a credential."""
    shown = _hidden(line, secret)
    start = max(0, min(column - _WIDEST_EXCERPT // 2, len(shown) - _WIDEST_EXCERPT))
    window = shown[start : start + _WIDEST_EXCERPT]
    # Tabs stay, so that the caret stands where the terminal puts the column.
    margin = re.sub(r"[^\t]", " ", window[: column - 1 - start])
    return f"    {_UNPRINTABLE.sub('?', window)}\n    {margin}^"


def _hidden(line: str, secret: bool) -> str:
    if len(line) > _LONGEST_SEARCHED:
        return _starred(line)
    for name in _NAME.finditer(line):
        if holds_secret(name[2]):
            return line[: name.end()] + _starred(line[name.end() :])
    if secret:
        return _starred(line)
    return _TOKEN.sub(_stars, _USERINFO.sub(_stars, line))


def _starred(text: str) -> str:
    """Keep only the punctuation, in which the mistake lies."""
    return re.sub(r"[^\s\"'{}\[\],:]", "*", text)


def _stars(match: re.Match[str]) -> str:
    return "*" * len(match[0])
