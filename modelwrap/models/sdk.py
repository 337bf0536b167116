"""Calls through a vendor's own client, for the logins that only it has: `"transport": "sdk"` in a config."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Literal, Self, TypeVar
from urllib.parse import parse_qsl, urlsplit

from pydantic import ConfigDict, Field, PlainSerializer, field_validator, model_validator

from modelwrap.config import ClientArgs, ModelConfig, check_transport, key_from
from modelwrap.config.credentials import mistake, secrets_in, unknown
from modelwrap.errors import ConfigError, MissingPackage
from modelwrap.jsonc import holds_secret
from modelwrap.models import sdk_clients
from modelwrap.models.hosted import HostedConfig
from modelwrap.models.http import HttpModel
from modelwrap.models.sdk_clients import SdkClient, Wire
from modelwrap.runtime.base import Deadline, HttpResponse, Runtime
from modelwrap.secrets import HIDDEN, Scrubber, Secret, reveal
from modelwrap.suggestions import nearest
from modelwrap.wire import aws_events
from modelwrap.wire.http import USER_AGENT, Endpoint, HttpRequest

if TYPE_CHECKING:
    from modelwrap.runtime.vendor_client import Clients, Errand

# What every request of ours has; the client writes its own in their place, unless a call says otherwise.
_OURS = (
    ("accept", "application/json"),
    ("accept", "text/event-stream"),
    ("content-type", "application/json"),
    ("user-agent", USER_AGENT),
)

# What the operations of a wire stand behind, where a client's base URL does not say it.
_VERSION = {"openai": "", "claude": "/v1"}

# By these a plain client logs in without a key.
_LOGINS = ("auth_token", "profile")

# Arguments of clients that a config names beside `client_args`.
_AT_THE_TOP = frozenset({"api_key", "auth_token", "organization"})


def _hide(value: Any) -> Any:
    return HIDDEN if isinstance(value, Secret) else value


class SdkClientArgs(ClientArgs):
    """Say how the endpoint is reached, or what a vendor's client is made of."""

    model_config = ConfigDict(extra="allow")

    __pydantic_extra__: dict[str, Annotated[Any, PlainSerializer(_hide, when_used="json")]] = Field(init=False)

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, data: Any) -> Any:
        if not isinstance(data, _OfClient):
            if not isinstance(data, cls):
                # Without a client there are no other names than elsewhere.
                ClientArgs.model_validate(data)
            return data
        if misplaced := data.keys() & ModelConfig.model_fields.keys():
            raise unknown(*((name,) for name in sorted(misplaced)))
        return {name: _hidden(name, value) for name, value in data.items()}


class _OfClient(dict[str, Any]):
    """Be the `client_args` of a config whose calls a client carries."""


def _hidden(name: str, value: Any) -> Any:
    known = name in ClientArgs.model_fields
    return Secret(value) if isinstance(value, str) and not known and _is_secret(name) else value


def _is_secret(name: str) -> bool:
    return holds_secret(name) or "access_key" in name


def _known_arguments(schema: dict[str, Any]) -> None:
    """Let editors take other `client_args` only for the transport that has them."""
    known = {"propertyNames": {"enum": list(ClientArgs.model_fields)}}
    schema["if"] = {"properties": {"transport": {"const": "sdk"}}, "required": ["transport"]}
    schema["else"] = {"properties": {"client_args": known}}


