"""The pieces of a streamed reply put together, as if the provider had answered at once."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from modelwrap.errors import InvalidResponse
from modelwrap.types import (
    JSON,
    Audio,
    ChatChunk,
    ChatReply,
    ChunkChoice,
    Delta,
    FunctionCall,
    FunctionCallDelta,
    Logprobs,
    ToolCallDelta,
    Usage,
    Wire,
)
from modelwrap.wire.usage import token_usage

MOST_CHOICES = 128

# Vendors' fields that grow piece by piece; any other text is sent whole, and sent again where it is repeated.
_GROWING = re.compile(r"(reasoning|thinking|thoughts?|summary|text|content|\bdata)$")

# What only pads the pieces of a stream.
_PADDING = frozenset({"p"})


class Assembly:
    """Add up chunks; `reply()` may be asked at any time for what has come so far."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}
        self._extra: dict[str, Any] = {}
        self._usage: Usage | None = None
        self._choices: dict[int, _Choice] = {}
        self._raw: list[JSON] = []

    def __bool__(self) -> bool:
        return bool(self._raw)

    def add(self, chunk: ChatChunk) -> None:
        raw = chunk.raw
        if type(raw) is list:
            self._raw += raw
        else:
            self._raw.append(raw)
        known, sent = self._known, chunk.model_fields_set
        for name in ("id", "created", "model"):
            if name in sent and not known.get(name):
                known[name] = getattr(chunk, name)
        for name in ("system_fingerprint", "service_tier", "moderation"):
            if name in sent:
                known[name] = getattr(chunk, name) or known.get(name)
        if chunk.usage is not None and (chunk.usage.model_fields_set or self._usage is None):
            self._usage = chunk.usage
        if chunk.__pydantic_extra__:
            for name, value in chunk.__pydantic_extra__.items():
                if name not in _PADDING:
                    self._extra[name] = _latest(self._extra.get(name), value)
        for choice in chunk.choices:
            self._choice(choice.index).add(choice)

    def reply(self) -> ChatReply:
        """Put together what has come so far."""
        choices = [self._choices[index] for index in sorted(self._choices)]
        data: dict[str, Any] = {**self._known, "object": "chat.completion"}
        data["choices"] = [choice.whole() for choice in choices]
        if self._usage is not None:
            data["usage"] = self._usage
        reply = ChatReply.model_validate({**self._extra, **data})
        for choice, made in zip(choices, reply.choices, strict=True):
            choice.tell_reasoning(made.message)
        reply._raw = list(self._raw)
        if choices:
            reply.meta.finish_reason = choices[0].native_finish_reason
        usage = self._usage if self._usage is not None else _unasked_usage(self._extra)
        if usage is not None:
            reply.meta.usage = token_usage(usage)
        return reply

    def _choice(self, index: int) -> _Choice:
        choice = self._choices.get(index)
        if choice is None:
            if len(self._choices) >= MOST_CHOICES:
                raise InvalidResponse(f"the stream has more than {MOST_CHOICES} choices")
            choice = self._choices[index] = _Choice(index)
        return choice


