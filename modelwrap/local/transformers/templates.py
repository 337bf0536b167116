"""How a conversation becomes one text: the model's own chat template, one of ours, one from a file, or a function."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from modelwrap.errors import BadRequest, ConfigError, ModelwrapError, ModelwrapWarning, UnsupportedParameter
from modelwrap.local.transformers.hooks import Hook, ModelParts, taken
from modelwrap.suggestions import nearest
from modelwrap.types import Message
from modelwrap.wire.transcript import CHAT_TEMPLATES, templated, texts_of, transcript

Tools: TypeAlias = Sequence[Mapping[str, Any]]

PLAIN = "plain"
"""Lines that begin with their speaker."""
BARE = "bare"
"""Nothing but the words, for models that turn one text into another."""
_OWN = (*CHAT_TEMPLATES, PLAIN, BARE)

_PROBE = "modelwrap probe"


class Template(Protocol):
    """Write conversations."""

    @property
    def source(self) -> str:
        """Its text, in which the marks stand that tell how a model calls tools; empty where it has none."""

    @property
    def ends(self) -> tuple[str, ...]:
        """Texts that end an answer, because a turn begins or ends with them."""

    @property
    def writes_specials(self) -> bool:
        """Whether the tokens that begin a text are in what it writes."""

    @property
    def takes_strings(self) -> bool:
        """Whether a message may be a text."""

    @property
    def takes_parts(self) -> bool:
        """Whether a message may be a list of texts and images."""

    def write(self, messages: Sequence[Message], tools: Tools, named: Mapping[str, Any], *, goes_on: bool) -> Any:
        """Write messages and what invites the answer; `goes_on` leaves the last message open instead."""


def template_of(parts: ModelParts) -> Template:
    """Choose what writes conversations: a hook, what a config says, the model's own, or a plain one with a warning."""
    given = parts.apply_chat_template_kwargs
    if parts.apply_chat_template is not None:
        return HookTemplate(parts.apply_chat_template, given)
    chosen = parts.chat_template
    if chosen in _OWN:
        return NamedTemplate(chosen)
    owner = _owner(parts)
    if chosen is not None:
        return LibraryTemplate(owner, _one_of_several(owner, chosen) or _text_of(chosen), given)
    if "chat_template" in given:
        text = given["chat_template"]
        return LibraryTemplate(owner, _one_of_several(owner, text) or text, given)
    if getattr(owner, "chat_template", None) or _writes_itself(owner):
        return LibraryTemplate(owner, None, given)
    name = BARE if getattr(getattr(parts.model, "config", None), "is_encoder_decoder", False) else PLAIN
    says = "the words of the conversation" if name == BARE else "lines like `User: …` and `Assistant: …`"
    warnings.warn(
        f"{parts.model_name} has no chat template, so it reads {says}; if it was trained on another form, name it by "
        f"chat_template: {', '.join(_OWN)}, a file or a text of Jinja",
        ModelwrapWarning,
        stacklevel=2,
    )
    return NamedTemplate(name)


def _owner(parts: ModelParts) -> Any:
    """Choose whose template it is: the processor's own knows where images stand."""
    readers = [reader for reader in (parts.processor, parts.tokenizer) if reader is not None]
    return next((reader for reader in readers if getattr(reader, "chat_template", None)), readers[-1])


def _one_of_several(owner: Any, name: Any) -> str | None:
    """Give the template of this name, where a model brings several."""
    own = getattr(owner, "chat_template", None)
    return own.get(name) if isinstance(own, Mapping) else None


def _writes_itself(owner: Any) -> bool:
    """Tell whether a tokenizer needs no template, because it writes conversations by code of its own."""
    write = getattr(type(owner), "apply_chat_template", None)
    return write is not None and write.__module__ not in _NEEDS_TEMPLATE


_NEEDS_TEMPLATE = ("transformers.tokenization_utils_base", "transformers.processing_utils")


