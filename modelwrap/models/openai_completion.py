"""Base models, which continue a text: `/completions` behind the same call."""

from __future__ import annotations

from typing import Any

from modelwrap.models.call import Call
from modelwrap.models.chat import read_messages
from modelwrap.models.openai import OpenAIModel
from modelwrap.runtime.base import Runtime
from modelwrap.wire import openai_completion


class OpenAICompletion(OpenAIModel):
    """Continue a prompt; a string goes out as it is, and messages as a transcript."""

    codec = openai_completion
    length_parameter = "max_tokens"

    async def to_input(self, call: Call, runtime: Runtime) -> Any:
        return call.input if _is_prompt(call.input) else await read_messages(call, runtime)


def _is_prompt(given: Any) -> bool:
    """Tell text, several texts and lists of tokens, which this wire takes as they are, from messages."""
    return isinstance(given, str) or (
        isinstance(given, list) and bool(given) and all(isinstance(item, (str, int, list)) for item in given)
    )