class _Text:
    """Collect pieces of text; None until one has come, and joined only when asked for."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[str] | None = None

    def add(self, piece: str | None) -> None:
        if piece is not None:
            if self._parts is None:
                self._parts = []
            self._parts.append(piece)

    def whole(self) -> str | None:
        return None if self._parts is None else "".join(self._parts)


class _Choice:
    def __init__(self, index: int) -> None:
        self._index = index
        self._role: str | None = None
        self._fields: set[str] = set()
        self._content = _Text()
        self._refusal = _Text()
        self._reasoning = _Text()
        self._calls: dict[int, _Call] = {}
        self._function_call: _Function | None = None
        self._audio: _Audio | None = None
        self._annotations: list[dict[str, Any]] | None = None
        self._logprobs: dict[str, Any] | None = None
        self._logprobs_sent = False
        self._finish_reason: str | None = None
        self._message_extra: dict[str, Any] = {}
        self._extra: dict[str, Any] = {}

    def add(self, choice: ChunkChoice) -> None:
        self._delta(choice.delta)
        if choice.finish_reason:
            self._finish_reason = choice.finish_reason
        if "logprobs" in choice.model_fields_set:
            self._logprobs_sent = True
            if choice.logprobs is not None:
                self._add_logprobs(choice.logprobs)
        if choice.__pydantic_extra__:
            for name, value in choice.__pydantic_extra__.items():
                # Perplexity repeats the whole message beside each piece of it.
                if name != "message":
                    self._extra[name] = _grown(name, self._extra.get(name), value)

    def whole(self) -> dict[str, Any]:
        choice: dict[str, Any] = {
            **_joined(self._extra),
            "index": self._index,
            "message": self._message(),
            "finish_reason": self._finish_reason,
        }
        if self._logprobs_sent:
            choice["logprobs"] = self._logprobs
        return choice

    def tell_reasoning(self, message: Wire) -> None:
        """Set what was thought past the fields that were given, as a whole reply's own reading does."""
        reasoning = self._reasoning.whole()
        if reasoning:
            message.__dict__["reasoning_content"] = reasoning

    @property
    def native_finish_reason(self) -> str | None:
        native = self._extra.get("native_finish_reason")
        return str(native) if native else self._finish_reason

    def _delta(self, delta: Delta) -> None:
        fields = delta.model_fields_set
        self._fields |= fields
        if self._role is None:
            self._role = delta.role
        self._content.add(delta.content)
        if delta.reasoning_content is not None:
            self._reasoning.add(delta.reasoning_content)
        if delta.__pydantic_extra__:
            for name, value in delta.__pydantic_extra__.items():
                self._message_extra[name] = _grown(name, self._message_extra.get(name), value)
        if delta.tool_calls:
            for call in delta.tool_calls:
                self._calls.setdefault(call.index, _Call()).add(call)
        if delta.refusal is not None:
            self._refusal.add(delta.refusal)
        if delta.function_call is not None:
            self._function_call = self._function_call or _Function()
            self._function_call.add(delta.function_call)
        if delta.audio is not None:
            self._audio = self._audio or _Audio()
            self._audio.add(delta.audio)
        if delta.annotations:
            known = self._annotations or []
            # Some servers send with every piece all that came before, too.
            added = delta.annotations[len(known) :] if delta.annotations[: len(known)] == known else delta.annotations
            self._annotations = [*known, *added]

    def _add_logprobs(self, logprobs: Logprobs) -> None:
        total = self._logprobs = self._logprobs if self._logprobs is not None else {}
        for name in logprobs.model_fields_set:
            tokens = getattr(logprobs, name)
            if isinstance(tokens, list) and isinstance(total.get(name), list):
                total[name].extend(tokens)
            elif isinstance(tokens, list):
                total[name] = list(tokens)
            else:
                total[name] = total.get(name) if tokens is None else tokens

    def _message(self) -> dict[str, Any]:
        message: dict[str, Any] = {
            **_joined(self._message_extra),
            "role": self._role or "assistant",
            "content": self._content.whole(),
        }
        if "refusal" in self._fields:
            message["refusal"] = self._refusal.whole()
        if "reasoning_content" in self._fields:
            message["reasoning_content"] = self._reasoning.whole()
        if self._calls:
            message["tool_calls"] = [self._calls[index].whole() for index in sorted(self._calls)]
        if self._function_call is not None:
            message["function_call"] = self._function_call.whole()
        if self._audio is not None:
            message["audio"] = self._audio.whole()
        if self._annotations is not None:
            message["annotations"] = self._annotations
        return message


class _Named:
    """Collect a name, which some servers repeat whole with every piece, and a text that grows."""

    def __init__(self) -> None:
        self._name = ""
        self._text = _Text()
        self._extra: dict[str, Any] = {}

    def add_name(self, name: str | None) -> None:
        if name and name != self._name:
            self._name += name

    def add_extra(self, part: Wire) -> None:
        for name, value in (part.__pydantic_extra__ or {}).items():
            self._extra[name] = _grown(name, self._extra.get(name), value)


class _Function(_Named):
    def add(self, function: FunctionCall | FunctionCallDelta) -> None:
        self.add_name(function.name)
        self._text.add(function.arguments)
        self.add_extra(function)

    def whole(self) -> dict[str, Any]:
        return {**_joined(self._extra), "name": self._name, "arguments": self._text.whole() or ""}


class _Custom(_Named):
    def add(self, custom: Any) -> None:
        self.add_name(custom.name)
        self._text.add(custom.input)
        self.add_extra(custom)

    def whole(self) -> dict[str, Any]:
        return {**_joined(self._extra), "name": self._name, "input": self._text.whole() or ""}


