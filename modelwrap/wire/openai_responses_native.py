"""Responses' own items on OpenAI's messages: kept where its fields do not say everything, and fitted in again.

They stand in `extra_content.openai.output`, in their order and exactly as they came, and beside them in `server` who
gave them: nobody else can read what is encrypted in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelwrap.capabilities import Facts
from modelwrap.errors import InvalidResponse
from modelwrap.types import Change, Message
from modelwrap.wire import body as bodies
from modelwrap.wire.openai_responses_content import Item, is_call, kind_of, parts_of, refusals_of, texts_of
from modelwrap.wire.repair import tell
from modelwrap.wire.turns import native_extra

PROVIDER = "openai"

# What the server made of all that stands before it.
_SUMMARY = "compaction"

_CALLED_WITH = {"function_call": "arguments", "custom_tool_call": "input"}
_MESSAGE_KEYS = frozenset({"id", "type", "role", "status", "content"})
_TEXT_KEYS = frozenset({"type", "text", "annotations", "logprobs"})
_CALL_KEYS = frozenset({"id", "type", "status", "call_id", "name", "arguments", "input"})

_WHAT = f"extra_content.{PROVIDER}"
_EDITED = Change("dropped", _WHAT, "items of the model's own that do not fit the message as it is now")
_UNREADABLE = Change("dropped", _WHAT, "reasoning without its encrypted content, for which no server could look")
_TRAILING = Change("dropped", _WHAT, "reasoning at the end of a turn, which was cut before what it led to")
_ELSEWHERE = Change("dropped", _WHAT, "another server's")
_UNWANTED = Change("dropped", _WHAT, "reasoning is not to be sent back")


def server_of(facts: Facts) -> str:
    """Name who can read what is encrypted in an item."""
    return f"{facts.provider}/{facts.platform}".strip("/")


def kept(items: list[Item], facts: Facts) -> dict[str, Any]:
    """Give what is to stand on a message, so that its turn can go back."""
    return {"extra_content": {PROVIDER: {"output": items, "server": server_of(facts)}}}


def says_everything(items: list[Item]) -> bool:
    """Tell whether a message's text and tool calls hold all that these items do: one plain text, then plain calls."""
    spoken = [item for item in items if not is_unreadable(item)]
    return not any(says_more(item, first=item is spoken[0]) for item in spoken)


def says_more(item: Item, *, first: bool) -> bool:
    """Tell whether an item holds more than text does that is the `first` of its turn, or a call."""
    if kind_of(item) == "message":
        return not (first and _is_plain_message(item))
    return not (is_unreadable(item) or _is_plain_call(item))


def is_unreadable(item: Item) -> bool:
    """Tell whether this is reasoning that nobody could look up, for it came without its encrypted content."""
    return _is_reasoning(item) and not item.get("encrypted_content") and not item.get("content")


def native_items(message: Message, facts: Facts, changes: list[Change]) -> list[Item] | None:
    """Give the items that a message carries for this server; None where it carries none."""
    own = native_extra(message, PROVIDER)
    output = own.get("output")
    if not isinstance(output, list) or not all(isinstance(item, Mapping) and kind_of(item) for item in output):
        return None
    if own.get("server", server_of(facts)) != server_of(facts):
        tell(changes, _ELSEWHERE)
        return None
    return [dict(item) for item in output]


def fitted(native: list[Item], text: str, calls: list[Item], changes: list[Change]) -> list[Item]:
    """Lay a turn's own items out again as far as they agree with the message's text and calls; those win.

    An item that is kept keeps those in front of it that led to it: one goes nowhere without the other.
    """
    texts = "".join(texts_of(native))
    same_text = text in (texts, "".join(texts_of(native, final=True)), texts + "".join(refusals_of(native)))
    left = {call["call_id"]: call for call in calls}
    laid: list[Item] = []
    leading: list[Item] = []
    fits, text_waits = True, bool(text) and not same_text
    for item in native:
        if kind_of(item) == "message":
            follows = [item] if same_text else [_said(text)] if text_waits else []
            text_waits = False
            agrees = same_text
        elif is_call(item):
            call = left.pop(str(item.get("call_id")), None)
            agrees = call is not None and _is_same_call(call, item)
            follows = [item] if agrees else [call] if call is not None else []
        else:
            leading.append(item)
            continue
        laid += [*leading, *follows] if agrees else follows
        leading = []
        fits = fits and agrees
    if text_waits:
        laid.append(_said(text))
    if left or not fits or text_waits:
        tell(changes, _EDITED)
    return [*laid, *leading, *left.values()] if fits else [*laid, *left.values()]


def _said(text: str) -> Item:
    return {"role": "assistant", "content": text}


def sendable(items: list[Item], changes: list[Change], *, replay_reasoning: bool) -> list[Item]:
    """Leave out reasoning that cannot go back, and then the names by which the other items refer to it."""
    cut = list(items)
    # OpenRouter's stands behind the answer, and is whole.
    while cut and _is_reasoning(cut[-1]) and cut[-1].get("status") != "completed":
        cut.pop()
        tell(changes, _TRAILING)
    without = [item for item in cut if not is_unreadable(item) and (replay_reasoning or not _is_reasoning(item))]
    if len(without) == len(cut):
        return cut
    tell(changes, _UNREADABLE if replay_reasoning else _UNWANTED)
    # A tool of the server's has no other form than the one that refers to the reasoning.
    return [_unnamed(item) for item in without if kind_of(item) in ("message", _SUMMARY) or is_call(item)]


def _unnamed(item: Item) -> Item:
    if kind_of(item) == _SUMMARY:
        return item
    if kind_of(item) == "message":
        content: Any = [{name: part[name] for name in part if name != "logprobs"} for part in parts_of(item)]
        text = "".join(texts_of([item]))
        content = text if text and not refusals_of([item]) else content
        phase = {"phase": item["phase"]} if item.get("phase") else {}
        return {"role": "assistant", "content": content, **phase}
    return {name: value for name, value in item.items() if name not in ("id", "status")}


def _is_reasoning(item: Item) -> bool:
    return kind_of(item) == "reasoning"


def _is_plain_message(item: Item) -> bool:
    parts = item.get("content")
    return (
        _told(item) <= _MESSAGE_KEYS
        and isinstance(parts, list)
        and len(parts) <= 1
        and all(
            isinstance(part, dict)
            and part.get("type") == "output_text"
            and _told(part) <= _TEXT_KEYS
            and not part.get("annotations")
            for part in parts
        )
    )


def _is_plain_call(item: Item) -> bool:
    return is_call(item) and _told(item) <= _CALL_KEYS


def _told(item: Item) -> set[str]:
    return {name for name, value in item.items() if value is not None}


def _is_same_call(call: Item, item: Item) -> bool:
    if call["type"] != kind_of(item) or call["name"] != item.get("name"):
        return False
    field = _CALLED_WITH[call["type"]]
    one, other = call[field], item.get(field)
    return bool(one == other) or (field == "arguments" and _value(one) == _value(other))


def _value(arguments: Any) -> Any:
    try:
        return bodies.loads(str(arguments or "{}").encode("utf-8", "surrogatepass"))
    except InvalidResponse:
        return arguments
