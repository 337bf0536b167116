"""Base models, which continue a text: `/completions` behind the same call."""

from __future__ import annotations

from typing import Any

from modelwrap.models.call import Call
from modelwrap.models.openai import OpenAIModel, read_messages
from modelwrap.runtime.base import Runtime
from modelwrap.wire import openai_completion


class OpenAICompletion(OpenAIModel):
    """Continue a prompt; a string goes out as it is, and messages as a transcript."""

    codec = openai_completion

    async def to_input(self, call: Call, runtime: Runtime) -> Any:
        return call.input if isinstance(call.input, str) else await read_messages(call, runtime)
