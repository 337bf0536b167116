"""A file of older days rewritten in today's words: what need not change stays as it was written, comments too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from modelwrap import registry
from modelwrap.config.older import Told, rewritten
from modelwrap.config.problems import Problems
from modelwrap.config.sources import OLD_NAMES, Entry, entries
from modelwrap.config.validation import same_meaning
from modelwrap.errors import ConfigError
from modelwrap.jsonc import Document, Layout, Path, laid_out, parse

Edit: TypeAlias = tuple[int, int, str]
"""From where to where in the text, and what to write there."""

_TODAY = {old: name for name, old in OLD_NAMES.items()}
_REST_OF_LINE = re.compile(r"[ \t]*(?://[^\n]*)?\n")
# Possessive, so that no comma inside of a comment is taken for one.
_COMMA = re.compile(r"(?:[ \t\n]++|//[^\n]*+|(?>/\*.*?\*/))*+,[ \t]*", re.DOTALL)


@dataclass
class Migration:
    text: str
    """The file in today's words."""
    changes: list[str] = field(default_factory=list)
    """What was changed and why, each with its line in the file as it was; no value of a config is among it."""


def migrated(text: str | bytes, source: str) -> Migration:
    """Rewrite a file of configs; `ConfigError` where it is no JSON, or holds what no type of today can say."""
    layout = laid_out(text, source)
    edits: list[Edit] = []
    changes: list[str] = []
    for entry in _entries(parse(text, source), source):
        today, told = _today(entry)
        if today != entry.data:
            edits += _edits(layout, entry.path, entry.data, today)
            changes += [_worded(entry, path, what) for path, what in told]
    new = layout.text
    for start, end, written in sorted(edits, reverse=True):
        new = new[:start] + written + new[end:]
    _check(new, source, layout)
    return Migration(new, changes)


def _check(new: str, source: str, layout: Layout) -> None:
    """Make sure that what was written is what was meant."""
    meant = [_today(entry)[0] for entry in _entries(Document(layout.value), source)]
    if [entry.data for entry in _entries(parse(new, source), source)] != meant:
        raise ConfigError(f"{source}: cannot be rewritten in its place; it loads as it is")


def _entries(document: Document, source: str) -> list[Entry]:
    problems = Problems()
    found = list(entries(document, source, problems))
    problems.raise_any()
    return found


def _today(entry: Entry) -> tuple[dict[str, Any], list[Told]]:
    """Give a config in today's words, and what is to be said of each change."""
    data = entry.data
    result = rewritten(data)
    for path, message in result.mistakes:
        raise ConfigError(entry.mistake(path, message))
    told: list[Told] = [(path, f"taken out: {why}") for path, why in result.lost]
    today: dict[str, Any] = {}
    for key, value in result.data.items():
        name = _TODAY.get(key, key)
        if name != key and name in result.data:
            if not same_meaning(name, result.data[name], value):
                raise ConfigError(entry.mistake((key,), f'differs from "{name}", which means the same; keep one'))
            told.append(((key,), f'taken out: it says what "{name}" says'))
            continue
        if name != key:
            told.append(((key,), f'is "{name}" now'))
        today[name] = value
    if "budget" in today:
        del today["budget"]
        told.append((("budget",), "taken out: nothing enforces it"))
    written = data.get("model_type", data.get("type"))
    if isinstance(today.get("model_type"), str):
        today["model_type"] = registry.canonical(today["model_type"])
        if today["model_type"] != written:
            preset = f' with the preset "{today["preset"]}"' if today.get("preset") != data.get("preset") else ""
            told.append(
                (("model_type" if "model_type" in data else "type",), f'is "{today["model_type"]}"{preset} now')
            )
    return today, told + _moved(data, today)