class SdkConfig(HostedConfig):
    """Be the config of a model type whose calls a vendor's client can carry."""

    model_config = ConfigDict(json_schema_extra=_known_arguments)

    wire: ClassVar[Wire]
    plain_client: ClassVar[str]
    """The client that is meant where the config names none."""
    key_variable: ClassVar[str]

    client_args: SdkClientArgs = Field(default_factory=SdkClientArgs, description="How the endpoint is reached.")
    transport: Literal["http", "sdk"] = Field(
        default="http",
        description="Who logs in: `http`, this library; `sdk`, a vendor's own client, which is made of `client_args`.",
    )
    sdk_client: str | None = Field(
        default=None,
        description="Which of the vendor's clients, as in `AzureOpenAI` or `AnthropicBedrock`; the plain one if not "
        "given.",
    )

    @model_validator(mode="before")
    @classmethod
    def _tell_client_args(cls, data: Any) -> Any:
        if (
            isinstance(data, Mapping)
            and data.get("transport") == "sdk"
            and isinstance(data.get("client_args"), Mapping)
        ):
            return {**data, "client_args": _OfClient(data["client_args"])}
        return data

    @field_validator("sdk_client")
    @classmethod
    def _check_name(cls, name: str | None) -> str | None:
        try:
            if name is not None:
                sdk_clients.find(name, cls.wire)
        except ConfigError as error:
            raise mistake(str(error)) from None
        return name

    @model_validator(mode="after")
    def _check_transport(self) -> Self:
        if self.sdk_client is not None and self.transport == "http":
            raise mistake('names the client of "transport": "sdk", which is not asked for', "sdk_client")
        return self


ConfigT = TypeVar("ConfigT", bound=SdkConfig)


class SdkModel(HttpModel, Generic[ConfigT]):
    """Call an endpoint as the config says: by a login of ours, or by a vendor's client."""

    @classmethod
    def from_config(cls, config: ConfigT) -> Self:
        carrier = Carrier.from_config(config) if config.transport == "sdk" else None
        endpoint = carrier.endpoint(config) if carrier else config.endpoint(cls.headers(config))
        model = cls(config.config_name, config.model, endpoint, config.traits(endpoint.base_url))
        model.configure(config)
        model.carrier = carrier
        return model

    @classmethod
    @abstractmethod
    def headers(cls, config: ConfigT) -> dict[str, str | Secret]:
        """Give the headers of every request, those among them that log in where no client does."""


class Carrier:
    """Have a vendor's client log in for requests, and send them by the runtime of the call."""

    def __init__(self, name: str, client: SdkClient, clients: Clients, secrets: tuple[Secret, ...]) -> None:
        self.takes_media_urls = client.takes_media_urls
        self._name = name
        self._extra = client.extra
        self._version = _VERSION[client.wire]
        self._clients = clients
        self._secrets = secrets
        self.base_url = str(clients.of_thread().base_url).rstrip("/")

    @classmethod
    def from_config(cls, config: SdkConfig) -> Self:
        """Make the client that a config names; `ConfigError` says what it does not take, and what it lacks."""
        from modelwrap.runtime.vendor_client import Clients

        name = config.sdk_client or config.plain_client
        client = sdk_clients.find(name, config.wire)
        secrets = tuple(secret for _, secret in secrets_in(config))
        given = _arguments(config, name)
        makers = [sdk_clients.imported(target, name, client.extra) for target in (client.blocking, client.concurrent)]
        for make in makers:
            _check_arguments(name, given, sdk_clients.arguments_of(make))
        blocking, concurrent = makers
        arguments = _revealed(given)
        clients = Clients(
            lambda http_client: blocking(http_client=http_client, **arguments),
            lambda http_client: concurrent(http_client=http_client, **arguments),
        )
        try:
            carrier = cls(name, client, clients, secrets)
        except ConfigError:
            raise
        except Exception as error:  # whatever a vendor's client raises says why it cannot be made
            words = Scrubber(secrets)(f"{type(error).__name__}: {error}")
            raise ConfigError(f"sdk_client: {name} cannot be made: {words}") from None
        check_transport(carrier.base_url, has_key=True, allow_http=config.allow_http, where="client_args.base_url")
        return carrier

    def endpoint(self, config: SdkConfig) -> Endpoint:
        """Give the endpoint for which a codec writes what the client carries."""
        return Endpoint(self.base_url, connection=config.client_args.connection(self.base_url))

    async def send(
        self, request: HttpRequest, deadline: Deadline, runtime: Runtime, secrets: list[Secret]
    ) -> HttpResponse:
        """Send a request as the client writes and signs it; `secrets` takes what must be hidden in errors."""
        errand = await self._carried(request, deadline, runtime, secrets)
        assert errand.response is not None
        if errand.response.headers.get("content-type", "").startswith(aws_events.CONTENT_TYPE):
            return _ServerSent(errand.response)
        return errand.response

    async def shown(self, request: HttpRequest, deadline: Deadline, runtime: Runtime) -> HttpRequest:
        """Give a request as the client would send it; the client logs in for it, and nothing else goes out."""
        errand = await self._carried(request, deadline, runtime, [], only_show=True)
        assert errand.prepared is not None
        return errand.prepared

    async def _carried(
        self,
        request: HttpRequest,
        deadline: Deadline,
        runtime: Runtime,
        secrets: list[Secret],
        *,
        only_show: bool = False,
    ) -> Errand:
        from modelwrap.runtime.vendor_client import Errand, carry

        secrets += self._secrets
        errand = Errand(request, deadline, runtime, only_show, secrets=secrets)
        url = urlsplit(request.url)
        path = self._version + request.url.partition("?")[0].removeprefix(self.base_url)
        headers = {name: reveal(text) for name, text in request.headers.items() if (name, text) not in _OURS}
        try:
            await carry(errand, self._clients, path, dict(parse_qsl(url.query, keep_blank_values=True)), headers)
        except MissingPackage as error:
            hint = f': pip install "modelwrap[{self._extra}]"' if self._extra else ""
            raise MissingPackage(f"sdk_client {self._name}: {error}{hint}") from None
        return errand


