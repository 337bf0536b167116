"""Models of one's own, registered in Python under names that configs may use."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from modelwrap.errors import ConfigError
from modelwrap.suggestions import nearest

_entries: dict[str, Any] = {}


def register_entry(name: str, target: Any, *, replace: bool = False) -> None:
    """Let configs of the type `transformers` say `"entry": name`.

    `target` is what the model is made of: hooks (a dict or an object with `model_name`, `model`, `encode`, …), a
    function that gives such hooks, or a class with `inference(batch, temperature)`. A function or class is called with
    the config's `entry_args`, once for each replica. Hooks without a `model` lie over what the config loads.
    """
    if not name:
        raise ConfigError("an entry is registered under a name, as in register_entry('mine', Mine)")
    known = _entries.get(name)
    if known is not None and known is not target and not replace:
        raise ConfigError(f"entry {name!r} is registered already; register_entry(…, replace=True) takes its place")
    _entries[name] = target


def entry(name: str) -> Any:
    """Give what is registered under a name."""
    if name not in _entries:
        meant = nearest(name, _entries)
        question = f"did you mean {meant!r}? " if meant else ""
        known = ", ".join(map(repr, _entries)) or "none"
        raise ConfigError(f"entry: nothing is registered as {name!r}; {question}known are {known}")
    return _entries[name]


def made(target: Any, arguments: Sequence[Any] | Mapping[str, Any]) -> Any:
    """Make of what was registered what a replica works with."""
    if not (inspect.isclass(target) or inspect.isroutine(target)):
        return target
    return target(**arguments) if isinstance(arguments, Mapping) else target(*arguments)


def brings_model(target: Any) -> bool:
    """Tell whether it needs no weights but its own; of a function only its answer will tell, so it is taken to."""
    if inspect.isclass(target) or inspect.isroutine(target):
        return True
    return _of(target, "model") is not None


def laid_over(hooks: Any, loaded: Any) -> dict[str, Any]:
    """Take from hooks what they have, and the rest from what was loaded."""
    names = {name for source in (hooks, loaded) for name in _names(source)}
    found = {name: _of(hooks, name) for name in names}
    return {name: _of(loaded, name) if value is None else value for name, value in found.items()}


def _of(source: Any, name: str) -> Any:
    return source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)


def _names(source: Any) -> list[str]:
    if isinstance(source, Mapping):
        return list(source)
    return [name for name in dir(source) if not name.startswith("_")]