def _moved(data: Mapping[str, Any], today: Mapping[str, Any]) -> list[Told]:
    """Say what stands elsewhere, or was not there before."""
    known = {_TODAY.get(key, key) for key in data} | {"preset"}
    added = [key for key in today if key not in known]
    gone = [key for key in data if key not in {*today, *_TODAY, "budget", "keep_alive"}]
    told: list[Told] = [((key,), "stands in another place now") for key in gone]
    return told + ([((), f"got {', '.join(added)}")] if added else [])


def _worded(entry: Entry, path: Path, what: str) -> str:
    key = ".".join(map(str, path))
    return f"{entry.place(path, key=True)}: {key}{' ' if key else ''}{what}"


# From the old text to the new.


def _edits(layout: Layout, path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Edit]:
    """Change an object's text no more than it takes."""
    names = {key: _name_in(new, key, old) for key in old}
    kept = [key for key, name in names.items() if name is not None]
    if not kept:
        return [(*layout.values[path], json.dumps(dict(new), indent=4, ensure_ascii=False))]
    edits = list(_changed(layout, path, old, new, {key: names[key] or key for key in kept}))
    edits += _removals(layout, path, list(old), kept)
    added = {name: value for name, value in new.items() if name not in names.values()}
    last = layout.values[(*path, kept[-1])][1]
    margin = _margin(layout, layout.keys[(*path, kept[0])][0])
    written = "".join(f",{margin}{json.dumps(name)}: {_indented(value, margin)}" for name, value in added.items())
    return [*edits, (last, last, written)] if written else edits


def _name_in(new: Mapping[str, Any], key: str, old: Mapping[str, Any]) -> str | None:
    """Tell under which name a key stands in the new object; None where it does not any more."""
    name = _TODAY.get(key, key)
    if name != key and name in old:
        return None
    return name if name in new else None


def _changed(
    layout: Layout, path: Path, old: Mapping[str, Any], new: Mapping[str, Any], names: Mapping[str, str]
) -> Iterator[Edit]:
    for key, name in names.items():
        place = (*path, key)
        if name != key:
            yield (*layout.keys[place], json.dumps(name))
        if isinstance(old[key], Mapping) and isinstance(new[name], Mapping) and old[key] != new[name]:
            yield from _edits(layout, place, old[key], new[name])
        elif old[key] != new[name]:
            margin = _margin(layout, layout.keys[place][0])
            yield (*layout.values[place], _indented(new[name], margin))


def _removals(layout: Layout, path: Path, keys: list[str], kept: list[str]) -> Iterator[Edit]:
    """Cut out members with their commas and what is said of them in their line; other comments stay."""
    last = keys.index(kept[-1])
    if last < len(keys) - 1:
        yield _comma_behind(layout, (*path, keys[last]))
    for number, key in enumerate(keys):
        if key not in kept:
            place = (*path, key)
            start, end = layout.keys[place][0], layout.values[place][1]
            comma = _COMMA.match(layout.text, end) if number < len(keys) - 1 or number > last else None
            yield (*_whole_line(layout.text, start, comma.end() if comma else end), "")


def _comma_behind(layout: Layout, place: Path) -> Edit:
    """Cut out the comma behind a member that becomes the last."""
    comma = _COMMA.match(layout.text, layout.values[place][1])
    assert comma is not None  # another member follows
    at = layout.text.rindex(",", 0, comma.end())
    return at, at + 1, ""


def _whole_line(text: str, start: int, end: int) -> tuple[int, int]:
    """Widen to the line, its comment and its end, where a member has one to itself."""
    line = text.rfind("\n", 0, start) + 1
    rest = _REST_OF_LINE.match(text, end)
    return (line, rest.end()) if rest and not text[line:start].strip() else (start, end)


def _margin(layout: Layout, at: int) -> str:
    """Give what stands in front of a member: a line break and blanks, or one blank in an object of one line."""
    start = layout.text.rfind("\n", 0, at) + 1
    before = layout.text[start:at]
    return f"\n{before}" if start and not before.strip() else " "


def _indented(value: Any, margin: str) -> str:
    if not margin.startswith("\n"):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value, indent=4, ensure_ascii=False).replace("\n", margin)
