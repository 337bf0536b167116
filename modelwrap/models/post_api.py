"""Any service that takes a POST of JSON, by the config that AgentScope gave it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field

from modelwrap.capabilities import Traits
from modelwrap.config import (
    Arguments,
    ClientArgs,
    ConfigPart,
    Count,
    Headers,
    ModelConfig,
    Query,
    Seconds,
    Verify,
    check_transport,
)
from modelwrap.errors import CallError, ConfigError
from modelwrap.jsonc import Path
from modelwrap.models.call import Call
from modelwrap.models.http import HttpModel
from modelwrap.models.messages import messages_from
from modelwrap.runtime.base import Runtime
from modelwrap.secrets import Secret
from modelwrap.types import Reply
from modelwrap.wire import post_api
from modelwrap.wire.http import Endpoint, HttpRequest, Timeouts, WireCall
from modelwrap.wire.urls import normalised_url, with_query


class PostArgs(ConfigPart):
    model_config = ConfigDict(extra="allow")

    timeout: Seconds | None = Field(default=None, description="Seconds for a call in all.")
    params: Query = Field(default={}, description="Query parameters that go with every request.")
    verify: Verify = Field(default=True, description="As in `client_args`.")


class PostAPIConfig(ModelConfig):
    api_url: str = Field(min_length=1, description="Where the request goes, whole: nothing is appended to it.")
    headers: Headers = Field(default={}, description="Headers that go with every request.")
    json_args: Arguments = Field(default={}, description="What goes into the JSON beside the messages.")
    messages_key: str = Field(default="inputs", min_length=1, description="The key under which the messages go.")
    timeout: Seconds = Field(default=30.0, description="Seconds for a call in all.")
    max_retries: Annotated[Count, Field(ge=1)] = Field(default=3, description="How often a call is tried in all.")
    max_length: int | None = Field(default=None, description="Taken for the sake of old files; nothing reads it.")
    retry_interval: float | None = Field(
        default=None, description="Taken for the sake of old files; waits grow by themselves."
    )
    post_args: PostArgs = Field(
        default_factory=PostArgs,
        description="What old files gave to `requests.post`: `timeout`, `params` and `verify` do what they did there, "
        "and a warning names the rest.",
    )
    idempotent: bool = Field(
        default=False,
        description="Whether a request whose answer never came may be sent again; refusals are tried again anyway.",
    )

    def remarks(self) -> Iterator[tuple[Path, str]]:
        yield from super().remarks()
        unread: list[Path] = [("post_args", name) for name in self.post_args.model_extra or {}]
        unread += [("client_args", name) for name in ("base_url", "project") if getattr(self.client_args, name)]
        unread += [("organization",)] if self.organization else []
        for path in unread:
            yield path, "is not read by this model type; take it out"

    def client(self) -> ClientArgs:
        """Give `client_args`, and where they say nothing, what the keys of old files say."""
        older = {
            "default_query": self.post_args.params,
            "max_retries": self.max_retries - 1,
            "verify": self.post_args.verify,
        }
        missing = older.keys() - self.client_args.model_fields_set
        return self.client_args.model_copy(update={name: older[name] for name in missing})

    def timeouts(self) -> Timeouts:
        return self.client_args.timeouts(Timeouts(total=self.post_args.timeout or self.timeout))


class PostAPI(HttpModel):
    """POST what is given, as text or messages, under one key of a JSON object.

    The reply's `text` or `image_urls` are found where such services put them; its `raw` is all that came.
    """

    Config = PostAPIConfig
    codec = post_api
    json_args: Mapping[str, Any] = {}
    messages_key: str = "inputs"
    idempotent: bool = False

    @classmethod
    def from_config(cls, config: PostAPIConfig) -> Self:
        client = config.client()
        try:
            url = with_query(normalised_url(config.api_url), client.default_query)
        except ValueError as error:
            raise ConfigError(f"api_url: {error}") from None
        headers = {**config.headers, **client.default_headers}
        if config.api_key:
            headers = {"authorization": Secret(f"Bearer {config.api_key.reveal()}"), **headers}
        has_key = any(isinstance(value, Secret) and value for value in [*headers.values(), *config.json_args.values()])
        check_transport(url, has_key=has_key, allow_http=config.allow_http, where="api_url")
        endpoint = Endpoint(url, headers, connection=client.connection(url, where="api_url"))
        model = cls(config.config_name, config.model, endpoint)
        model.configure(config)
        model.timeouts = config.timeouts()
        model.max_retries = client.max_retries
        model.json_args = config.json_args
        model.messages_key = config.messages_key
        model.idempotent = config.idempotent
        return model

    async def to_input(self, call: Call, runtime: Runtime) -> dict[str, Any]:
        # Whatever their names, they belong to the JSON: a `timeout` among them is the service's own.
        call.parameters = {**self.json_args, **call.parameters}
        given = call.input if isinstance(call.input, str) else messages_from(call.input, call.lasting)
        return {self.messages_key: given}

    def _request(self, wire: WireCall, call: Call, traits: Traits) -> HttpRequest:
        return replace(super()._request(wire, call, traits), replayable=self.idempotent)

    async def complete(self, call: Call, runtime: Runtime) -> Reply:
        try:
            return await super().complete(call, runtime)
        except CallError as error:
            # Nobody knows what a second request would do twice, once the first may have arrived.
            if error.sent and error.status is None and not self.idempotent:
                error.retryable = False
            raise
