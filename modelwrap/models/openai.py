"""OpenAI's chat models, and every server that speaks their format."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal, Self

from pydantic import Field

from modelwrap.capabilities import Traits
from modelwrap.config import ModelConfig, check_transport, key_from
from modelwrap.models.call import Call
from modelwrap.models.chat import read_messages, take_response_format
from modelwrap.models.http import HttpModel
from modelwrap.models.sdk import Carrier, SdkConfig
from modelwrap.runtime.base import Runtime
from modelwrap.secrets import Secret
from modelwrap.types import Message
from modelwrap.wire import openai_chat
from modelwrap.wire.http import Endpoint
from modelwrap.wire.urls import host_of

KEY_VARIABLE = "OPENAI_API_KEY"


class HostedByOpenAI(SdkConfig):
    wire = "openai"
    plain_client = "OpenAI"
    key_variable = KEY_VARIABLE
    own_url = "https://api.openai.com/v1"


class OpenAIModel(HttpModel):
    """Share what all of OpenAI's operations have: where they are, and who asks."""

    Config: ClassVar[type[SdkConfig]] = HostedByOpenAI

    @classmethod
    def from_config(cls, config: SdkConfig) -> Self:
        if config.transport == "sdk":
            return cls._from_sdk(config)
        base_url = config.base_url()
        endpoint = Endpoint(
            base_url=base_url,
            headers=_headers(config, base_url),
            query=config.client_args.default_query,
            connection=config.client_args.connection(base_url),
        )
        model = cls(config.config_name, config.model, endpoint, config.traits())
        model.configure(config)
        return model

    @classmethod
    def _from_sdk(cls, config: SdkConfig) -> Self:
        carrier = Carrier.from_config(config)
        model = cls(config.config_name, config.model, carrier.endpoint(config), carrier.traits(config))
        model.configure(config)
        model.carrier = carrier
        return model


class OpenAIConfig(HostedByOpenAI):
    replay_reasoning: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="Whether the reasoning on assistant messages goes back to the server: `auto` asks a table of what "
        "servers and models want.",
    )

    def traits(self) -> Traits:
        traits = super().traits()
        if self.replay_reasoning == "auto":
            return traits
        return replace(traits, replay_reasoning=self.replay_reasoning == "always")


class OpenAI(OpenAIModel):
    """Chat over `/chat/completions`."""

    Config = OpenAIConfig
    codec = openai_chat

    async def to_input(self, call: Call, runtime: Runtime) -> list[Message]:
        take_response_format(call)
        return await read_messages(call, runtime)


def _headers(config: ModelConfig, base_url: str) -> dict[str, str | Secret]:
    headers = {name.lower(): value for name, value in config.client_args.default_headers.items()}
    if "authorization" not in headers:
        host = host_of(base_url)
        key = key_from(config, KEY_VARIABLE, host == "api.openai.com" or host.endswith(".api.openai.com"))
        if key is not None:
            headers["authorization"] = Secret(f"Bearer {key.reveal()}")
    if config.organization:
        headers.setdefault("openai-organization", config.organization)
    if config.client_args.project:
        headers.setdefault("openai-project", config.client_args.project)
    has_key = any(isinstance(value, Secret) and value for value in headers.values())
    check_transport(base_url, has_key=has_key, allow_http=config.allow_http, where="client_args.base_url")
    return headers
