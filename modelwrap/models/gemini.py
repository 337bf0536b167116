"""Gemini, over generateContent: Google's API, and the same models on Vertex."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from modelwrap.capabilities import Traits
from modelwrap.config import ClientArgs, check_transport, key_from
from modelwrap.config.credentials import mistake
from modelwrap.errors import ConfigError
from modelwrap.jsonc import Path
from modelwrap.models import vertex
from modelwrap.models.call import Call
from modelwrap.models.chat import read_messages, take_response_format
from modelwrap.models.google_login import default_credential
from modelwrap.models.hosted import HostedConfig
from modelwrap.models.pausing import PausingModel
from modelwrap.models.remote_media import Fetching, FetchingConfig, with_media_fetched
from modelwrap.runtime.auth import Credential
from modelwrap.runtime.base import HttpResponse, Runtime
from modelwrap.secrets import Secret
from modelwrap.types import Message, Reply
from modelwrap.wire import gemini, gemini_list
from modelwrap.wire.gemini_candidates import token_of
from modelwrap.wire.gemini_content import fetches_itself, known_type
from modelwrap.wire.gemini_replies import PAUSED
from modelwrap.wire.media_parts import Media
from modelwrap.wire.urls import normalised_gemini_base

KEY_VARIABLES = ("GEMINI_API_KEY", "GOOGLE_API_KEY")


class GoogleArgs(ClientArgs):
    project: str | None = Field(
        default=None,
        description="On Vertex, the project in Google's cloud; not given, `GOOGLE_CLOUD_PROJECT` is read.",
    )
    vertexai: bool = Field(
        default=False,
        description="Whether the models are reached on Vertex, with Google's default credentials (extra `vertex`) or "
        "with `api_key`.",
    )
    location: str | None = Field(
        default=None,
        description="On Vertex, where the models run; not given, `GOOGLE_CLOUD_LOCATION` is read, and else it is "
        "`global`.",
    )


class HostedByGoogle(HostedConfig):
    provider = "gemini"
    own_domain = "googleapis.com"
    own_url = "https://generativelanguage.googleapis.com"

    client_args: GoogleArgs = Field(default_factory=GoogleArgs, description="How the endpoint is reached.")

    @model_validator(mode="before")
    @classmethod
    def _check_transport(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "transport" in data:
            raise mistake(
                'is not for Gemini: on Vertex Google\'s login needs no client but "client_args": {"vertexai": true} '
                "and modelwrap[vertex]",
                "transport",
            )
        return data

    def base_url(self) -> str:
        if self.client_args.vertexai and self.client_args.base_url is None:
            return vertex.base_url(self.location, self.vertex_project)
        return super().base_url()

    def normalised(self, url: str) -> str:
        base = normalised_gemini_base(url)
        return vertex.completed(base, self.location, self.vertex_project) if self.client_args.vertexai else base

    def unread(self) -> Iterator[Path]:
        yield from self.given("organization")
        if not self.client_args.vertexai:
            yield from self.given("client_args.project")

    @property
    def location(self) -> str:
        return self.client_args.location or os.environ.get("GOOGLE_CLOUD_LOCATION", "").strip() or "global"

    @property
    def vertex_project(self) -> str:
        """The project that pays; empty where a key says who asks, and needs none."""
        project = self.client_args.project or os.environ.get("GOOGLE_CLOUD_PROJECT", "").strip()
        if not project and not self.api_key:
            raise ConfigError(
                "client_args.project: Vertex needs a project: none is given, nor GOOGLE_CLOUD_PROJECT set"
            )
        return project if self.client_args.project or not self.api_key else ""

    def traits(self, base_url: str | None = None) -> Traits:
        # A gateway in front of Vertex is Vertex.
        return super().traits(vertex.HOME if self.client_args.vertexai else base_url)

    def credential(self) -> Credential | None:
        """Give what fetches tokens for Vertex; None where a key or a header says who asks."""
        given = {name.lower() for name in self.client_args.default_headers}
        if not self.client_args.vertexai or self.api_key is not None or given & {"x-goog-api-key", "authorization"}:
            return None
        check_transport(self.base_url(), has_key=True, allow_http=self.allow_http, where="client_args.base_url")
        return default_credential()

    def headers(self) -> dict[str, str | Secret]:
        """Give the headers of every request, the key among them."""
        headers = {name.lower(): value for name, value in self.client_args.default_headers.items()}
        if self.client_args.vertexai and self.api_key is None:
            return headers
        if not headers.keys() & {"x-goog-api-key", "authorization"}:
            variable = next((name for name in KEY_VARIABLES if os.environ.get(name, "").strip()), KEY_VARIABLES[0])
            if (key := key_from(self, variable, self.is_at_home())) is not None:
                headers["x-goog-api-key"] = key
        return headers


class GeminiConfig(HostedByGoogle, FetchingConfig):
    pass


class Gemini(PausingModel):
    """Chat over `:generateContent`; an answer that Gemini gives in several pieces is asked for until it is whole."""

    Config = GeminiConfig
    codec = gemini
    length_parameter = "max_tokens"
    pause = PAUSED
    # A model gives some million tokens at most, and more than ten thousand in each piece.
    most_pauses = 64
    # A picture comes in one event.
    largest_event = 64 * 2**20
    fetching: Fetching

    @classmethod
    def from_config(cls, config: GeminiConfig) -> Self:
        model = cls(config.config_name, config.model, config.endpoint(config.headers()), config.traits())
        model.configure(config)
        model.credential = config.credential()
        model.fetching = Fetching(config.media, model.endpoint.connection, model.takes_url)
        return model

    def takes_url(self, media: Media) -> bool:
        """Tell whether media go out as their URL: Google's own, and on Vertex all whose type is known."""
        on_vertex = self.traits.facts.platform == "vertex"
        return fetches_itself(media.url) or (on_vertex and bool(known_type(media)))

    async def to_input(self, call: Call, runtime: Runtime) -> list[Message]:
        take_response_format(call, strict=False)
        return await with_media_fetched(await read_messages(call, runtime), call, runtime, self.fetching)

    def _decoder(self, response: HttpResponse) -> gemini_list.Decoder:
        return gemini_list.Decoder(self.largest_event)

    def is_paused(self, reply: Reply) -> bool:
        return super().is_paused(reply) and bool(token_of(reply.raw))
