"""A conversation as Gemini takes it: system text apart, and the results of tools in the order of their calls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import NoneType
from typing import Any

from modelwrap.capabilities import Facts
from modelwrap.types import JSON, Change, Message
from modelwrap.wire.functions import modern_messages
from modelwrap.wire.gemini_content import Part, text_part, to_parts
from modelwrap.wire.gemini_native import PROVIDER, is_own, model_parts
from modelwrap.wire.gemini_tools import function_name
from modelwrap.wire.histories import in_words, no_call, no_result, with_own_ids
from modelwrap.wire.http import WireCall
from modelwrap.wire.media_parts import wrong
from modelwrap.wire.repair import tell
from modelwrap.wire.turns import (
    PLACEHOLDER,
    SYSTEM,
    tell_of_foreign,
    tell_of_unknown,
    with_speaker,
    without_cache_mark,
)

Content = dict[str, Any]

# https://ai.google.dev/gemini-api/docs/thought-signatures: for calls that no model of Gemini's made.
UNSIGNED = "skip_thought_signature_validator"

_KEYS = {
    "user": {"role", "content", "name"},
    "assistant": {
        *("role", "content", "refusal", "tool_calls", "images", "annotations", "phase", "function_call"),
    },
    "tool": {"role", "content", "tool_call_id", "name", "is_error"},
}
_OF_ALL = {"role", "content"}

# https://ai.google.dev/gemini-api/docs/function-calling#multimodal
_IN_RESULTS = ("image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain")


def to_conversation(call: WireCall, facts: Facts) -> tuple[Content | None, list[Content]]:
    """Give what goes out as `systemInstruction` (None for nothing) and as `contents`."""
    messages = modern_messages(call.input, call.changes)
    for position, message in enumerate(messages):
        for name in ("tool_calls", "images"):
            if not isinstance(message.get(name), (list, tuple, NoneType)):
                raise wrong(f"messages[{position}].{name}", "must be a list")
    messages = with_own_ids(messages, call.changes, mint=False)
    lead = next((number for number, message in enumerate(messages) if message["role"] not in SYSTEM), len(messages))
    for message in messages[:lead]:
        tell_of_unknown(without_cache_mark(message, call.changes), _OF_ALL, call.changes)
    system = [
        part
        for position in range(lead)
        for part in _system_parts(messages[position], f"messages[{position}].content", call.changes)
    ]
    writer = _Writer(call, facts)
    for position in range(lead, len(messages)):
        writer.add(messages[position], f"messages[{position}]")
    return {"parts": system} if system else None, writer.finished()


def _system_parts(message: Message, where: str, changes: list[Change]) -> list[Part]:
    parts = to_parts(message.get("content"), where, changes)
    if not all(isinstance(part.get("text"), str) for part in parts):
        raise wrong(where, "Gemini takes nothing but text in a system message; put it into one of the user")
    return parts


def said_by_user(parts: list[Part]) -> Part:
    """Write what the system says as text of the user."""
    text = "\n".join(str(part.get("text") or "") for part in parts)
    return text_part(f"<system>\n{text}\n</system>")


class _Writer:
    """Write the turns one after another; what the next one must hold is remembered here."""

    def __init__(self, call: WireCall, facts: Facts) -> None:
        self._call = call
        self._facts = facts
        self._takes_urls = facts.platform == "vertex"
        self._platform = facts.platform if facts.get("thinking.binding.platform") else None
        signed = facts.get("thinking.signature_required")
        self._newer = signed is not False
        """Whether the model is of Gemini 3 or later, as a model that nobody knows is taken to be."""
        self._wants_signed = not facts.model_known and "gemini" in call.model if signed is None else signed
        """Whether it refuses calls without a signature."""
        self._contents: list[Content] = []
        self._waiting: dict[str, Part] = {}
        """The calls whose results must come next, by the ids that the caller knows, in their order."""
        self._results: dict[str, Part] = {}
        self._pictures: list[Part] = []
        """What came with results and must stand behind all of them."""

    def add(self, message: Message, where: str) -> None:
        role = message["role"]
        changes = self._call.changes
        message = in_words(dict(without_cache_mark(message, changes)), where, changes)
        tell_of_unknown(message, _KEYS.get(role, _OF_ALL), changes)
        if role == "tool":
            self._result(message, where)
            return
        if role == "user":
            self._take_own_results(message)
        self._end_results(where)
        if role == "user":
            self._user(message, where)
        elif role == "assistant":
            self._assistant(message, where)
        elif role in SYSTEM:
            self._later_system(message, where)
        else:
            raise wrong(where, f"Gemini knows no role {role!r}")

    def finished(self) -> list[Content]:
        self._end_results("messages")
        if not self._contents or self._contents[0]["role"] != "user":
            self._contents.insert(0, {"role": "user", "parts": [text_part(PLACEHOLDER)]})
            detail = f"they begin with {PLACEHOLDER!r} of the user, who must speak first"
            tell(self._call.changes, Change("emulated", "messages", detail))
        if self._contents[-1]["role"] == "model" and self._facts.certain("prefill") and self._facts.refuses("prefill"):
            self._call.cannot("prefill", f"{self._facts.reason('prefill')}: let the last message be one of the user")
            del self._contents[-1]
        return self._contents

    def _say(self, role: str, parts: list[Part]) -> None:
        last = self._contents[-1] if self._contents else None
        if role == "model" and last is not None and last["role"] == role:
            # https://ai.google.dev/gemini-api/docs/function-calling: a call stands behind a turn of the user.
            last["parts"] = [*last["parts"], *parts]
            return
        self._contents.append({"role": role, "parts": parts})

    def _user(self, message: Message, where: str) -> None:
        content = with_speaker(message, self._call.changes)
        parts = to_parts(content, f"{where}.content", self._call.changes, takes_urls=self._takes_urls)
        if not parts:
            parts = [text_part(PLACEHOLDER)]
            detail = f"nothing of the user is {PLACEHOLDER!r}"
            tell(self._call.changes, Change("emulated", "messages.content", detail))
        self._say("user", parts)

    def _later_system(self, message: Message, where: str) -> None:
        parts = _system_parts(message, f"{where}.content", self._call.changes)
        if parts:
            self._say("user", [said_by_user(parts)])
            detail = "a later system message goes out as <system> text of the user"
            tell(self._call.changes, Change("emulated", "messages", detail))

    def _assistant(self, message: Message, where: str) -> None:
        changes = self._call.changes
        tell_of_foreign(message, PROVIDER, changes, own=is_own(message))
        parts = model_parts(message, where, changes, self._platform)
        self._remember_calls(message, parts)
        if self._wants_signed:
            _sign(parts, changes)
        if parts:
            self._say("model", parts)

    def _remember_calls(self, message: Message, parts: list[Part]) -> None:
        """Note which results must follow; ids go out to models that know them, and only those that were not minted."""
        calls = [part for part in parts if "functionCall" in part]
        ids = [str(call.get("id") or "") for call in message.get("tool_calls") or ()]
        for number, part in enumerate(calls):
            function = part["functionCall"]
            own = str(function.get("id") or "")
            known = own if own in ids or number >= len(ids) else ids[number]
            # Calls without an id are told apart by what stands in none.
            while known in self._waiting:
                known += "\0"
            if not self._newer and "id" in function:
                part["functionCall"] = {name: value for name, value in function.items() if name != "id"}
            self._waiting[known] = part["functionCall"]

    def _result(self, message: Message, where: str) -> None:
        given = message.get("tool_call_id")
        call_id = self._open_call(given, message.get("name"))
        if call_id is None:
            raise no_call(given, where)
        function = self._waiting[call_id]
        response: Part = {"name": function.get("name", "")}
        if "id" in function:
            response["id"] = function["id"]
        response |= self._response(message, where)
        self._results[call_id] = {"functionResponse": response}

    def _take_own_results(self, message: Message) -> None:
        """Wait no more for results that the user gives in Gemini's own form: they go out where they stand."""
        for response in _own_results(message.get("content")):
            call_id = self._open_call(response.get("id"), response.get("name"))
            if call_id is not None:
                del self._waiting[call_id]

    def _open_call(self, given: Any, name: Any) -> str | None:
        """Find the call that a result is of: by its id; without one by the name of its tool, or else the next."""
        waiting = {known: call for known, call in self._waiting.items() if known not in self._results}
        if isinstance(given, str) and given:
            return next((known for known in waiting if known.rstrip("\0") == given), None)
        spelled = function_name(str(name or ""))
        named = (known for known, call in waiting.items() if call.get("name") == spelled)
        return next(named, None) or next(iter(waiting), None)

    def _response(self, message: Message, where: str) -> Part:
        key = "error" if message.get("is_error") else "output"
        content = message.get("content")
        if own := _own_results(content):
            if isinstance(content, list) and len(content) > 1:
                raise wrong(where, "a result in Gemini's own form stands alone in its message")
            return own[0]
        if isinstance(content, str):
            return {"response": _object_of(content, key)}
        parts = to_parts(content, f"{where}.content", self._call.changes, takes_urls=self._takes_urls)
        media = [part for part in parts if not isinstance(part.get("text"), str)]
        text = "".join(part["text"] for part in parts if isinstance(part.get("text"), str))
        response = {"response": _object_of(text, key)}
        if not media:
            return response
        if self._newer and all(_fits_result(part) for part in media):
            return {**response, "parts": media}
        self._pictures += media
        detail = "what came with a tool's result stands behind all results, for it has no place inside"
        tell(self._call.changes, Change("converted", "messages.content", detail))
        return response

    def _end_results(self, where: str) -> None:
        missing = [call_id.rstrip("\0") for call_id in self._waiting if call_id not in self._results]
        if missing:
            raise no_result(missing, where)
        if self._waiting:
            self._say("user", [self._results[call_id] for call_id in self._waiting])
        if self._pictures:
            self._say("user", self._pictures)
        self._waiting, self._results, self._pictures = {}, {}, []