class _ServerSent:
    """Give Amazon's event stream as the server-sent events that it carries."""

    def __init__(self, inner: HttpResponse) -> None:
        self._inner = inner
        self.status = inner.status
        self.headers = inner.headers
        self.read_limit = inner.read_limit

    async def read(self) -> bytes:
        return aws_events.Decoder().feed(await self._inner.read())

    async def stream(self) -> AsyncGenerator[bytes, None]:
        decoder = aws_events.Decoder()
        async with aclosing(self._inner.stream()) as pieces:
            async for piece in pieces:
                # Bytes that make no event yet are handed on as well: the limits of the reader count them.
                yield decoder.feed(piece)

    async def aclose(self) -> None:
        await self._inner.aclose()


def _arguments(config: SdkConfig, name: str) -> dict[str, Any]:
    """Lay out what a config says for a client, by the names of the client's arguments."""
    own = config.client_args
    found = {
        **(own.model_extra or {}),
        "auth_token": getattr(config, "auth_token", None),
        "base_url": own.base_url,
        "organization": config.organization,
        "project": own.project,
        "default_headers": own.default_headers or None,
        "default_query": own.default_query or None,
        "api_key": config.api_key or None,
    }
    if name == config.plain_client:
        found["base_url"] = config.base_url().removesuffix(_VERSION[config.wire])
        if not any(found.get(login) for login in _LOGINS):
            # A client wants a key in any case, and would look for one by itself.
            found["api_key"] = key_from(config, config.key_variable, config.is_at_home()) or Secret("EMPTY")
    return {name: value for name, value in found.items() if value is not None}


def _check_arguments(name: str, given: Mapping[str, Any], known: list[str] | None) -> None:
    for argument in given:
        if known is not None and argument not in known:
            where = argument if argument in _AT_THE_TOP else f"client_args.{argument}"
            meant = nearest(argument, known)
            question = f'did you mean "{meant}"? ' if meant else ""
            raise ConfigError(f"{where}: {name} takes no {argument}; {question}it takes {', '.join(known)}")


def _revealed(given: Mapping[str, Any]) -> dict[str, Any]:
    arguments = {name: reveal(value) if isinstance(value, Secret) else value for name, value in given.items()}
    if headers := given.get("default_headers"):
        arguments["default_headers"] = {name: reveal(text) for name, text in headers.items()}
    return arguments
