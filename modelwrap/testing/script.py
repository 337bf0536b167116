"""What people write as a model's answer, as whole replies and as pieces of a stream."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from modelwrap.errors import CallError, ConfigError
from modelwrap.types import JSON, ChatChunk, ChatReply, EmbeddingReply, ImageReply, Message, Reply, Usage
from modelwrap.wire.assembly import Assembly

Shape = TypeVar("Shape", ChatReply, ChatChunk, EmbeddingReply, ImageReply)

_WORD = re.compile(r"\s*\S+|\s+$")
_MESSAGE_KEYS = frozenset({"content", "tool_calls", "function_call", "refusal", "audio", "reasoning_content"})
_TOLD_ONCE = frozenset({"choices", "usage", "object"})


class Cut:
    """Be an answer whose connection breaks after these pieces."""

    def __init__(self, *pieces: str | Mapping[str, Any] | ChatChunk) -> None:
        self.pieces = pieces

    def __repr__(self) -> str:
        return f"Cut({', '.join(map(repr, self.pieces))})"


@dataclass(frozen=True, slots=True)
class Asking:
    """Be what an answer has to know of the call: who is asked, for the how-manieth time, and what."""

    model: str
    number: int
    messages: list[Message]


def to_reply(answer: str | Mapping[str, Any] | Reply, asking: Asking) -> ChatReply:
    """Make a whole reply of a text, a message or a reply, and fill in what OpenAI always sends."""
    if isinstance(answer, Reply):
        given = answer.model_dump()
    elif isinstance(answer, str):
        given = _around({"content": answer})
    else:
        given = copy.deepcopy(dict(answer)) if "choices" in answer else _around(copy.deepcopy(dict(answer)))
    data = {**_head(asking), "object": "chat.completion", **given}
    data["choices"] = [_completed(choice, asking) for choice in _dicts(data["choices"], "choices", asking)]
    reply = _checked(ChatReply, data, asking)
    if "usage" not in data:
        data["usage"] = _usage(reply, asking)
        reply.usage = Usage.model_validate(data["usage"])
    return reply


def to_data_reply(answer: Any, asking: Asking) -> Reply | None:
    """Make a reply of vectors or of images; None of an answer that is neither."""
    given = answer.model_dump() if isinstance(answer, (EmbeddingReply, ImageReply)) else answer
    if not isinstance(given, Mapping) or "data" not in given or "choices" in given:
        return None
    items = _dicts(given["data"], "data", asking)
    if not isinstance(answer, EmbeddingReply) and not any("embedding" in item for item in items):
        return _checked(ImageReply, {**given, "data": items}, asking)
    numbered = [{"index": index, **item} for index, item in enumerate(items)]
    return _checked(EmbeddingReply, {"model": asking.model, **given, "data": numbered}, asking)


def to_chunks(reply: ChatReply, asking: Asking) -> list[ChatChunk]:
    """Cut a reply into the pieces in which a server would stream it: words, and what belongs together."""
    data = reply.model_dump()
    head = {name: value for name, value in data.items() if name not in _TOLD_ONCE}
    choices = [piece for choice in data["choices"] for piece in _choice_pieces(choice)]
    pieces = [{**head, "choices": [choice]} for choice in choices]
    return [_chunk(piece, asking) for piece in [*pieces, {**head, "choices": [], "usage": data["usage"]}]]


def piece_to_chunk(piece: Any, asking: Asking) -> ChatChunk:
    """Make a chunk of a text, a delta, or a whole chunk."""
    if isinstance(piece, ChatChunk):
        return piece.model_copy(deep=True)
    if isinstance(piece, str):
        return _delta({"content": piece}, asking)
    if isinstance(piece, Mapping):
        return _chunk(dict(piece), asking) if "choices" in piece else _delta(dict(piece), asking)
    raise ConfigError(f"model {asking.model!r}: {type(piece).__name__} is no piece of a stream: {piece!r}")


def ending(chunks: Iterable[ChatChunk], asking: Asking) -> list[ChatChunk]:
    """Give what a stream of these pieces lacks to be whole: the reason why it ended, and its usage."""
    chunks = list(chunks)
    reply = assembled(chunks) if chunks else ChatReply()
    missing: list[JSON] = []
    if not any(choice.finish_reason for choice in reply.choices):
        called = any(choice.message.tool_calls for choice in reply.choices)
        reason = "tool_calls" if called else "stop"
        missing.append({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    if not any(chunk.usage for chunk in chunks):
        missing.append({"choices": [], "usage": _usage(reply, asking)})
    return [_chunk(chunk, asking) for chunk in missing]


def assembled(chunks: Iterable[ChatChunk]) -> ChatReply:
    assembly = Assembly()
    for chunk in chunks:
        assembly.add(chunk)
    return assembly.reply()


def is_error(answer: Any) -> bool:
    return isinstance(answer, BaseException) or (isinstance(answer, type) and issubclass(answer, BaseException))


def fresh(error: Any) -> BaseException:
    """Give an error that no other call writes into."""
    if isinstance(error, CallError):
        return copy.copy(error)
    raised: BaseException = error() if isinstance(error, type) else error
    return raised


def snapshot(value: Any) -> Any:
    """Copy what callers go on changing, such as the list of a conversation; leave the rest as it is."""
    if isinstance(value, Mapping):
        return {key: snapshot(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [snapshot(item) for item in value]
    return value


def _head(asking: Asking) -> dict[str, Any]:
    return {"id": f"fake-{asking.number}", "created": 0, "model": asking.model}


def _around(message: dict[str, Any]) -> dict[str, Any]:
    if _MESSAGE_KEYS.isdisjoint(message):
        raise ConfigError(
            f"a dict is an answer when it is a reply (with `choices` or `data`) or a message (with `content` or "
            f"`tool_calls`), and this one has {', '.join(map(repr, message)) or 'nothing'}"
        )
    return {"choices": [{"message": message}]}


def _completed(choice: Mapping[str, Any], asking: Asking) -> dict[str, Any]:
    given = choice.get("message", {})
    if not isinstance(given, Mapping):
        raise ConfigError(f"model {asking.model!r}: the message of a choice is a dict, not {given!r}")
    message = {"role": "assistant", "content": None, **given}
    reason = "stop"
    if message.get("tool_calls"):
        calls = _dicts(message["tool_calls"], "tool_calls", asking)
        message["tool_calls"] = [_tool_call(call, index, asking) for index, call in enumerate(calls)]
        reason = "tool_calls"
    return {"index": 0, "finish_reason": reason, **choice, "message": message}


def _dicts(items: Any, name: str, asking: Asking) -> Sequence[Mapping[str, Any]]:
    if isinstance(items, (list, tuple)) and all(isinstance(item, Mapping) for item in items):
        return items
    raise ConfigError(f"model {asking.model!r}: {name} is a list of dicts, not {items!r}")


def _tool_call(call: Mapping[str, Any], index: int, asking: Asking) -> dict[str, Any]:
    completed = {"id": f"call_{asking.number}_{index}", "type": "function", **call}
    function = completed.get("function")
    if function is None and not completed.keys().isdisjoint({"name", "arguments"}):
        raise ConfigError(
            f"model {asking.model!r}: `name` and `arguments` of a tool call stand in its `function`: "
            '{"function": {"name": …, "arguments": …}}'
        )
    if isinstance(function, Mapping) and not isinstance(function.get("arguments", ""), str):
        completed["function"] = {**function, "arguments": _arguments(function["arguments"], asking)}
    return completed


def _arguments(value: Any, asking: Asking) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model {asking.model!r}: the arguments of a tool call: {error}") from error


def _choice_pieces(choice: dict[str, Any]) -> Iterator[dict[str, Any]]:
    message = dict(choice["message"])
    deltas = [{"role": message.pop("role", "assistant")}]
    calls = message.pop("tool_calls", None) or []
    for name in ("reasoning_content", "content", "refusal"):
        text = message.pop(name, None)
        deltas += [{name: word} for word in _words(text)]
    for index, call in enumerate(calls):
        deltas += _call_deltas(index, call)
    if rest := {name: value for name, value in message.items() if value is not None}:
        deltas.append(rest)
    for delta in deltas:
        yield {"index": choice["index"], "delta": delta, "finish_reason": None}
    rest = {name: value for name, value in choice.items() if name != "message"}
    yield {**rest, "delta": {}}


def _words(text: str | None) -> list[str]:
    if text is None:
        return []
    return _WORD.findall(text) or [text]


def _call_deltas(index: int, call: dict[str, Any]) -> list[dict[str, Any]]:
    """Give a tool's name first and its arguments after it, as servers do."""
    function = call.get("function")
    if not function:
        return [{"tool_calls": [{"index": index, **call}]}]
    opened = {"index": index, **call, "function": {**function, "arguments": ""}}
    arguments = {"index": index, "function": {"arguments": function.get("arguments", "")}}
    return [{"tool_calls": [opened]}, {"tool_calls": [arguments]}]


