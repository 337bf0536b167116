"""Models of objects that the caller holds, kept under names beside those of configs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelwrap import factory
from modelwrap.errors import ConfigError
from modelwrap.plugins import load_plugin
from modelwrap.suggestions import nearest

if TYPE_CHECKING:
    from modelwrap.models.base import Model

ENTRYPOINT_VARIABLE = "ENTRYPOINT"
_USUAL_FILE = "model_entrypoint.py"
_HOLDER = "model_info"


def from_transformers(
    model_info: Any = None, /, *, name: str | None = None, replace: bool = False, **given: Any
) -> Model:
    """Make a model of objects that you hold, and keep it: `get_model(name)` finds it afterwards.

    `given` are hooks by their names: `model`, `tokenizer` or `processor`, and any of `model_name`, `encode`, `decode`,
    `generate`, `apply_chat_template`, their `…_kwargs`, `end_of_text` and `batchable`; `model_info` is a dict or an
    object with the same. Where `model` is a text, it is loaded as a config's would be. Whatever else is given is a key
    of configs of the type `transformers`, as in `batch_size=16`. The name is `model_name` if no other is given.

    The same objects given twice are nothing; others under a name that is taken are a `ConfigError`, unless `replace`.
    """
    from modelwrap.local.transformers.entries import HOOKS, Given, attribute, brings_model, hooks_of

    # A chat template is a key of configs as well, and is taken as one.
    hooks = {key: given[key] for key in HOOKS & given.keys() - {"chat_template"} if given[key] is not None}
    options = {key: value for key, value in given.items() if key not in HOOKS or key == "chat_template"}
    info: Any = {**hooks_of(model_info), **hooks} if hooks and model_info is not None else hooks or model_info
    _check_spelt([*options, *(model_info if isinstance(model_info, Mapping) else ())])
    if info is None:
        raise ConfigError("from_transformers: give model=… and tokenizer=… or processor=…, or a model_info")
    source = attribute(info, "model")
    if isinstance(source, (str, os.PathLike)):
        info, model = {key: value for key, value in hooks_of(info).items() if key != "model"}, os.fspath(source)
    elif isinstance(info, type) or brings_model(info):
        model = _name_of(info, source) or name
        if source is not None and attribute(info, "model_name") is None:
            info = {**hooks_of(info), "model_name": model}
    else:
        raise ConfigError("from_transformers: there is no model=… among what was given")
    config = {"config_name": name or model, "model_type": "transformers", "model": model, **options}
    return factory.keep(config, Given(info), replace=replace)


def from_entrypoint(
    path: str | os.PathLike[str] | None = None, *, name: str | None = None, replace: bool = False
) -> Model:
    """Run a Python file that sets `model_info`, and make a model of that.

    The file is `path`, else the one that the variable ENTRYPOINT names, else `model_entrypoint.py` in the working
    folder.
    """
    file = Path(path or os.environ.get(ENTRYPOINT_VARIABLE) or _USUAL_FILE)
    module = load_plugin(file)
    info = getattr(module, _HOLDER, None)
    if info is None:
        raise ConfigError(f"{file}: sets no {_HOLDER}, which holds the model and its hooks")
    return from_transformers(info, name=name, replace=replace)


def _check_spelt(names: Iterable[object]) -> None:
    """Refuse what is neither a hook nor a key of a config, and nearly a hook."""
    from modelwrap.local.transformers.config import TransformersConfig
    from modelwrap.local.transformers.entries import HOOKS

    for name in names:
        meant = nearest(str(name), {*HOOKS, *TransformersConfig.model_fields})
        if meant in HOOKS and name not in HOOKS:
            raise ConfigError(f"from_transformers: unknown name {name!r}; did you mean {meant!r}?")


def _name_of(info: Any, model: Any) -> str:
    """Give the name that replies have for a model: the one given, or what the model itself says."""
    from modelwrap.local.transformers.entries import attribute

    own = getattr(getattr(model, "config", None), "name_or_path", None)
    named = attribute(info, "model_name") or own or getattr(info, "__name__", None) or type(model or info).__name__
    return str(named)
