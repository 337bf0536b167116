"""From what was written to what is meant: old names taken, every mistake worded with its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from modelwrap import registry
from modelwrap.config.fields import ModelConfig
from modelwrap.config.older import rewritten
from modelwrap.config.problems import Problems
from modelwrap.config.sources import OLD_NAMES, Entry
from modelwrap.config.variables import expanded
from modelwrap.config.words import hint_for_missing, mistake_in_words, part_at, unknown_key
from modelwrap.errors import ConfigError, UnknownModelType, warn
from modelwrap.jsonc import Path, holds_secret
from modelwrap.secrets import Scrubber, Secret

_NAMES = frozenset([*OLD_NAMES, *OLD_NAMES.values()])
_THREE = [(key, OLD_NAMES[key]) for key in ("config_name", "model_type", "model")]
_KEY_IN_FRONT = re.compile(r"([a-z_]+(?:\.[\w-]+)*): ")


@dataclass(frozen=True, slots=True)
class Validated:
    """Hold a config that is in order, and the class that its model is made of."""

    config: ModelConfig
    model_class: type[Any]
    entry: Entry

    def located(self, error: ConfigError) -> ConfigError:
        """Add the place to an error that was raised while the model was made.

        A key of the config in front of its message, as in `client_args.base_url: …`, is looked up.
        """
        message = str(error)
        found = _KEY_IN_FRONT.match(message)
        path: Path = ()
        if found and found[1].partition(".")[0] in type(self.config).model_fields:
            path, message = tuple(found[1].split(".")), message[found.end() :]
        error.args = (self.entry.mistake(path, message),)
        return error


def validate(entries: Iterable[Entry], problems: Problems) -> list[Validated]:
    """Check configs against their model types; mistakes go to `problems`."""
    found = (_Validation(entry, problems).result() for entry in entries)
    return [validated for validated in found if validated is not None]


def named(entry: Entry) -> tuple[str, str, str]:
    """Give the name, the model type and the model of a config that need not be in order, in today's words."""
    data = expanded(rewritten(entry.data).data, lambda path, error: None)
    name, model_type, model = (str(data.get(key, data.get(old)) or "") for key, old in _THREE)
    return name, registry.canonical(model_type), model or name


def config_class_of(model_class: type[Any]) -> type[ModelConfig]:
    """Give the class of a model type's configs; one that declares none has the common keys."""
    config_class: Any = getattr(model_class, "Config", ModelConfig)
    if not (isinstance(config_class, type) and issubclass(config_class, ModelConfig)):
        raise ConfigError(f"{model_class.__name__}.Config must be a subclass of modelwrap.config.ModelConfig")
    return config_class


