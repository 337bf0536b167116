"""`${VAR}` and `${VAR:-default}` in the strings of a config."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from modelwrap.config.credentials import meant_variable
from modelwrap.errors import ConfigError, MissingSecret
from modelwrap.jsonc import DEEPEST, Path, holds_secret

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^{}]*))?\})?")

_SURROGATE = re.compile(r"[\ud800-\udfff]")


def expanded(value: Any, report: Callable[[Path, ConfigError], None], path: Path = ()) -> Any:
    """Copy a JSON value with the variables in its strings replaced; keys stay as they are.

    Mistakes go to `report`; a string then stays as it was, and what is too deep is left out.
    """
    if len(path) > DEEPEST:
        report(path[:1], ConfigError(f"this is nested more than {DEEPEST} deep"))
        return None
    if isinstance(value, str):
        try:
            text = _REFERENCE.sub(_replacement, value) if "${" in value else value
            # As a variable gives it whose bytes are no UTF-8.
            if not text.isascii() and _SURROGATE.search(text):
                report(path, ConfigError("holds half of a surrogate pair, which is no character"))
                return _SURROGATE.sub("?", text)
            return text
        except _Unset as unset:
            report(path, _unset_error(unset.name, path))
        except ValueError as error:
            report(path, ConfigError(str(error)))
    elif isinstance(value, Mapping):
        return {key: expanded(item, report, (*path, key)) for key, item in value.items()}
    elif isinstance(value, (list, tuple)):
        return [expanded(item, report, (*path, index)) for index, item in enumerate(value)]
    return value


class _Unset(Exception):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _replacement(reference: re.Match[str]) -> str:
    if reference[0] == "$${":
        return "${"
    name, default = reference["name"], reference["default"]
    if name is None:
        raise ValueError("${ begins a variable, as in ${NAME} or ${NAME:-default}; the characters themselves are $${")
    value = os.environ.get(name)
    if default is not None:
        return value or default
    if value is None:
        raise _Unset(name)
    return value


def _unset_error(name: str, path: Path) -> ConfigError:
    secret = any(isinstance(key, str) and holds_secret(key) for key in path)
    meant = meant_variable(name) or f"; set it, or give a default: ${{{name}:-…}}"
    message = f"${{{name}}} is not set{meant}"
    return MissingSecret(message, name) if secret else ConfigError(message)
