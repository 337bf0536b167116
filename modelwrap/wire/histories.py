"""What a conversation needs that began with another model, before a wire can carry it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from modelwrap.errors import BadRequest
from modelwrap.types import Change, Message
from modelwrap.wire.repair import tell
from modelwrap.wire.turns import native_names

_OWN_IDS = Change("converted", "tool_calls.id", "calls that had none, or another's, have one of their own")
_SHOWN = Change("converted", "messages.images", "what a model made is shown by the user in the next turn")
_IN_WORDS = Change("converted", "messages.audio", "what a model said aloud goes out in its words alone")


def with_own_ids(messages: list[Message], changes: list[Change], *, mint: bool = True) -> list[Message]:
    """Give each call an id that no other has, and its result with it; the same list where all have one.

    Some servers count from 0 in each answer, or give no ids at all; with `mint`, these are given one as well. What is
    given depends on what stands before alone, so it stays the same while a conversation grows.
    """
    given = [str(call.get("id") or "") for message in messages for call in _calls_of(message)]
    if len(set(given)) == len(given) and "" not in given:
        return messages
    return _IdGiver(changes, mint=mint).written(messages)


class _IdGiver:
    def __init__(self, changes: list[Change], *, mint: bool) -> None:
        self._changes = changes
        self._mint = mint
        self._taken: set[str] = set()
        self._waiting: list[tuple[str, str, Any]] = []
        """The calls without a result so far: the ids by which results name them, those that they were given, and the
        names of their tools."""

    def written(self, messages: list[Message]) -> list[Message]:
        written = []
        for position, message in enumerate(messages):
            if message.get("role") == "tool":
                message = self._result(message)
            elif calls := _calls_of(message):
                self._waiting = []
                own = [self._call(call, f"call_{position}_{number}") for number, call in enumerate(calls)]
                message = {**message, "tool_calls": own}
            written.append(message)
        return written

    def _call(self, call: Mapping[str, Any], minted: str) -> Mapping[str, Any]:
        given = str(call.get("id") or "")
        if not given and not self._mint:
            return call
        own, times = given or minted, 1
        while own in self._taken:
            times += 1
            own = f"{given or minted}_{times}"
        self._taken.add(own)
        function = call.get("function")
        self._waiting.append((given, own, function.get("name") if isinstance(function, Mapping) else None))
        if own == given:
            return call
        tell(self._changes, _OWN_IDS)
        return {**call, "id": own}

    def _result(self, message: Message) -> Message:
        given = message.get("tool_call_id") or ""
        fitting = [place for place, (known, _, _) in enumerate(self._waiting) if given in ("", known)]
        if not fitting:
            return message
        named = (place for place in fitting if self._waiting[place][2] == message.get("name"))
        _, own, _ = self._waiting.pop(next(named, fitting[0]))
        return message if own == given else {**message, "tool_call_id": own}


def with_images_shown(messages: list[Message], changes: list[Change]) -> list[Message]:
    """Let the user show the images that models made, to wires that take none from an assistant."""

    def take(message: Message) -> tuple[Message, list[Any]]:
        images, content = message.get("images"), message.get("content")
        if message.get("role") != "assistant":
            return message, []
        beside = images if isinstance(images, list) else []
        parts = content if isinstance(content, list) else []
        among = [part for part in parts if _is_image(part)]
        if not (beside or among):
            return message, []
        tell(changes, _SHOWN)
        if not all(isinstance(image, Mapping) and image.get("image_url") for image in [*beside, *among]):
            raise BadRequest("messages.images: must be parts of type image_url", sent=False)
        for name in sorted({name for image in beside for name in native_names(image)}):
            tell(changes, Change("dropped", f"extra_content.{name}", "another provider's"))
        shown = [{"type": "image_url", "image_url": image["image_url"]} for image in [*among, *beside]]
        rest = {name: value for name, value in message.items() if name != "images"}
        return ({**rest, "content": [part for part in parts if part not in among]} if among else rest), shown

    return handed_over(messages, take)


def handed_over(messages: list[Message], take: Callable[[Message], tuple[Message, list[Any]]]) -> list[Message]:
    """Put the parts that `take` finds in other messages into the user's next one, behind the results of all tools."""
    written: list[Message] = []
    held: list[Any] = []
    for message in messages:
        if held and message.get("role") != "tool":
            follows = message.get("role") == "user"
            beside = message if follows else {"role": "user", "content": None}
            written.append({**beside, "content": [*held, *as_parts(beside.get("content"))]})
            held = []
            if follows:
                continue
        rest, taken = take(message)
        written.append(rest)
        held += taken
    return [*written, {"role": "user", "content": held}] if held else written


def in_words(message: Message, where: str, changes: list[Change]) -> Message:
    """Give what a model said aloud as the text that it said; `BadRequest` where nobody wrote that down."""
    audio = message.get("audio")
    if not isinstance(audio, Mapping):
        return message
    words = message.get("content") or audio.get("transcript")
    if not words:
        raise BadRequest(f"{where}: this wire does not take back what a model said aloud", sent=False)
    tell(changes, _IN_WORDS)
    return {**{name: value for name, value in message.items() if name != "audio"}, "content": words}


def _is_image(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "image_url"


def said_of(message: Mapping[str, Any]) -> Any:
    """Give all that an assistant said: the content, and behind it the words in which it refused."""
    content, refusal = message.get("content"), message.get("refusal")
    if not content or not refusal:
        return content or refusal
    return [*as_parts(content), {"type": "refusal", "refusal": refusal}]


def no_call(call_id: Any, where: str) -> BadRequest:
    """Say of a result that nothing asked for it."""
    return BadRequest(f"{where}: no tool call {call_id!r} waits for a result here", sent=False)


def no_result(call_ids: Iterable[str], where: str) -> BadRequest:
    """Say of calls that what they came to is missing."""
    missing = ", ".join(map(repr, call_ids))
    what = f"the result of tool call {missing} is missing: it comes right behind the call, in a message of role tool"
    return BadRequest(f"{where}: {what}", sent=False)


def _calls_of(message: Message) -> list[Mapping[str, Any]]:
    calls = message.get("tool_calls") if message.get("role") == "assistant" else None
    return calls if isinstance(calls, list) and all(isinstance(call, Mapping) for call in calls) else []


def as_parts(content: Any) -> list[Any]:
    """Give a content as the list of parts that it may be written as."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return content if isinstance(content, list) else [content] if content else []