def _own_results(content: Any) -> list[Part]:
    """Give the results of tools that stand in a content in Gemini's own form."""
    parts = content if isinstance(content, list) else [content]
    found = (part.get("functionResponse") for part in parts if isinstance(part, Mapping))
    return [response for response in found if isinstance(response, dict)]


def _sign(parts: list[Part], changes: list[Change]) -> None:
    """Let the first call of a turn that another model made pass for signed."""
    place = next((place for place, part in enumerate(parts) if "functionCall" in part), None)
    if place is None or parts[place].get("thoughtSignature"):
        return
    parts[place] = {**parts[place], "thoughtSignature": UNSIGNED}
    detail = "the model wants calls signed that it made, and these say that they are not its own"
    tell(changes, Change("emulated", "tool_calls.thought_signature", detail))


def _fits_result(part: Part) -> bool:
    blob = part.get("inlineData") or part.get("fileData")
    return isinstance(blob, Mapping) and blob.get("mimeType") in _IN_RESULTS


def _object_of(text: str, key: str) -> JSON:
    """Give a result as the object that Gemini wants; one that is an object already goes out as it is."""
    if key == "output" and text.lstrip().startswith("{"):
        try:
            value = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            return value
    return {key: text}


def _refuse(constant: str) -> None:
    raise ValueError(constant)
