"""Claude, over Anthropic's Messages API and whatever else speaks it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Self

from pydantic import Field

from modelwrap.config import SecretString, key_from
from modelwrap.config.credentials import key_of_environment
from modelwrap.errors import ConfigError
from modelwrap.jsonc import Path
from modelwrap.models.call import Call
from modelwrap.models.chat import read_messages, take_response_format
from modelwrap.models.pausing import PausingModel
from modelwrap.models.remote_media import Fetching, FetchingConfig, with_media_fetched
from modelwrap.models.sdk import SdkConfig, SdkModel
from modelwrap.runtime.base import Runtime
from modelwrap.secrets import Secret
from modelwrap.types import Message
from modelwrap.wire import claude
from modelwrap.wire.claude_reply import PAUSED
from modelwrap.wire.urls import normalised_messages_base

KEY_VARIABLE = "ANTHROPIC_API_KEY"
TOKEN_VARIABLE = "ANTHROPIC_AUTH_TOKEN"


class ClaudeConfig(SdkConfig, FetchingConfig):
    wire = "claude"
    plain_client = "Anthropic"
    provider = "anthropic"
    own_domain = "api.anthropic.com"
    own_url = "https://api.anthropic.com"

    auth_token: SecretString | None = Field(
        default=None,
        description="A token that goes out as `Authorization: Bearer` in place of a key. Neither given, "
        f"`{KEY_VARIABLE}` and then `{TOKEN_VARIABLE}` are read, and sent to the provider's own host only.",
    )

    def normalised(self, url: str) -> str:
        return normalised_messages_base(url)

    def unread(self) -> Iterator[Path]:
        if self.transport == "http":
            yield from self.given("organization", "client_args.project")


class Claude(PausingModel, SdkModel[ClaudeConfig]):
    """Chat over `/v1/messages`; a turn that the server pauses is gone on with until it ends."""

    Config = ClaudeConfig
    codec = claude
    length_parameter = "max_tokens"
    pause = PAUSED
    # Each pause stands for some ten uses of a server's tool; a turn that goes on for longer goes in circles.
    most_pauses = 16

    fetching: Fetching | None = None
    """How media are fetched, for what does not fetch them itself."""

    @classmethod
    def from_config(cls, config: ClaudeConfig) -> Self:
        model = super().from_config(config)
        if model.carrier is not None and not model.carrier.takes_media_urls:
            model.fetching = Fetching(config.media)
        return model

    @classmethod
    def headers(cls, config: ClaudeConfig) -> dict[str, str | Secret]:
        headers = {name.lower(): value for name, value in config.client_args.default_headers.items()}
        if not headers.keys() & {"x-api-key", "authorization"}:
            headers.update(_login(config, config.is_at_home()))
        return headers

    async def to_input(self, call: Call, runtime: Runtime) -> list[Message]:
        take_response_format(call, strict=False)
        messages = await read_messages(call, runtime)
        return messages if self.fetching is None else await with_media_fetched(messages, call, runtime, self.fetching)


def _login(config: ClaudeConfig, at_home: bool) -> dict[str, str | Secret]:
    if config.auth_token is not None and config.api_key is not None:
        raise ConfigError("auth_token: goes out in place of api_key; give one of them")
    token = config.auth_token
    if token is None and config.api_key is None and at_home and not os.environ.get(KEY_VARIABLE, "").strip():
        token = key_of_environment(TOKEN_VARIABLE)
    if token:
        return {"authorization": Secret(f"Bearer {token.reveal()}")}
    if config.auth_token is not None:
        return {}
    key = key_from(config, KEY_VARIABLE, at_home)
    return {} if key is None else {"x-api-key": key}
