"""Python files of a user's that register model types."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from types import ModuleType

from modelwrap.errors import ConfigError
from modelwrap.paths import at_home
from modelwrap.runtime.lock import Lock

_running = Lock()
"""Held while a plugin runs, which may load others."""


def load_plugin(plugin: str | os.PathLike[str] | ModuleType) -> ModuleType:
    """Run a Python file that registers model types; a file is run once, a module object is taken as it is."""
    if isinstance(plugin, ModuleType):
        return plugin
    if not isinstance(plugin, (str, os.PathLike)):
        raise ConfigError(f"a plugin is the path of a Python file, or a module, not {type(plugin).__name__}")
    path = Path(os.path.realpath(at_home(plugin)))
    # Not by methods of a path, which raise where a link leads to itself or a name is too long for any file.
    if path.suffix != ".py" or not os.path.isfile(path):  # noqa: PTH113
        raise ConfigError(f"plugin {path}: there is no such Python file")
    digest = hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    name = f"modelwrap_plugin_{path.stem}_{digest}"
    with _running:
        # A module is there from its first line on, and of use after its last.
        return sys.modules.get(name) or _run(path, name)


def _run(path: Path, name: str) -> ModuleType:
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    # Pickle, dataclasses and type checkers at run time look a class's module up here.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:  # also after Ctrl-C no half of a module may stay
        del sys.modules[name]
        # Whatever somebody else's file raises, the mistake is in how this run was set up.
        if isinstance(error, Exception) and not isinstance(error, ConfigError):
            raise ConfigError(f"plugin {path}: {type(error).__name__}: {error}") from error
        raise
    return module
