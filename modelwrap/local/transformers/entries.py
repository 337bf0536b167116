"""Models of one's own, registered in Python under names that configs may use."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

from modelwrap.errors import ConfigError
from modelwrap.suggestions import nearest

HOOKS = frozenset(
    {
        *("model_name", "model", "tokenizer", "processor", "encode", "encode_kwargs", "decode", "decode_kwargs"),
        *("generate", "generate_kwargs", "apply_chat_template", "apply_chat_template_kwargs", "end_of_text"),
        *("batchable", "chat_template"),
    }
)
"""The names under which hooks are looked for."""

# What says nothing by its identity: a method is another object each time that somebody names it.
_COMPARED = (str, int, dict, MethodType)

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
        known = ", ".join(map(repr, _entries))
        known = f"known are {known}" if known else "a plugin registers it: --plugin FILE.py, or init(…, plugins=[…])"
        raise ConfigError(f"entry: nothing is registered as {name!r}; {question}{known}")
    return _entries[name]


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """Hold objects that a model is made of; another that holds the same objects is equal."""

    info: Any
    """Hooks by their names, or an object that has them."""

    @property
    def brings_model(self) -> bool:
        return inspect.isclass(self.info) or brings_model(self.info)

    @property
    def is_one_object(self) -> bool:
        """Whether the model is there already, and there once."""
        return not inspect.isclass(self.info) and brings_model(self.info)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Given):
            return NotImplemented
        mine, others = self.info, other.info
        if not (isinstance(mine, dict) and isinstance(others, dict)):
            return mine is others
        # By identity: what these objects call equal may cost much, or be no yes or no.
        return mine.keys() == others.keys() and all(
            value is others[name] or (isinstance(value, _COMPARED) and value == others[name])
            for name, value in mine.items()
        )

    __hash__ = None  # type: ignore[assignment] # what holds dicts has none


def made(target: Any, arguments: Sequence[Any] | Mapping[str, Any], device: str) -> Any:
    """Make of what was registered what a replica works with; a function that has a `device` is given that."""
    if not _is_called(target):
        return target
    given, named = ([], dict(arguments)) if isinstance(arguments, Mapping) else (list(arguments), {})
    if not inspect.isclass(target) and "device" in inspect.signature(target).parameters:
        named.setdefault("device", device)
    return target(*given, **named)


def brings_model(info: Any) -> bool:
    """Tell whether it needs no weights but its own."""
    return attribute(info, "model") is not None or attribute(info, "inference") is not None


def laid_over(hooks: Any, info: Any) -> dict[str, Any]:
    """Take from hooks what they have, and the rest from elsewhere."""
    return {**hooks_of(info), **hooks_of(hooks)}


def hooks_of(info: Any) -> dict[str, Any]:
    """Give by their names the hooks that a dict or an object has."""
    found = {name: attribute(info, name) for name in HOOKS}
    return {name: value for name, value in found.items() if value is not None}


def attribute(info: Any, name: str) -> Any:
    """Give what hooks have under a name, whether they are a dict or an object."""
    return info.get(name) if isinstance(info, Mapping) else getattr(info, name, None)


def _is_called(target: Any) -> bool:
    return inspect.isclass(target) or inspect.isroutine(target)
