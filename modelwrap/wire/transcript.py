"""Messages as one text, for services that know no roles: lines with a speaker, or the marks of a chat template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelwrap.errors import BadRequest
from modelwrap.types import Change, Message

_SPEAKERS = {"system": "System", "developer": "System", "user": "User", "assistant": "Assistant"}

AS_TRANSCRIPT = Change("emulated", "messages", "sent as a plain transcript, because this wire has no roles")


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """Say what stands before and after the words of each role; `{}` is where they are.

    The mark at which a text begins is left to the service, whose tokenizer writes it.
    """

    system: str
    user: str
    assistant: str
    opening: str
    """What invites the answer."""


CHAT_TEMPLATES = {
    "chatml": ChatTemplate(
        "<|im_start|>system\n{}<|im_end|>\n",
        "<|im_start|>user\n{}<|im_end|>\n",
        "<|im_start|>assistant\n{}<|im_end|>\n",
        "<|im_start|>assistant\n",
    ),
    "llama2": ChatTemplate("<<SYS>>\n{}\n<</SYS>>\n\n", "[INST] {} [/INST]", " {} </s><s>", ""),
    "llama3": ChatTemplate(
        "<|start_header_id|>system<|end_header_id|>\n\n{}<|eot_id|>",
        "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n{}<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "mistral": ChatTemplate("{}\n\n", "[INST] {} [/INST]", " {}</s>", ""),
    "zephyr": ChatTemplate("<|system|>\n{}</s>\n", "<|user|>\n{}</s>\n", "<|assistant|>\n{}</s>\n", "<|assistant|>\n"),
    "gemma": ChatTemplate(
        "{}\n\n",
        "<start_of_turn>user\n{}<end_of_turn>\n",
        "<start_of_turn>model\n{}<end_of_turn>\n",
        "<start_of_turn>model\n",
    ),
    "vicuna": ChatTemplate("{}\n\n", "USER: {}\n", "ASSISTANT: {}</s>\n", "ASSISTANT:"),
    "alpaca": ChatTemplate("{}\n\n", "### Instruction:\n{}\n\n", "### Response:\n{}\n\n", "### Response:\n"),
}
"""By the names that people know them by."""

# These have no turn for a system message: it stands in front of the first words of the user, inside their marks.
_SYSTEM_IN_USER = frozenset({"llama2", "mistral", "gemma"})


def transcript(messages: Sequence[Message]) -> str:
    """Write messages as lines that begin with their speaker, to be gone on with."""
    turns = [
        f"{_SPEAKERS[message['role']]}: {text}" for message, text in zip(messages, texts_of(messages), strict=True)
    ]
    if messages[-1]["role"] != "assistant":
        turns.append("Assistant:")
    return "\n\n".join(turns)


def templated(messages: Sequence[Message], name: str) -> str:
    """Write messages as a named chat template does."""
    template = CHAT_TEMPLATES[name]
    written: list[str] = []
    held = ""
    for message, text in zip(messages, texts_of(messages), strict=True):
        role = "system" if message["role"] == "developer" else message["role"]
        if role == "system" and name in _SYSTEM_IN_USER:
            held += template.system.format(text)
            continue
        if role == "user":
            text, held = held + text, ""
        written.append(getattr(template, role).format(text))
    if held:
        written.append(template.user.format(held.strip()))
    if messages[-1]["role"] != "assistant":
        written.append(template.opening)
    return "".join(written)


def texts_of(messages: Sequence[Message]) -> list[str]:
    """Give the text of each message; `BadRequest` where one is more than text."""
    return [_text_of(message, f"messages[{position}]") for position, message in enumerate(messages)]


def _text_of(message: Message, where: str) -> str:
    if message["role"] not in _SPEAKERS:
        raise BadRequest(f"{where}: a {message['role']} message cannot be part of a prompt", sent=False)
    for name in ("tool_calls", "function_call"):
        if message.get(name):
            raise BadRequest(f"{where}.{name}: cannot be part of a prompt", sent=False)
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    return "".join(_text_in(part, f"{where}.content[{position}]") for position, part in enumerate(parts))


def _text_in(part: Any, where: str) -> str:
    text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else part or ""
    if not isinstance(text, str):
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        raise BadRequest(f"{where}: {kind} cannot be part of a prompt, which is text only", sent=False)
    return text
