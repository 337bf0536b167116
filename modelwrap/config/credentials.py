"""Keys in configs: read without being shown, told from placeholders, and sent only where they belong."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import BaseModel, PlainSerializer, PlainValidator, ValidationError, WithJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError

from modelwrap.errors import ConfigError, MissingSecret
from modelwrap.jsonc import Path, holds_secret
from modelwrap.secrets import HIDDEN, Secret, reveal
from modelwrap.suggestions import nearest
from modelwrap.wire.http import wrong_header

if TYPE_CHECKING:
    from modelwrap.config.fields import ModelConfig

_NO_HEADER = re.compile(r"[^\x20-\x7e]")
_SCHEME = re.compile(r"^(?:bearer|basic|token|key)\s+", re.IGNORECASE)
_KEY_ENDING = re.compile(r"_?(?:API_?)?(?:KEY|TOKEN|SECRET)$", re.IGNORECASE)
_PLACEHOLDER = re.compile(
    r"""(?:sk-|hf_|gsk_)?[x*.…]{3,}             # xxx  sk-xxxx  ***  …
      | (?:sk-|hf_|gsk_)?[x*.…]*…[x*.…]*
      | [{<\[].*[}>\]]                          # {YOUR_API_TOKEN}  <your key>
      | .*\byour[-_ ]?.*(?:key|token|secret).*  # YOUR_API_KEY
      | (?:(?:my|the|insert|put|replace)[-_ ]?)*(?:api)?[-_ ]?(?:key|token)(?:[-_ ]?(?:here|goes[-_ ]here))?
      | change[-_ ]?me | replace[-_ ]?me | todo
      | (?-i:\$?[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*_(?:KEY|TOKEN)|%[A-Z0-9_]+%)  # OPENAI_API_KEY: its name, not its value""",
    re.IGNORECASE | re.VERBOSE,
)


def mistake(message: str, *path: str) -> ValidationError:
    """Make an error of validation that stands at a key below the one being validated; it repeats no value."""
    return mistakes([(path, message)])


def mistakes(found: Iterable[tuple[Path, str]]) -> ValidationError:
    """Make one error of several mistakes, each at its place below the key being validated."""
    details = [
        InitErrorDetails(type=PydanticCustomError("mistake", "{message}", {"message": message}), loc=path, input=None)
        for path, message in found
    ]
    return ValidationError.from_exception_data("", details)


def unknown(*paths: Path) -> ValidationError:
    """Make an error of validation that calls keys unknown, as pydantic does of itself."""
    lines = [InitErrorDetails(type="extra_forbidden", loc=path, input=None) for path in paths]
    return ValidationError.from_exception_data("", lines)


def to_secret(value: object) -> Secret:
    """Take a text that is never to be shown."""
    if not isinstance(value, (str, Secret)):
        raise mistake("must be a string")
    text = _carried(reveal(value))
    return Secret("" if text.upper() == "EMPTY" else text)


def _headers(value: object) -> dict[str, str | Secret]:
    if not isinstance(value, Mapping):
        raise mistake("must be an object of header names and texts")
    return {name: _header(_name(name), text) for name, text in value.items()}


def _arguments(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise mistake("must be an object")
    return {
        name: Secret(text) if isinstance(text, str) and holds_secret(_name(name)) else text
        for name, text in value.items()
    }


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise mistake(f"{name!r}: a name must be a string")
    return name


def _header(name: str, value: object) -> str | Secret:
    if wrong := wrong_header(name):
        raise mistake(f"{name!r}: {wrong}")
    if not isinstance(value, (str, Secret)):
        raise mistake("must be a string", name)
    text = _carried(reveal(value), name)
    return Secret(text) if isinstance(value, Secret) or holds_secret(name) else text


def header_text(value: object) -> object:
    """Take a text that goes out as a header, though it is no credential."""
    return _carried(value) if isinstance(value, str) else value


def _carried(text: str, *path: str) -> str:
    """Give what a header can carry of a text; a placeholder must get as far as the provider's refusal."""
    text = text.strip()
    if is_placeholder(text):
        text = text.replace("…", "...")
    if _NO_HEADER.search(text):
        raise mistake("holds a character that no header can carry; was something else copied with it?", *path)
    return text


def hide(value: object) -> object:
    return HIDDEN if isinstance(value, Secret) else value


def hide_secrets(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: HIDDEN if isinstance(value, Secret) else value for name, value in values.items()}


SecretString: TypeAlias = Annotated[
    Secret,
    PlainValidator(to_secret),
    PlainSerializer(hide, when_used="json"),
    WithJsonSchema({"type": "string"}),
]
"""A key of a config whose value is never shown; `EMPTY` and the empty string make a Secret that is false."""

Headers: TypeAlias = Annotated[
    dict[str, str | Secret],
    PlainValidator(_headers),
    PlainSerializer(hide_secrets, when_used="json"),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "string"}}),
]
"""Headers by name; those that carry a credential by their name are Secrets."""

Arguments: TypeAlias = Annotated[
    dict[str, Any],
    PlainValidator(_arguments),
    PlainSerializer(hide_secrets, when_used="json"),
    WithJsonSchema({"type": "object", "additionalProperties": True}),
]
"""Values that go into a request's JSON; texts that are a credential by their name are Secrets."""


def is_placeholder(value: str | Secret) -> bool:
    """Tell whether a text stands where a key should be, as in `sk-xxx`, `{YOUR_API_TOKEN}` or `<your key>`."""
    return bool(_PLACEHOLDER.fullmatch(_SCHEME.sub("", reveal(value).strip())))


def secrets_in(value: Any, path: Path = ()) -> Iterator[tuple[Path, Secret]]:
    """Find every Secret inside a config."""
    if isinstance(value, Secret):
        yield path, value
    elif isinstance(value, BaseModel):
        for name in (*type(value).model_fields, *(value.model_extra or {})):
            yield from secrets_in(getattr(value, name), (*path, name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from secrets_in(item, (*path, key))


def key_from(config: ModelConfig, variable: str, host_is_the_providers: bool) -> Secret | None:
    """Choose the key to send: the config's, or on the provider's own host that of its environment variable.

    None means that none is to be sent. A key from the environment never goes to somebody else's host.
    """
    if config.api_key is not None:
        return config.api_key or None
    if not host_is_the_providers:
        return None
    if found := key_of_environment(variable):
        return found
    raise MissingSecret(f"api_key: no api_key, and {variable} is not set{meant_variable(variable)}", variable)


def key_of_environment(variable: str) -> Secret | None:
    """Read a key from the environment; None where there is none."""
    found = os.environ.get(variable, "").strip()
    if _NO_HEADER.search(found):
        raise ConfigError(f"{variable} holds a character that no header can carry; was something else copied with it?")
    return Secret(found) if found else None


def meant_variable(name: str) -> str:
    """Say which variable of the environment was probably meant; empty where none is like it."""
    others = {known: _owner(known) for known, value in os.environ.items() if value and known != name}
    meant = nearest(name, (known for known, owner in others.items() if nearest(_owner(name), [owner])))
    return f"; did you mean {meant}?" if meant else ""


def _owner(variable: str) -> str:
    """Name whose key a variable holds: another's is not meant, however much the names end alike."""
    return _KEY_ENDING.sub("", variable) or variable
