"""From configs to models under names: `load` gives them, `init` keeps them for the whole process."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import Any, Self, TypeAlias

from modelwrap.config import Entry, ModelConfig, Problems, Validated, read, validate
from modelwrap.config.sources import ModelConfigs
from modelwrap.config.validation import named
from modelwrap.errors import ConfigError, UnknownModel
from modelwrap.models.base import Model
from modelwrap.plugins import load_plugin
from modelwrap.policies.retry import Retry
from modelwrap.runtime.lock import Lock
from modelwrap.suggestions import nearest

Plugins: TypeAlias = "str | os.PathLike[str] | Iterable[str | os.PathLike[str] | ModuleType]"


@dataclass(frozen=True, slots=True)
class _Built:
    model: Model
    config: ModelConfig
    place: str
    given: object = None
    """The objects that it was made of beside its config, if any."""

    def same(self, config: ModelConfig, given: object = None) -> bool:
        """Tell whether another would be made of the same."""
        return self.config == config and self.given == given


class Models(Mapping[str, Model]):
    """Map names to models; as a context manager it closes them at the end."""

    def __init__(self) -> None:
        self._built: dict[str, _Built] = {}
        self._stand_ins: dict[str, tuple[Model, ...]] = {}

    def __getitem__(self, name: str) -> Model:
        if stand_ins := self._stand_ins.get(name):
            return stand_ins[-1]
        built = self._built.get(name)
        if built is None:
            raise self._unknown(name)
        return built.model

    def __iter__(self) -> Iterator[str]:
        return iter({**self._built, **self._stand_ins})

    def __len__(self) -> int:
        return len(self._built.keys() | self._stand_ins.keys())

    def __repr__(self) -> str:
        return f"<Models {_listed(self) or 'none'}>"

    def config(self, name: str) -> ModelConfig:
        """Give the config behind a name."""
        built = self._built.get(name)
        if built is None and name in self._stand_ins:
            raise UnknownModel(f"{name!r} is a stand-in, which has no config")
        if built is None:
            raise self._unknown(name)
        return built.config

    def close(self) -> None:
        """Free what the models hold; they can be called again afterwards."""
        for built in self._built.values():
            built.model.close()

    async def aclose(self) -> None:
        """Free what the models hold, on the running loop too."""
        for built in self._built.values():
            await built.model.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def _unknown(self, name: str) -> UnknownModel:
        if not self:
            return UnknownModel("no models are loaded; call modelwrap.init(model_configs=…) first")
        models = {known: built.config.model for known, built in self._built.items()}
        return no_such_model(name, {**dict.fromkeys(self, ""), **models})


def no_such_model(name: str, known: Mapping[str, str]) -> UnknownModel:
    """Say what was probably meant by a name; `known` are the names that there are, each with its model."""
    same_model = [config_name for config_name, model in known.items() if model == name]
    if same_model:
        return UnknownModel(f"{name!r} is not a config_name but a model; the configs for it are {_listed(same_model)}")
    meant = nearest(str(name), known)
    question = f"did you mean {meant!r}? " if meant else ""
    return UnknownModel(f"there is no model {name!r}; {question}loaded are {_listed(known)}")


_process = Models()
_lock = Lock()


def load(model_configs: ModelConfigs, *, plugins: Plugins = ()) -> Models:
    """Make the models that configs name.

    `model_configs` is a path, a folder, a dict, or a list of any of these. `plugins` are Python files that register
    model types. `ConfigError` names every mistake with its place, and then nothing is made.
    """
    _load_plugins(plugins)
    models = Models()
    problems = Problems()
    models._built = _build(read(model_configs, problems), problems, {})
    return models


@dataclass(frozen=True, slots=True)
class Unready:
    """Be a config that lacks nothing but keys or packages."""

    name: str
    model_type: str
    model: str
    problems: Problems


def load_ready(model_configs: ModelConfigs, *, plugins: Plugins = ()) -> tuple[Models, list[Unready]]:
    """Make the models whose keys and packages are here, and name the others; any other mistake is an error."""
    _load_plugins(plugins)
    problems = Problems()
    models = Models()
    unready: list[Unready] = []
    first: dict[str, Entry] = {}
    for entry in read(model_configs, problems):
        name, model_type, model = named(entry)
        known = first.setdefault(name, entry)
        tried = Problems()
        models._built.update(_collected([entry], tried, models._built))
        if known is not entry and (tried.lacks or any(one.name == name for one in unready)):
            if known.data != entry.data:
                taken = _taken_by(name, known.place(("config_name",)))
                problems.add(ConfigError(entry.mistake(("config_name",), taken)))
        elif tried.lacks:
            unready.append(Unready(name, model_type, model, tried))
        else:
            problems.take(tried)
    if problems:
        models.close()
    problems.raise_any()
    return models, unready


def init(model_configs: ModelConfigs = None, *, plugins: Plugins = (), replace: bool = False) -> Models:
    """Make the models that configs name and keep them for `get_model`, beside those that are kept already.

    A name that is kept with equal content stays; with other content it is an error, unless `replace` is true.
    """
    _load_plugins(plugins)
    with _lock:
        known = _process._built
        problems = Problems()
        built = _build(read(model_configs, problems), problems, known, replace=replace)
        # Put in place at once, so that readers need no lock and an error above changes nothing. What was made of them
        # may have called `init` itself.
        _process._built = {**_process._built, **built}
    for name in known.keys() & built.keys():
        known[name].model.close()
    return _process


def keep(model_config: dict[str, Any], given: object, *, replace: bool = False) -> Model:
    """Make a model of a config and of objects that go with it, and keep it for `get_model` by the rules of `init`."""
    problems = Problems()
    found = validate(read(model_config, problems), problems)
    problems.raise_any()
    (validated,) = found
    config = validated.config
    with _lock:
        earlier = _process._built.get(config.config_name)
        if earlier is not None and earlier.same(config, given):
            return earlier.model
        if earlier is not None and not replace:
            hint = "; replace=True puts this in its place"
            raise validated.located(_taken(validated, earlier.place, hint))
        built = _made(validated, given)
        _process._built = {**_process._built, config.config_name: built}
    if earlier is not None:
        earlier.model.close()
    return built.model


def get_model(name: str) -> Model:
    """Give the model that `init` keeps under a name."""
    return _process[name]


def clear() -> None:
    """Forget every model that `init` keeps, and free what they hold."""
    with _lock:
        known, _process._built = _process._built, {}
    for built in known.values():
        built.model.close()


@contextmanager
def stand_in(name: str, model: Model) -> Iterator[Model]:
    """Let `get_model(name)` give another model while the block lasts, whatever configs say."""
    with _lock:
        _process._stand_ins = {**_process._stand_ins, name: (*_process._stand_ins.get(name, ()), model)}
    try:
        yield model
    finally:
        # Blocks of threads and tasks end in any order, so each takes out its own.
        with _lock:
            left = list(_process._stand_ins[name])
            left.remove(model)
            others = {other: models for other, models in _process._stand_ins.items() if other != name}
            _process._stand_ins = {**others, name: tuple(left)} if left else others


def _load_plugins(plugins: Plugins) -> None:
    # A string is an iterable of strings, too.
    for plugin in (plugins,) if isinstance(plugins, (str, os.PathLike)) else plugins:
        load_plugin(plugin)


def _build(
    entries: Iterable[Entry], problems: Problems, known: Mapping[str, _Built], *, replace: bool = False
) -> dict[str, _Built]:
    """Make every model or none; those that `known` holds with equal content are not made again."""
    hint = "; init(…, replace=True) puts this in its place"
    built = _collected(entries, problems, known, replace=replace, hint=hint)
    if problems:
        for one in built.values():
            one.model.close()
    problems.raise_any()
    return built


def _collected(
    entries: Iterable[Entry], problems: Problems, known: Mapping[str, _Built], *, replace: bool = False, hint: str = ""
) -> dict[str, _Built]:
    """Make the models that can be made; the mistakes in others go to `problems`."""
    built: dict[str, _Built] = {}
    for validated in _distinct(validate(entries, problems), problems):
        earlier = known.get(validated.config.config_name)
        if earlier is not None and earlier.same(validated.config):
            continue
        if earlier is not None and not replace:
            problems.add(validated.located(_taken(validated, earlier.place, hint)))
            continue
        try:
            built[validated.config.config_name] = _made(validated)
        except ConfigError as error:
            problems.add(validated.located(error))
    return built


def _distinct(found: Iterable[Validated], problems: Problems) -> Iterable[Validated]:
    """Keep one of equal configs, and report those that share nothing but their name."""
    distinct: dict[str, Validated] = {}
    for validated in found:
        first = distinct.setdefault(validated.config.config_name, validated)
        if first.config != validated.config:
            problems.add(validated.located(_taken(validated, first.entry.place(("config_name",)))))
    return distinct.values()


def _taken(validated: Validated, place: str, hint: str = "") -> ConfigError:
    name = validated.config.config_name
    return ConfigError(f"config_name: {_taken_by(name, place)}{hint}")


def _taken_by(name: str, place: str) -> str:
    return f"{name!r} stands for something else already, at {place}"


def _made(validated: Validated, given: object = None) -> _Built:
    """Make one model, in the one order: its class from the registry, its config, then retry around it."""
    make = validated.model_class.from_config
    model = make(validated.config) if given is None else make(validated.config, given)
    if not isinstance(model, Model):
        name = validated.config.model_type
        raise ConfigError(f"model_type: the class of {name!r} made {type(model).__name__} of a config, not a Model")
    return _Built(Retry(model), validated.config, validated.entry.place(("config_name",)), given)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
