"""The keys that every config has. A model type adds its own by subclassing `ModelConfig`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    model_validator,
)

from modelwrap.config.credentials import (
    Headers,
    SecretString,
    header_text,
    hide,
    hide_secrets,
    is_placeholder,
    mistake,
    secrets_in,
    to_secret,
)
from modelwrap.config.transport import check_client, check_verify
from modelwrap.errors import ConfigError
from modelwrap.jsonc import Path, holds_secret
from modelwrap.paths import at_home
from modelwrap.secrets import Secret, without_credentials
from modelwrap.wire.http import Connection, Timeouts

_DEFAULT = Timeouts()
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PROXY_SCHEMES = ("http://", "https://", "socks5://", "socks5h://")

# Keys that would reach the provider as parameters if they were let through.
NOT_PARAMETERS = {
    **dict.fromkeys(("api_key", "organization", "model", "model_name", "stream"), "at the top level"),
    **dict.fromkeys(("base_url", "default_headers", "default_query"), "in client_args"),
    "messages": "in each call",
}


def _no_flag(value: object) -> object:
    # Lax validation would take true for 1.
    if isinstance(value, bool):
        raise mistake("must be a number, not true or false")
    return value


def _without_controls(name: str) -> str:
    # Names stand in tables, logs and errors, a line each.
    if _CONTROL.search(name):
        raise mistake("must not hold control characters, such as the end of a line")
    return name


def _limits(value: object) -> object:
    return value if isinstance(value, (Mapping, BaseModel)) else {"total": value}


def _trust(value: object) -> bool | str:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise mistake("must be true, false or the path of a file of certificates")
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    try:
        file = at_home(value)
    except ConfigError as error:
        raise mistake(str(error)) from None
    # Not by its own method, which raises where a name is too long for any file.
    if not os.path.isfile(file):  # noqa: PTH113
        raise mistake(f"there is no file {value}")
    return str(file)


def _proxy(value: object) -> Secret | Literal[False] | None:
    if value is None or value is False:
        return value
    proxy = to_secret(value)
    if url := proxy.reveal():
        if not url.lower().startswith(_PROXY_SCHEMES):
            raise mistake("must begin with http://, https://, socks5:// or socks5h://")
        if not _names_host(url):
            raise mistake("must name a host and a port, as in http://host:3128")
    return proxy


def _names_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _query(value: object) -> object:
    for name in value if isinstance(value, Mapping) else ():
        if isinstance(name, str) and holds_secret(name):
            raise mistake("a credential does not belong in a URL, which ends up in logs; use default_headers", name)
    return value


def _extra_query(value: object) -> object:
    for name, given in value.items() if isinstance(value, Mapping) else ():
        if isinstance(given, bool) or not isinstance(given, (str, int, float)):
            raise mistake("must be a text or a number", str(name))
    return _query(value)


def _parameters(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    for name in NOT_PARAMETERS.keys() & value.keys():
        raise mistake(f"belongs {NOT_PARAMETERS[name]}, not among the parameters of a call", name)
    own = CallArgs.model_validate({name: given for name, given in value.items() if given is not None})
    checked = {name: getattr(own, name) for name in own.model_fields_set}
    if "timeout" in checked:
        checked["timeout"] = own.timeout.model_dump(exclude_none=True)
    return {**value, **checked}


def _hide_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    headers = {"extra_headers": hide_secrets(parameters["extra_headers"])} if "extra_headers" in parameters else {}
    return {**without_credentials(parameters), **headers}


Seconds: TypeAlias = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False), BeforeValidator(_no_flag)]
Count: TypeAlias = Annotated[int, Field(ge=0), BeforeValidator(_no_flag)]


class ConfigPart(BaseModel):
    """Be an object inside a config: unknown keys are mistakes, and errors repeat no value."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True, protected_namespaces=()
    )


class Limits(ConfigPart):
    """Name the four limits of a call, in seconds."""

    connect: Seconds | None = Field(
        default=None, description=f"To reach the endpoint; {_DEFAULT.connect:g} if not given."
    )
    first_token: Seconds | None = Field(
        default=None, description=f"From sending a streamed call to its first piece; {_DEFAULT.first_token:g}."
    )
    idle: Seconds | None = Field(default=None, description=f"Between two pieces of an answer; {_DEFAULT.idle:g}.")
    total: Seconds | None = Field(
        default=None, description=f"For everything, all attempts and the waits between them; {_DEFAULT.total:g}."
    )


Timeout: TypeAlias = Annotated[Limits, BeforeValidator(_limits, json_schema_input_type=Seconds | Limits)]
Query: TypeAlias = Annotated[dict[str, str], BeforeValidator(_query)]
ExtraQuery: TypeAlias = Annotated[dict[str, str | int | float], BeforeValidator(_extra_query)]
HeaderText: TypeAlias = Annotated[str, BeforeValidator(header_text)]
Proxy: TypeAlias = Annotated[
    Secret | Literal[False] | None,
    PlainValidator(_proxy, json_schema_input_type=str | Literal[False] | None),
    PlainSerializer(hide, when_used="json"),
]
Verify: TypeAlias = Annotated[bool | str, BeforeValidator(_trust)]


class CallArgs(ConfigPart):
    """Hold those arguments of a call that are not the API's; the others are none of its business."""

    model_config = ConfigDict(extra="ignore")

    timeout: Timeout = Limits()
    max_retries: Count = 0
    extra_headers: Headers = {}
    extra_body: dict[str, Any] = {}
    extra_query: ExtraQuery = {}


