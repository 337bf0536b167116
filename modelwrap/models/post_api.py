"""Any service that takes a POST of JSON, by the config that AgentScope gave it."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field

from modelwrap.config import Count, Headers, ModelConfig, Seconds, check_transport
from modelwrap.errors import CallError, ConfigError
from modelwrap.models.call import Call
from modelwrap.models.http import HttpModel
from modelwrap.models.messages import messages_from
from modelwrap.runtime.base import Runtime
from modelwrap.secrets import Secret
from modelwrap.types import Reply
from modelwrap.wire import post_api
from modelwrap.wire.http import Endpoint, Timeouts

_TIMEOUTS = Timeouts(total=30.0)


class PostAPIConfig(ModelConfig):
    api_url: str = Field(min_length=1, description="Where the request goes, whole: nothing is appended to it.")
    headers: Headers = Field(default={}, description="Headers that go with every request.")
    json_args: dict[str, Any] = Field(default={}, description="What goes into the JSON beside the messages.")
    messages_key: str = Field(default="inputs", min_length=1, description="The key under which the messages go.")
    timeout: Seconds = Field(default=30.0, description="Seconds for a call in all.")
    max_retries: Annotated[Count, Field(ge=1)] = Field(default=3, description="How often a call is tried in all.")
    max_length: Count | None = Field(default=None, description="Taken for the sake of old files; nothing reads it.")
    retry_interval: Seconds | None = Field(
        default=None, description="Taken for the sake of old files; waits grow by themselves."
    )
    idempotent: bool = Field(
        default=False,
        description="Whether a request whose answer never came may be sent again; refusals are tried again anyway.",
    )


class PostAPI(HttpModel):
    """POST what is given, as text or messages, under one key of a JSON object."""

    Config = PostAPIConfig
    codec = post_api
    messages_key: str = "inputs"
    idempotent: bool = False

    @classmethod
    def from_config(cls, config: PostAPIConfig) -> Self:
        if not config.api_url.startswith(("http://", "https://")):
            raise ConfigError("api_url: begins with http:// or https://")
        headers = {**config.headers, **config.client_args.default_headers}
        if config.api_key:
            headers.setdefault("Authorization", Secret(f"Bearer {config.api_key.reveal()}"))
        check_transport(
            config.api_url,
            has_key=any(isinstance(value, Secret) and value for value in headers.values()),
            allow_http=config.allow_http,
            where="api_url",
        )
        endpoint = Endpoint(
            config.api_url, headers, connection=config.client_args.connection(config.api_url, where="api_url")
        )
        model = cls(config.config_name, config.model, endpoint)
        model.configure(config)
        given = config.client_args.model_fields_set
        model.timeouts = (
            config.client_args.timeouts(_TIMEOUTS) if "timeout" in given else Timeouts(total=config.timeout)
        )
        model.max_retries = config.client_args.max_retries if "max_retries" in given else config.max_retries - 1
        model.generate_args = {**config.json_args, **config.generate_args}
        model.messages_key = config.messages_key
        model.idempotent = config.idempotent
        return model

    async def to_input(self, call: Call, runtime: Runtime) -> dict[str, Any]:
        given = call.input if isinstance(call.input, str) else messages_from(call.input)
        return {self.messages_key: given}

    async def complete(self, call: Call, runtime: Runtime) -> Reply:
        try:
            return await super().complete(call, runtime)
        except CallError as error:
            # Nobody knows what a second request would do twice, once the first may have arrived.
            if error.sent and error.status is None and not self.idempotent:
                error.retryable = False
            raise