class _Call:
    def __init__(self) -> None:
        self._id = ""
        self._type = ""
        self._function: _Function | None = None
        self._custom: _Custom | None = None
        self._extra: dict[str, Any] = {}

    def add(self, call: ToolCallDelta) -> None:
        self._id = self._id or call.id or ""
        self._type = self._type or call.type or ""
        if call.function is not None:
            self._function = self._function or _Function()
            self._function.add(call.function)
        if call.custom is not None:
            self._custom = self._custom or _Custom()
            self._custom.add(call.custom)
        for name, value in (call.__pydantic_extra__ or {}).items():
            self._extra[name] = _grown(name, self._extra.get(name), value)

    def whole(self) -> dict[str, Any]:
        call = {**_joined(self._extra), "id": self._id}
        call["type"] = self._type or ("custom" if self._custom else "function")
        if self._function is not None:
            call["function"] = self._function.whole()
        if self._custom is not None:
            call["custom"] = self._custom.whole()
        return call


class _Audio:
    def __init__(self) -> None:
        self._known: dict[str, Any] = {}
        self._data = _Text()
        self._transcript = _Text()

    def add(self, audio: Audio) -> None:
        self._known["id"] = self._known.get("id") or audio.id
        if audio.expires_at is not None:
            self._known["expires_at"] = audio.expires_at
        self._data.add(audio.data)
        self._transcript.add(audio.transcript)
        for name, value in (audio.__pydantic_extra__ or {}).items():
            self._known[name] = _grown(name, self._known.get(name), value)

    def whole(self) -> dict[str, Any]:
        return {**_joined(self._known), "data": self._data.whole(), "transcript": self._transcript.whole()}


# Vendors' own fields.


def _unasked_usage(extra: dict[str, Any]) -> Usage | None:
    """Read what Groq counts of a stream whether asked or not."""
    told = extra.get("x_groq")
    counted = told.get("usage") if isinstance(told, dict) else None
    if not isinstance(counted, dict):
        return None
    try:
        return Usage.model_validate(counted)
    except ValidationError:
        return None


def _latest(before: Any, value: Any) -> Any:
    """Take the later of two values; objects keep what only the earlier had."""
    if value is None:
        return before
    if isinstance(before, dict) and isinstance(value, dict):
        return {**before, **{name: _latest(before.get(name), item) for name, item in value.items()}}
    return value


class _GrowingText(list[str]):
    """Be a vendor's text that is still growing."""


class _GrowingList(list[Any]):
    """Be a vendor's list that is still growing."""


def _grown(name: str, before: Any, value: Any) -> Any:
    """Add a piece of a vendor's field to what has come of it."""
    if value is None:
        return before
    if isinstance(value, str) and _GROWING.search(name):
        text = before if isinstance(before, _GrowingText) else _GrowingText()
        text.append(value)
        return text
    if isinstance(value, list):
        items = before if isinstance(before, _GrowingList) else _GrowingList()
        items.extend(value)
        return items
    if isinstance(value, dict):
        before = before if isinstance(before, dict) else {}
        return {**before, **{key: _grown(key, before.get(key), item) for key, item in value.items()}}
    return value


def _joined(value: Any) -> Any:
    """Write growing fields out."""
    if isinstance(value, dict):
        return {name: _joined(item) for name, item in value.items()}
    if isinstance(value, _GrowingText):
        return "".join(value)
    return _merged_items(value) if isinstance(value, _GrowingList) else value


def _merged_items(items: list[Any]) -> list[Any]:
    """Put together the pieces of list items, where they say to which item they belong."""
    merged: list[Any] = []
    places: dict[tuple[Any, str], int] = {}
    for item in items:
        key = _place(item)
        place = places.get(key) if key is not None else None
        if place is not None and _belongs(item, merged[place]):
            whole = merged[place]
            whole.update({name: _grown(name, whole.get(name), value) for name, value in item.items()})
        elif key is None:
            merged.append(item)
        else:
            places[key] = len(merged)
            merged.append(_grown("", None, item))
    return [_joined(item) for item in merged]


def _place(item: Any) -> tuple[Any, str] | None:
    """Tell which item of the whole list a piece belongs to.

    OpenRouter's `reasoning_details` name their index; the pieces of LiteLLM's `thinking_blocks` come one after another.
    """
    if not isinstance(item, dict):
        return None
    index = item.get("index")
    if isinstance(index, int) or item.get("type") == "thinking":
        return index, str(item.get("type"))
    return None


def _belongs(piece: dict[str, Any], whole: dict[str, Any]) -> bool:
    """Tell whether a piece goes on with an item: a signature ends one, and another id or URL begins one."""
    if piece.get("index") is None and whole.get("signature"):
        return False
    named = ((piece, whole), (piece.get("image_url"), whole.get("image_url")))
    return not any(
        isinstance(one, dict) and isinstance(other, dict) and one.get(name) and other.get(name) not in (None, one[name])
        for one, other in named
        for name in ("id", "url")
    )