class ClientArgs(ConfigPart):
    """Say how the endpoint is reached."""

    base_url: str | None = Field(
        default=None,
        min_length=1,
        description="Where the API is, in any form that people paste: `http://localhost:8000/v1/`, `localhost:8000`, "
        "`https://host/v1/chat/completions`. Not given, it is the provider's own.",
    )
    timeout: Timeout = Field(
        default_factory=Limits,
        description="Seconds for a call in all, attempts and waits included; or an object with some of `connect`, "
        "`first_token`, `idle` and `total`.",
    )
    max_retries: Count = Field(default=2, description="How often a failed call is tried again, where that can help.")
    http: Literal["auto", "httpx2", "aiohttp"] = Field(
        default="auto",
        description="The HTTP client of the async methods: `aiohttp` is several times faster with hundreds of calls at "
        "once, and `auto` takes it where it is installed (`modelwrap[fast]`) and no SOCKS proxy is in its way. "
        "Blocking calls go through `httpx2`.",
    )
    default_headers: Headers = Field(default={}, description="Headers that go with every request.")
    default_query: Query = Field(
        default={}, description="Query parameters that go with every request; credentials belong in `default_headers`."
    )
    project: HeaderText | None = Field(
        default=None, description="OpenAI's project, sent as the header `OpenAI-Project`."
    )
    proxy: Proxy = Field(
        default=None,
        description="A proxy, as in `http://user:password@host:3128`. Not given, the environment's is used; `false` "
        "uses none.",
    )
    verify: Verify = Field(
        default=True,
        description="Whether certificates are checked, or the path of a file with those to trust. `false` is taken "
        "only for hosts in one's own network.",
    )

    def timeouts(self, defaults: Timeouts = _DEFAULT) -> Timeouts:
        """Lay the limits that were given over a model type's own."""
        return Timeouts(
            **{name: getattr(self.timeout, name) or getattr(defaults, name) for name in Limits.model_fields}
        )

    def connection(self, url: str, where: str = "client_args.base_url") -> Connection:
        """Say how sockets to `url` are made; `where` is the key of the config that holds it."""
        check_verify(url, self.verify, where)
        proxy = Secret("") if self.proxy is False else self.proxy or None
        check_client(self.http, proxy)
        return Connection(proxy=proxy, verify=self.verify, http=self.http)


class ModelConfig(ConfigPart):
    """Hold what a config says. Subclass it for a model type with keys of its own, each with a description."""

    config_name: Annotated[str, AfterValidator(_without_controls)] = Field(
        min_length=1, description="The name that `get_model` takes."
    )
    model_type: str = Field(min_length=1, description="What stands behind the name; `modelwrap schema` lists them.")
    model: str = Field(
        default_factory=lambda data: str(data.get("config_name", "")),
        min_length=1,
        description="The model's name at the provider; `config_name` if not given. Also written `model_name`.",
    )
    api_key: SecretString | None = Field(
        default=None,
        description="The key. Not given, the provider's usual variable is read (OpenAI: `OPENAI_API_KEY`), and sent to "
        "the provider's own host only. `EMPTY` or an empty string: no key is sent.",
    )
    organization: HeaderText | None = Field(
        default=None, description="OpenAI's organization, sent as `OpenAI-Organization`."
    )
    client_args: ClientArgs = Field(default_factory=ClientArgs, description="How the endpoint is reached.")
    generate_args: Annotated[
        dict[str, Any], BeforeValidator(_parameters), PlainSerializer(_hide_parameters, when_used="json")
    ] = Field(
        default={},
        description="Parameters of every call, by the API's names; the arguments of a call win over them. `timeout`, "
        "`max_retries`, `extra_headers`, `extra_query` and `extra_body` may stand here too.",
    )
    unsupported: Literal["error", "warn", "drop"] = Field(
        default="error", description="What becomes of a parameter that the provider cannot do."
    )
    allow_http: bool = Field(
        default=False, description="Let a key go over plain http to a host outside one's own network."
    )
    stream: bool = Field(default=False, description="Let plain calls give a stream, as `stream=True` does.")

    _placeholders: tuple[str, ...] = PrivateAttr(())

    @model_validator(mode="after")
    def _find_placeholders(self) -> ModelConfig:
        found = [".".join(map(str, path)) for path, secret in secrets_in(self) if is_placeholder(secret)]
        if self.organization and is_placeholder(self.organization):
            found.append("organization")
        self._placeholders = tuple(found)
        return self

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, without_credentials(value) if name == "generate_args" else value

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The keys of the config under which a placeholder stands, as in `api_key`."""
        return self._placeholders

    def unread(self) -> Iterator[Path]:
        """Name the keys that are given, and that this model type has no use for."""
        yield from ()

    def given(self, *keys: str) -> Iterator[Path]:
        """Give the paths of those keys, written with dots, under which something stands."""
        for key in keys:
            path = tuple(key.split("."))
            value: Any = reduce(getattr, path, self)
            if value:
                yield path

    def remarks(self) -> Iterator[tuple[Path, str]]:
        """Say what to warn of in a config that is in order: the key, and what is the matter with it."""
        for path in self.unread():
            yield path, "is not read by this model type; take it out"
        if self._placeholders:
            first, *others = self._placeholders
            also = f" (and in {', '.join(others)})" if others else ""
            yield (
                tuple(first.split(".")),
                f"a placeholder stands here{also}, not a key; calls will be refused until it is replaced",
            )
