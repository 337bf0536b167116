"""OpenAI's chat models, and every server that speaks their format."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from modelwrap.capabilities import Traits
from modelwrap.config import key_from
from modelwrap.models.call import Call
from modelwrap.models.chat import read_messages, take_response_format
from modelwrap.models.sdk import SdkConfig, SdkModel
from modelwrap.runtime.base import Runtime
from modelwrap.secrets import Secret
from modelwrap.types import Message
from modelwrap.wire import openai_chat

KEY_VARIABLE = "OPENAI_API_KEY"


class HostedByOpenAI(SdkConfig):
    wire = "openai"
    plain_client = "OpenAI"
    own_domain = "api.openai.com"
    own_url = "https://api.openai.com/v1"


class OpenAIModel(SdkModel[SdkConfig]):
    """Share what all of OpenAI's operations have: where they are, and who asks."""

    Config: ClassVar[type[SdkConfig]] = HostedByOpenAI

    @classmethod
    def headers(cls, config: SdkConfig) -> dict[str, str | Secret]:
        headers = {name.lower(): value for name, value in config.client_args.default_headers.items()}
        if "authorization" not in headers:
            key = key_from(config, KEY_VARIABLE, config.is_at_home())
            if key is not None:
                headers["authorization"] = Secret(f"Bearer {key.reveal()}")
        if config.organization:
            headers.setdefault("openai-organization", config.organization)
        if config.client_args.project:
            headers.setdefault("openai-project", config.client_args.project)
        return headers


class OpenAIConfig(HostedByOpenAI):
    replay_reasoning: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="Whether the reasoning on assistant messages goes back to the server: `auto` asks a table of what "
        "servers and models want.",
    )

    def traits(self, base_url: str | None = None) -> Traits:
        traits = super().traits(base_url)
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