def _text_of(chosen: str) -> str:
    if "{{" in chosen or "{%" in chosen:
        return chosen
    try:
        return Path(chosen).expanduser().read_text("utf-8")
    except (OSError, ValueError, RuntimeError) as error:
        meant = nearest(chosen, _OWN)
        question = f"; did you mean {meant!r}?" if meant else ""
        raise ConfigError(
            f"chat_template: {chosen!r} is neither the name of one ({', '.join(_OWN)}), nor a file that can be read "
            f"({error}), nor Jinja{question}"
        ) from None


class NamedTemplate:
    """Write the form that a name stands for, text only."""

    writes_specials = False
    takes_strings = True
    takes_parts = False
    source = ""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def ends(self) -> tuple[str, ...]:
        if self._name == BARE:
            return ()
        if self._name == PLAIN:
            return ("\nUser:", "\nSystem:")
        template = CHAT_TEMPLATES[self._name]
        closing = template.assistant.partition("{}")[2].removesuffix("<s>").strip()
        return tuple(mark for mark in (closing, template.user.partition("{}")[0].strip()) if mark)

    def write(self, messages: Sequence[Message], tools: Tools, named: Mapping[str, Any], *, goes_on: bool) -> str:
        for name in named:
            raise _unread(name)
        if tools:
            raise _no_tools()
        if self._name == BARE:
            return "\n\n".join(texts_of(messages))
        if self._name == PLAIN:
            return transcript(messages)
        text = templated(messages, self._name)
        return text.removesuffix(CHAT_TEMPLATES[self._name].assistant.partition("{}")[2]) if goes_on else text


class LibraryTemplate:
    """Have the library write by a template of Jinja."""

    ends = ()
    writes_specials = True

    def __init__(self, owner: Any, text: str | None, given: Mapping[str, Any]) -> None:
        self._owner = owner
        self._text = text
        self._given = {name: value for name, value in given.items() if name != "chat_template"}

    @cached_property
    def source(self) -> str:
        template = self._text or getattr(self._owner, "chat_template", None) or ""
        return "\n".join(template.values()) if isinstance(template, Mapping) else str(template)

    @cached_property
    def takes_strings(self) -> bool:
        return self._shows(_PROBE) or not self.takes_parts

    @cached_property
    def takes_parts(self) -> bool:
        return self._shows([{"type": "text", "text": _PROBE}])

    @cached_property
    def takes_system(self) -> bool:
        """Whether a system message is not passed over in silence; a template that refuses it says so itself."""
        content = _PROBE if self.takes_strings else [{"type": "text", "text": _PROBE}]
        question = "?" if self.takes_strings else [{"type": "text", "text": "?"}]
        messages = [{"role": "system", "content": content}, {"role": "user", "content": question}]
        try:
            return _PROBE in str(self._render(messages, (), {}, goes_on=False))
        except Exception:  # whatever a template raises, it does not stay silent
            return True

    def write(self, messages: Sequence[Message], tools: Tools, named: Mapping[str, Any], *, goes_on: bool) -> Any:
        for name in named:
            if self.source and not re.search(rf"\b{re.escape(name)}\b", self.source):
                raise _unread(name)
        if any(message["role"] == "system" for message in messages) and not self.takes_system:
            raise BadRequest("messages: the chat template of this model has no place for a system message", sent=False)
        text = self._written(messages, tools, named, goes_on=goes_on)
        for message in messages:
            if not all(call["function"]["name"] in str(text) for call in message.get("tool_calls") or ()):
                raise BadRequest(
                    "messages: the chat template of this model has no place for calls of tools", sent=False
                )
        if tools and text == self._written(messages, (), named, goes_on=goes_on):
            raise _no_tools()
        return text

    def _written(self, messages: Sequence[Message], tools: Tools, named: Mapping[str, Any], *, goes_on: bool) -> Any:
        """Write messages in the first of the ways in which templates want calls of tools that this one takes."""
        from jinja2 import TemplateSyntaxError

        problem: Exception | None = None
        for variant in _variants(messages):
            try:
                text = self._render(variant, tools, named, goes_on=goes_on)
            except TemplateSyntaxError as error:
                raise ConfigError(f"chat_template: is no Jinja: line {error.lineno}: {error.message}") from error
            except Exception as error:  # a template may raise anything, and what it says is about the messages
                problem = problem or error
                continue
            if not _shows_python(variant, text):
                return text
        raise _refused(problem or ValueError("arguments of calls have no form that it takes")) from problem

    def _render(self, messages: Sequence[Message], tools: Tools, named: Mapping[str, Any], *, goes_on: bool) -> Any:
        written = {"tokenize": False, "add_generation_prompt": True, **self._given, **named}
        if goes_on:
            written |= {"add_generation_prompt": False, "continue_final_message": True}
        if self._text is not None:
            written["chat_template"] = self._text
        return self._owner.apply_chat_template(list(messages), tools=list(tools) or None, **written)

    def _shows(self, content: Any) -> bool:
        """Tell whether a message with this content is written as its words, and not as the list that it is."""
        try:
            text = str(self._render([{"role": "user", "content": content}], (), {}, goes_on=False))
        except Exception:  # whatever a template raises, it does not take this
            return False
        return _PROBE in text and "'text'" not in text


