"""OpenAI's chat models, and every server that speaks their format."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from modelwrap.capabilities import Facts, Traits, preset_at, presets, traits_for
from modelwrap.config import ModelConfig, key_from
from modelwrap.config.credentials import mistake
from modelwrap.errors import BadRequest
from modelwrap.models import azure_urls
from modelwrap.models.call import Call, Chunks, Explanation
from modelwrap.models.chat import read_messages, take_response_format
from modelwrap.models.gathering import GatheringModel
from modelwrap.models.openai_responses import OpenAIResponses
from modelwrap.models.sdk import SdkConfig, SdkModel
from modelwrap.runtime.base import Runtime
from modelwrap.secrets import Secret
from modelwrap.suggestions import nearest
from modelwrap.types import Change, Message, Reply
from modelwrap.wire import openai_chat
from modelwrap.wire.http import Endpoint
from modelwrap.wire.openai_wires import needs_responses, only_over
from modelwrap.wire.repair import tell


class HostedByOpenAI(SdkConfig):
    wire = "openai"
    plain_client = "OpenAI"
    own_domain = "api.openai.com"
    own_url = "https://api.openai.com/v1"

    preset: str | None = Field(
        default=None,
        description="A host that speaks OpenAI's format, by name, as in `deepseek` or `vllm` ([presets](presets.md)): "
        "it gives the base URL, unless `client_args` does, and the variable that holds the key.",
    )

    @field_validator("preset")
    @classmethod
    def _check_preset(cls, name: str | None) -> str | None:
        known = presets()
        if name is not None and name not in known:
            meant = nearest(name, known)
            raise mistake(f'unknown; did you mean "{meant}"?' if meant else f"unknown; known are {', '.join(known)}")
        return name

    def usual_url(self) -> str:
        return presets()[self.preset].base_url if self.preset else super().usual_url()

    def traits(self, base_url: str | None = None) -> Traits:
        at = base_url or self.base_url()
        return traits_for(self.model, at, provider=self.provider, preset=self.preset, overrides=self.capabilities)

    def key(self) -> Secret | None:
        """Choose the key: the config's, else that of the variable which belongs to the host, and to no other."""
        host = preset_at(self.base_url())
        return key_from(self, host.key if host else "", bool(host and host.key))


class OpenAIModel(SdkModel[HostedByOpenAI]):
    """Share what all of OpenAI's operations have: where they are, and who asks."""

    Config: ClassVar[type[HostedByOpenAI]] = HostedByOpenAI

    @classmethod
    def headers(cls, config: HostedByOpenAI) -> dict[str, str | Secret]:
        headers = {name.lower(): value for name, value in config.client_args.default_headers.items()}
        if "authorization" not in headers:
            key = config.key()
            if key is not None:
                headers["authorization"] = Secret(f"Bearer {key.reveal()}")
        if config.organization:
            headers.setdefault("openai-organization", config.organization)
        if config.client_args.project:
            headers.setdefault("openai-project", config.client_args.project)
        return headers


class OpenAIConfig(HostedByOpenAI):
    api: Literal["auto", "chat", "responses"] = Field(
        default="auto",
        description="Over which of OpenAI's two wires a call goes: `chat`, Chat Completions; `responses`; or `auto`, "
        "Chat Completions unless only Responses can carry the call and the host is known to have it, or the base URL "
        "was given with `/responses` behind it.",
    )
    replay_reasoning: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="Whether the reasoning on assistant messages goes back to the server: `auto` asks a table of what "
        "servers and models want.",
    )

    @property
    def settled_api(self) -> Literal["auto", "chat", "responses"]:
        path = (self.client_args.base_url or self.usual_url()).partition("?")[0]
        return "responses" if self.api == "auto" and path.rstrip("/").endswith("/responses") else self.api

    def traits(self, base_url: str | None = None) -> Traits:
        traits = super().traits(base_url)
        if self.replay_reasoning == "auto":
            return traits
        return replace(traits, replay_reasoning=self.replay_reasoning == "always")


class OpenAI(GatheringModel, OpenAIModel):
    """Chat over `/chat/completions`, and over `/responses` where a config or a call wants that."""

    Config: ClassVar[type[HostedByOpenAI]] = OpenAIConfig
    codec = openai_chat
    length_parameter = "max_tokens"

    def __init__(self, name: str, model: str, endpoint: Endpoint, traits: Traits = Traits()) -> None:
        super().__init__(name, model, endpoint, traits)
        self.api: Literal["auto", "chat", "responses"] = "auto"
        # Azure has Responses beside its deployments, where the body names one.
        base_url, deployment = azure_urls.split_deployment(endpoint.base_url)
        endpoint = replace(endpoint, base_url=base_url)
        # Reasoning goes back over this wire whatever the other does with it.
        traits = replace(traits, replay_reasoning=True)
        self.over_responses = OpenAIResponses(name, deployment or model, endpoint, traits)

    def configure(self, config: ModelConfig) -> None:
        super().configure(config)
        self.over_responses.configure(config)
        if isinstance(config, OpenAIConfig):
            self.api = config.settled_api
            if config.replay_reasoning == "never":
                self.over_responses.traits = replace(self.over_responses.traits, replay_reasoning=False)

    async def to_input(self, call: Call, runtime: Runtime) -> list[Message]:
        take_response_format(call)
        return await read_messages(call, runtime)

    async def complete(self, call: Call, runtime: Runtime) -> Reply:
        if self._takes_responses(call):
            return await self._other().complete(call, runtime)
        return await super().complete(call, runtime)

    async def open(self, call: Call, runtime: Runtime) -> Chunks:
        if self._takes_responses(call):
            return await self._other().open(call, runtime)
        return await super().open(call, runtime)

    def describe(self, call: Call) -> Explanation:
        if self._takes_responses(call):
            return self._other().describe(call)
        return super().describe(call)

    def _other(self) -> OpenAIResponses:
        """Give the model on the other wire, which logs in as this one does."""
        self.over_responses.carrier = self.carrier
        self.over_responses.credential = self.credential
        return self.over_responses

    def _takes_responses(self, call: Call) -> bool:
        """Choose the wire of a call; `BadRequest` where the config's is one on which the model does not answer."""
        facts = self._facts_of(call)
        if self.api != "auto":
            other: Literal["chat", "responses"] = "responses" if self.api == "chat" else "chat"
            why = only_over(other, facts)
            if why and facts.certain("endpoints"):
                raise BadRequest(f'{why}: set "api" to "{other}" or "auto"', sent=False)
            return self.api == "responses"
        if not self.traits.responses:
            return False
        why = needs_responses(call.parameters, call.extra_body, facts)
        if why:
            tell(call.lasting, Change("converted", "api", f"sent over Responses: {why}"))
        return bool(why)

    def _facts_of(self, call: Call) -> Facts:
        model = call.parameters.get("model", self.model)
        return self.traits.facts if model == self.model else traits_for(model, self.endpoint.base_url).facts