def _delta(delta: dict[str, Any], asking: Asking) -> ChatChunk:
    if delta.get("tool_calls"):
        calls = [
            {"index": index, **call} for index, call in enumerate(_dicts(delta["tool_calls"], "tool_calls", asking))
        ]
        delta = {**delta, "tool_calls": [_tool_call(call, call["index"], asking) for call in calls]}
    return _chunk({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}, asking)


def _chunk(data: dict[str, Any], asking: Asking) -> ChatChunk:
    data = {**_head(asking), "object": "chat.completion.chunk", **data}
    return _checked(ChatChunk, data, asking)


def _checked(shape: type[Shape], data: JSON, asking: Asking) -> Shape:
    try:
        made = shape.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)[0]
        wrong = f"{'.'.join(map(str, details['loc']))}: {details['msg']}"
        raise ConfigError(f"model {asking.model!r}: the answer to call {asking.number} is no reply: {wrong}") from error
    made._raw = data
    return made


def _usage(reply: ChatReply, asking: Asking) -> dict[str, int]:
    prompt = sum(_count(message.get("content")) for message in asking.messages)
    completion = sum(_count_message(choice.message.model_dump()) for choice in reply.choices)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _count_message(message: Mapping[str, Any]) -> int:
    arguments = [(call.get("function") or {}).get("arguments") for call in message.get("tool_calls") or ()]
    return sum(map(_count, [message.get("content"), message.get("reasoning_content"), *arguments]))


def _count(content: Any) -> int:
    if isinstance(content, str):
        return len(content.split())
    if isinstance(content, (list, tuple)):
        return sum(_count(part.get("text")) for part in content if isinstance(part, Mapping))
    return 0
