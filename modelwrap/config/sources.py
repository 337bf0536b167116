"""Where configs come from: files, folders, Python, and lists of these."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any, TypeAlias

from modelwrap.config.problems import Problems
from modelwrap.errors import ConfigError
from modelwrap.jsonc import DEEPEST, Document, Path, Position, parse
from modelwrap.paths import at_home
from modelwrap.suggestions import nearest

ModelConfigs: TypeAlias = "str | os.PathLike[str] | Mapping[str, Any] | list[Any] | tuple[Any, ...] | None"

OLD_NAMES = {"config_name": "name", "model_type": "type", "model": "model_name"}
"""What AgentScope's first files called a key; both names are taken."""

_NAMING = {"config_name", "model_type", "type"}

_LARGEST_FILE = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """Hold one config as it was written, and say where each of its keys stands."""

    data: Mapping[str, Any] = field(repr=False)
    source: str
    """The file, or the expression of Python that gave it."""
    path: Path = ()
    """Where it stands inside its source."""
    document: Document | None = field(default=None, repr=False)

    def value(self, key: str) -> Any:
        """Give what stands under a key of today, or under its old name."""
        return self.data.get(key, self.data.get(OLD_NAMES.get(key, "")))

    def place(self, path: Path = (), *, key: bool = False) -> str:
        """Say where a value stands, or its key; for what is not there, the object that lacks it."""
        if self.document is None:
            name = self.value("config_name")
            called = f' "{name}"' if isinstance(name, str) else ""
            return f"{self.source}{_dotted(self.path)}{called}"
        line, column = self.position(path, key=key)
        return f"{self.source}:{line}:{column}"

    def position(self, path: Path = (), *, key: bool = False) -> Position:
        """Give the line and column of a value, or of its key; a dict of Python has none."""
        if self.document is None:
            return 0, 0
        full = (*self.path, *self._written(path))
        while full not in self.document.positions:
            full = full[:-1]
        position = self.document.positions[full]
        return self.document.keys.get(full, position) if key else position

    def mistake(self, path: Path, message: str, *, key: bool = False) -> str:
        """Word a mistake: where it stands, under which key, and what it is."""
        path = self._written(path)
        label = _dotted(path if self.document is None else (*self.path, *path)).removeprefix(".")
        return f"{self.place(path, key=key)}: {label}{': ' if label else ''}{message}"

    def _written(self, path: Path) -> Path:
        """Give a path by the names that the config uses."""
        old = OLD_NAMES.get(str(path[0])) if path else None
        if old is not None and path[0] not in self.data and old in self.data:
            return (old, *path[1:])
        return path


def read(model_configs: ModelConfigs, problems: Problems) -> list[Entry]:
    """Read configs from a path, a folder (its *.json files by name), a dict, or a list of any of these.

    A file holds one config, a list of them, or `{"models": [...]}`; a dict one config or that. Mistakes go to
    `problems`.
    """
    return list(_read(model_configs, "model_configs", problems))


def _read(given: Any, name: str, problems: Problems) -> Iterator[Entry]:
    if given is None:
        return
    if name.count("[") > DEEPEST:
        problems.add(ConfigError(f"model_configs: this is nested more than {DEEPEST} deep"))
        return
    if isinstance(given, (str, os.PathLike)):
        yield from _read_path(os.fspath(given), problems)
    elif isinstance(given, Mapping):
        yield from entries(Document(given), name, problems, in_python=True)
    elif isinstance(given, (list, tuple)):
        for index, item in enumerate(given):
            yield from _read(item, f"{name}[{index}]", problems)
    else:
        problems.add(ConfigError(f"{name}: must be a path, a dict or a list of these, not {type(given).__name__}"))


def _read_path(given: str | bytes, problems: Problems) -> Iterator[Entry]:
    try:
        for file in _files(given):
            yield from _read_file(file, problems)
    except ConfigError as error:
        problems.add(error)
    except OSError as error:
        problems.add(_unreadable(given, error))


def _read_file(file: FilePath, problems: Problems) -> Iterator[Entry]:
    try:
        document = parse(content(file), str(file))
    except ConfigError as error:
        problems.add(error)
    except OSError as error:
        problems.add(_unreadable(file, error))
    else:
        yield from entries(document, str(file), problems)


def _files(given: str | bytes) -> list[FilePath]:
    if not given:
        # It would be read as the working folder.
        raise ConfigError("model_configs: the path is empty")
    if isinstance(given, str) and given.lstrip()[:1] in ("{", "["):
        raise ConfigError("model_configs: this is JSON, not the path of a file; give json.loads(…) of it")
    path = at_home(given)
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.glob("*.json") if not file.name.startswith(".") and not _is_schema(file))
    if not files:
        raise ConfigError(f"{path}: no *.json file is in this folder")
    return files


def _is_schema(file: FilePath) -> bool:
    """Tell the schema of configs, which may lie beside them for editors."""
    return file.name.endswith(".schema.json")


def content(file: FilePath) -> bytes:
    """Read a file of configs; `ConfigError` where it is none, or larger than any."""
    if file.exists() and not file.is_file():
        raise ConfigError(f"{file}: this is no file")
    try:
        with file.open("rb") as opened:
            content = opened.read(_LARGEST_FILE + 1)
    except FileNotFoundError:
        raise ConfigError(f"{file}: there is no such file (looked for from {FilePath.cwd()}){_meant(file)}") from None
    if len(content) > _LARGEST_FILE:
        raise ConfigError(f"{file}: larger than {_LARGEST_FILE // 1024 // 1024} MB; this is no model config")
    return content


def _unreadable(path: object, error: OSError) -> ConfigError:
    return ConfigError(f"{path}: cannot be read: {error.strerror or error}")


def _meant(file: FilePath) -> str:
    try:
        meant = nearest(file.name, (other.name for other in file.parent.iterdir() if other.exists()))
    except OSError:
        return "; the folder does not exist either"
    return f"; did you mean {file.with_name(meant)}?" if meant else ""


def entries(document: Document, source: str, problems: Problems, *, in_python: bool = False) -> Iterator[Entry]:
    """Find the configs in one value: the value itself, the items of a list, or those under "models"."""
    value: Any = document.value
    path: Path = ()
    known = None if in_python else document
    if isinstance(value, Mapping) and _is_collection(value):
        whole = Entry(value, source, (), known)
        for key in value:
            if key not in ("models", "$schema"):
                message = 'unknown key; beside "models" only "$schema" may stand'
                problems.add(ConfigError(whole.mistake((key,), message, key=True)))
        value, path = value["models"], ("models",)
    if isinstance(value, Mapping):
        yield Entry(value, source, path, known)
        return
    if not isinstance(value, (list, tuple)):
        place = Entry({}, source, path, known)
        problems.add(ConfigError(place.mistake((), "there must be a config { … } here, or a list of them [ … ]")))
        return
    for index, item in enumerate(value):
        entry = Entry(item, source, (*path, index), known)
        if isinstance(item, Mapping):
            yield entry
        else:
            problems.add(ConfigError(replace(entry, data={}).mistake((), "a config must be an object { … }")))


def _is_collection(value: Mapping[str, Any]) -> bool:
    """Tell a file's `{"models": [...]}` from a config of a type that has a key of that name."""
    return "models" in value and value.keys().isdisjoint(_NAMING)


def _dotted(path: Path) -> str:
    """Write a path as in JavaScript: `models[2].client_args`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