class HookTemplate:
    """Have a function write; it is given no more than it has a place for."""

    source = ""
    ends = ()
    writes_specials = True
    takes_strings = True
    takes_parts = True

    def __init__(self, function: Hook, given: Mapping[str, Any]) -> None:
        self._function = function
        self._given = given

    def write(self, messages: Sequence[Message], tools: Tools, named: Mapping[str, Any], *, goes_on: bool) -> Any:
        offered = {"tokenize": False, "add_generation_prompt": not goes_on, "continue_final_message": goes_on}
        if not goes_on:
            del offered["continue_final_message"]
        asked = {**({"tools": list(tools)} if tools else {}), **named}
        takes = taken(self._function, {**offered, **asked})
        for name in asked.keys() - takes.keys():
            raise _no_tools() if name == "tools" else _unread(name)
        try:
            return self._function(list(messages), **{**takes, **self._given, **named})
        except ModelwrapError:
            raise
        except Exception as error:  # it is not ours, and may raise anything
            raise _refused(error) from error


def _variants(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Give messages as they are, and where they hold calls of tools in the other forms that templates want.

    Some cannot do without a content, and some want arguments as the text that the model wrote.
    """
    yield messages
    if any(message.get("tool_calls") for message in messages):
        with_content = [{"content": "", **message} for message in messages]
        yield with_content
        yield [_with_arguments_as_text(message) for message in with_content]


def _with_arguments_as_text(message: Message) -> Message:
    if not message.get("tool_calls"):
        return message
    calls = [
        {**call, "function": {**call["function"], "arguments": json.dumps(call["function"].get("arguments"))}}
        for call in message["tool_calls"]
    ]
    return {**message, "tool_calls": calls}


def _shows_python(messages: Sequence[Message], text: Any) -> bool:
    """Tell whether a template wrote arguments as Python prints them, because it took them for text."""
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    objects = [call["function"].get("arguments") for call in calls]
    printed = {str(found) for found in objects if isinstance(found, dict) and str(found) != json.dumps(found)}
    # A result may repeat what it was called with.
    told = "\n".join(_words(message.get("content")) for message in messages)
    return any(str(text).count(found) > told.count(found) for found in printed)


def _words(content: Any) -> str:
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content or ())


def _refused(error: Exception) -> BadRequest:
    words = " ".join(str(error).split()) or type(error).__name__
    return BadRequest(f"messages: the chat template of this model refuses them: {words[:500]}", sent=False)


def _no_tools() -> UnsupportedParameter:
    return UnsupportedParameter("tools: the chat template of this model has no place for them", sent=False)


def _unread(name: str) -> UnsupportedParameter:
    return UnsupportedParameter(f"{name}: the chat template of this model does not read it", sent=False)
