"""OpenAI's older completions: base models that continue a text, told in the shapes of chat."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from modelwrap.capabilities import Traits
from modelwrap.types import JSON, Change, ChatChunk, ChatReply
from modelwrap.wire import openai_chat, sse
from modelwrap.wire.http import Endpoint, HttpRequest, WireCall
from modelwrap.wire.transcript import AS_TRANSCRIPT, texts_of, transcript
from modelwrap.wire.urls import join

from_error = openai_chat.from_error
lesson = openai_chat.lesson

_CHAT_ONLY = (
    *("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "response_format", "modalities"),
    *("audio", "prediction", "reasoning_effort", "verbosity", "web_search_options"),
)


def to_request(call: WireCall, endpoint: Endpoint, traits: Traits) -> HttpRequest:
    """Write the request: a string is the prompt as it is, and messages become a transcript to be continued."""
    body: dict[str, Any] = {"model": call.model, "prompt": _to_prompt(call), **_to_parameters(call)}
    if call.stream:
        body["stream"] = True
        if traits.stream_usage:
            body.setdefault("stream_options", {"include_usage": True})
    if body.get("stream_options") is None:
        body.pop("stream_options", None)
    body.update(call.extra_body)
    return openai_chat.to_post(join(endpoint.base_url, "/completions", endpoint.query), body, call, endpoint)


def from_response(body: bytes, headers: Mapping[str, str], call: WireCall, traits: Traits) -> ChatReply:
    return openai_chat.from_response(body, headers, call, _literal(traits), _to_chat_reply)


def from_stream(
    events: AsyncIterator[sse.Event], call: WireCall, traits: Traits, end: sse.End | None = None
) -> AsyncGenerator[ChatChunk, None]:
    return openai_chat.from_stream(events, call, _literal(traits), end, _to_chat_chunk)


# Prompts.


def _to_prompt(call: WireCall) -> Any:
    messages = call.input
    if not isinstance(messages, list) or not all(isinstance(item, dict) for item in messages):
        # A text, tokens, or a batch of either.
        return messages
    if len(messages) == 1 and messages[0]["role"] == "user":
        return texts_of(messages)[0]
    call.changes.append(AS_TRANSCRIPT)
    return transcript(messages)


def _to_parameters(call: WireCall) -> dict[str, Any]:
    parameters = dict(call.parameters)
    for name in _CHAT_ONLY:
        if parameters.get(name) is not None:
            call.cannot(name, "base models have none; use a chat model")
            del parameters[name]
    if "max_completion_tokens" in parameters and "max_tokens" not in parameters:
        parameters["max_tokens"] = parameters.pop("max_completion_tokens")
        call.changes.append(Change("renamed", "max_completion_tokens", "sent as max_tokens"))
    if isinstance(parameters.get("logprobs"), bool) or "top_logprobs" in parameters:
        wanted, count = parameters.pop("logprobs", True), parameters.pop("top_logprobs", None)
        if wanted:
            parameters["logprobs"] = count or 0
        call.changes.append(Change("converted", "logprobs", "sent as the number that this wire takes"))
    return parameters


# Answers.


def _literal(traits: Traits) -> Traits:
    """Read no reasoning out of a text: a base model continues whatever it was given, tags too."""
    return replace(traits, think_tags=False)


def _to_chat_reply(data: JSON) -> JSON:
    return _with_choices(data, "chat.completion", "message")


def _to_chat_chunk(data: JSON) -> JSON:
    # A server that answers in one piece where a stream was asked sends the same shape.
    return _with_choices(data, "chat.completion.chunk", "delta")


def _with_choices(data: JSON, kind: str, holder: str) -> JSON:
    if not isinstance(data, dict) or not isinstance(data.get("choices"), list):
        return data
    choices = [_to_chat_choice(choice, holder) if isinstance(choice, dict) else choice for choice in data["choices"]]
    return {**data, "object": kind, "choices": choices}


def _to_chat_choice(choice: dict[str, Any], holder: str) -> dict[str, Any]:
    if "text" not in choice:
        return choice
    rest = {name: value for name, value in choice.items() if name not in ("text", "logprobs")}
    chat = {**rest, holder: {"role": "assistant", "content": choice["text"]}}
    if "logprobs" in choice:
        chat["logprobs"] = _to_chat_logprobs(choice["logprobs"])
    return chat


def _to_chat_logprobs(logprobs: JSON) -> JSON:
    if not isinstance(logprobs, dict) or not isinstance(logprobs.get("tokens"), list):
        return logprobs
    columns = (logprobs["tokens"], logprobs.get("token_logprobs") or (), logprobs.get("top_logprobs") or ())
    return {"content": [_to_chat_token(*row) for row in zip_longest(*columns)]}


def _to_chat_token(token: JSON, logprob: JSON, top: JSON) -> dict[str, Any]:
    chat = _to_chat_top(token, logprob)
    if isinstance(top, dict):
        chat["top_logprobs"] = [_to_chat_top(other, other_logprob) for other, other_logprob in top.items()]
    return chat


def _to_chat_top(token: JSON, logprob: JSON) -> dict[str, Any]:
    chat = {"token": token, "bytes": _bytes_of(token) if isinstance(token, str) else None}
    # The first token of an echoed prompt follows nothing and has no probability; unset, it adds nothing to a sum.
    return chat if logprob is None else {**chat, "logprob": logprob}


def _bytes_of(token: str) -> list[int]:
    """Give a token's bytes; a token that is part of a character comes written in hexadecimal."""
    if re.fullmatch(r"bytes:(\\x[0-9a-f]{2})+", token):
        return list(bytes.fromhex(token.removeprefix("bytes:").replace("\\x", "")))
    return list(token.encode())
