"""Calls through a vendor's own client, for the logins that only it has: `"transport": "sdk"` in a config."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Generic, Literal, Self, TypeVar

from pydantic import ConfigDict, Field, PlainSerializer, field_validator, model_validator

from modelwrap.config import ClientArgs, ModelConfig
from modelwrap.config.credentials import mistake, unknown
from modelwrap.errors import ConfigError
from modelwrap.jsonc import holds_secret
from modelwrap.models import sdk_clients
from modelwrap.models.hosted import HostedConfig
from modelwrap.models.http import HttpModel
from modelwrap.models.sdk_clients import Wire
from modelwrap.secrets import HIDDEN, Secret
from modelwrap.wire.http import Endpoint


def _hide(value: Any) -> Any:
    return HIDDEN if isinstance(value, Secret) else value


class SdkClientArgs(ClientArgs):
    """Say how the endpoint is reached, or what a vendor's client is made of."""

    model_config = ConfigDict(extra="allow")

    __pydantic_extra__: dict[str, Annotated[Any, PlainSerializer(_hide, when_used="json")]] = Field(init=False)

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, data: Any) -> Any:
        if isinstance(data, _OfClient):
            if misplaced := data.keys() & ModelConfig.model_fields.keys():
                raise unknown(*((name,) for name in sorted(misplaced)))
            return {name: _hidden(name, value) for name, value in data.items()}
        if isinstance(data, Mapping):
            # Without a client there are no other names than elsewhere.
            ClientArgs.model_validate(data)
        return data


class _OfClient(dict[str, Any]):
    """Be the `client_args` of a config whose calls a client carries."""


def _hidden(name: str, value: Any) -> Any:
    known = name in ClientArgs.model_fields
    return Secret(value) if isinstance(value, str) and not known and holds_secret(name) else value


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

    def key(self) -> Secret | None:
        """Give the key for where requests go; None where none is to be sent."""
        return self.api_key or None

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
        if config.transport == "sdk":
            return cls._carried(config)
        return cls._at(config.endpoint(cls.headers(config)), config)

    @classmethod
    def _carried(cls, config: ConfigT) -> Self:
        from modelwrap.models.carrier import Carrier

        carrier = Carrier.from_config(config)
        model = cls._at(carrier.endpoint(config), config)
        model.carrier = carrier
        return model

    @classmethod
    def _at(cls, endpoint: Endpoint, config: ConfigT) -> Self:
        model = cls(config.config_name, config.model, endpoint, config.traits(endpoint.base_url))
        model.configure(config)
        return model

    @classmethod
    @abstractmethod
    def headers(cls, config: ConfigT) -> dict[str, str | Secret]:
        """Give the headers of every request, those among them that log in where no client does."""