@dataclass(slots=True)
class _Validation:
    """Check one config."""

    entry: Entry
    problems: Problems
    data: dict[str, Any] = field(default_factory=dict, repr=False)
    unexpanded: set[Path] = field(default_factory=set)
    failed: bool = False
    scrub: Callable[[str], str] = str

    def result(self) -> Validated | None:
        modern = rewritten(self.entry.data)
        for path, message in modern.mistakes:
            self.report(path, ConfigError(message))
        if self.failed:
            return None
        for path, message in modern.lost:
            self.warn(path, message)
        self.data = expanded(modern.data, self.report_variable)
        self.data.pop("$schema", None)
        self.data = _without_nulls(self.data, _NAMES)
        self.scrub = Scrubber(Secret(text) for text in _secret_texts(self.data))
        model_class = self.model_class()
        if model_class is None:
            return None
        try:
            config_class = config_class_of(model_class)
        except ConfigError as error:
            self.report(("model_type",), error)
            return None
        self.take_old_keys(config_class)
        self.drop_nulls(config_class)
        self.data["model_type"] = registry.canonical(self.data["model_type"])
        config = self.config(config_class)
        if config is None or self.failed:
            return None
        for path, message in config.remarks():
            self.warn(path, message)
        return Validated(config, model_class, self.entry)

    def report_variable(self, path: Path, error: ConfigError) -> None:
        self.unexpanded.add(path)
        self.report(path, error)

    def report(self, path: Path, error: ConfigError, *, key: bool = False) -> None:
        self.failed = True
        error.args = (self.scrub(self.entry.mistake(path, str(error), key=key)),)
        self.problems.add(error)

    def model_class(self) -> type[Any] | None:
        name = self.data.get("model_type", self.data.get("type"))
        if name is None:
            known = ", ".join(registry.names())
            meant = '; with an api_url it is "post_api"' if "api_url" in self.data else ""
            self.report((), ConfigError(f"model_type is missing; known are {known}{meant}"))
            return None
        if not isinstance(name, str):
            self.report(("model_type",), ConfigError("must be a string"))
            return None
        try:
            return registry.resolve(name)
        except UnknownModelType as error:
            self.report(("model_type",), _meant_preset(name) or error)
            return None
        except ConfigError as error:
            self.report(("model_type",), error)
            return None

    def take_old_keys(self, config_class: type[ModelConfig]) -> None:
        for name, old in OLD_NAMES.items():
            if old not in self.data or old in config_class.model_fields:
                continue
            value = self.data.pop(old)
            if not same_meaning(name, self.data.setdefault(name, value), value):
                self.report((old,), ConfigError(f'differs from "{name}", which means the same; keep one'), key=True)
        if "budget" in self.data and "budget" not in config_class.model_fields:
            del self.data["budget"]
            self.warn(("budget",), "is not enforced by anything here; take it out")

    def drop_nulls(self, config_class: type[ModelConfig]) -> None:
        """Take null for "not given" where a key is known."""
        self.data = _without_nulls(self.data, config_class.model_fields)
        part = part_at(config_class, ("client_args",))
        if part is not None and isinstance(client_args := self.data.get("client_args"), dict):
            self.data["client_args"] = _without_nulls(client_args, part.model_fields)

    def config(self, config_class: type[ModelConfig]) -> ModelConfig | None:
        try:
            return config_class.model_validate(self.data)
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)
            for details in sorted(found, key=lambda details: self.entry.position(details["loc"], key=True)):
                self.report_invalid(details, config_class)
            return None

    def report_invalid(self, details: ErrorDetails, config_class: type[ModelConfig]) -> None:
        path, kind = details["loc"], details["type"]
        follows = kind == "default_factory_not_called"
        if follows or any(path[: len(known)] == known for known in self.unexpanded):
            return
        if kind == "extra_forbidden":
            self.report(path, ConfigError(unknown_key(path, config_class)), key=True)
        elif kind == "missing":
            # The object that lacks it is the place; the key is not there to be pointed at.
            self.report(path[:-1], ConfigError(f"{path[-1]} is missing{hint_for_missing(path)}"))
        else:
            self.report(path, ConfigError(mistake_in_words(details, self.data)))

    def warn(self, path: Path, message: str) -> None:
        warn(self.entry.mistake(path, message))


def _meant_preset(name: str) -> UnknownModelType | None:
    """Say where the name of a host belongs that stands in the place of a model type."""
    from modelwrap.capabilities import presets

    if name not in presets():
        return None
    where = f'write "openai" here, and "preset": "{name}" beside it'
    return UnknownModelType(f"there is no model type {name!r}; it is a preset: {where}")


def same_meaning(name: str, one: Any, other: Any) -> bool:
    """Tell whether two values of a key say the same; a model type may have several names."""
    if name == "model_type" and isinstance(one, str) and isinstance(other, str):
        return registry.canonical(one) == registry.canonical(other)
    return bool(one == other)


def _without_nulls(data: dict[str, Any], known: Container[str]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if value is not None or name not in known}


def _secret_texts(value: Any, *, secret: bool = False) -> Iterator[str]:
    """Find the texts under keys that may hold a credential."""
    if isinstance(value, str) and secret:
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _secret_texts(item, secret=secret or (isinstance(key, str) and holds_secret(key)))
    elif isinstance(value, list):
        for item in value:
            yield from _secret_texts(item, secret=secret)
