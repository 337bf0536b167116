"""A model type that a third party might write: one class, one key of its own."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field

from modelwrap.config import ModelConfig, key_from
from modelwrap.models.base import Model
from modelwrap.models.call import Call, Chunks, Explanation
from modelwrap.runtime.base import Runtime
from modelwrap.types import ChatReply


class EchoConfig(ModelConfig):
    prefix: str = Field(default="", description="What stands before the echo.")
    needs_key: bool = Field(default=False, description="Whether an own key is looked for.")


class Echo(Model):
    """Answer with the last message."""

    Config = EchoConfig
    closed = 0

    def __init__(self, config: EchoConfig) -> None:
        self.name = config.config_name
        self.prefix = config.prefix
        self.key = key_from(config, "ECHO_API_KEY", config.client_args.base_url is None) if config.needs_key else None

    @classmethod
    def from_config(cls, config: EchoConfig) -> Self:
        return cls(config)

    async def complete(self, call: Call, runtime: Runtime) -> ChatReply:
        message = {"role": "assistant", "content": self.prefix + str(call.input)}
        return ChatReply.model_validate({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    async def open(self, call: Call, runtime: Runtime) -> Chunks:
        raise AssertionError("nothing here streams")

    def describe(self, call: Call) -> Explanation:
        return Explanation("POST", "echo:", {}, call.input)

    def close(self) -> None:
        self.closed += 1


def echo(name: str = "parrot", **keys: Any) -> dict[str, Any]:
    return {"config_name": name, "model_type": "echo", **keys}
