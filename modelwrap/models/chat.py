"""What every chat model makes of a call before its own wire or engine sees it."""

from __future__ import annotations

from types import NoneType
from typing import Any

from modelwrap.models.call import Call
from modelwrap.models.messages import messages_from
from modelwrap.runtime.base import Runtime
from modelwrap.types import Message
from modelwrap.wire.structured import response_format_of


def take_response_format(call: Call, *, strict: bool = True) -> None:
    """Write a class that was given as `response_format` as its schema, and keep it for `reply.parsed`.

    With `strict` it is the schema of OpenAI's strict mode, else the class's own.
    """
    if (given := call.parameters.get("response_format")) is not None:
        written, response_model = response_format_of(given, call.lasting, strict=strict)
        if response_model is not None:
            call.parameters["response_format"] = written
            call.response_model = response_model


async def read_messages(call: Call, runtime: Runtime) -> list[Message]:
    """Give the call's messages as dicts; files that they name are read where that may block."""
    if _may_read_files(call.input):
        return await runtime.run(messages_from, call.input, call.lasting)
    return messages_from(call.input, call.lasting)


def _may_read_files(messages: Any) -> bool:
    """Tell whether messages have parts, which may be paths; a thread for each plain call would cost too much."""
    return isinstance(messages, list) and any(
        not isinstance(message.get("content") if isinstance(message, dict) else None, (str, NoneType))
        for message in messages
    )
