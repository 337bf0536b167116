"""A conversation as Claude takes it: system prompt apart, results of tools first in the next turn of the user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelwrap.capabilities import Facts
from modelwrap.types import Change, Message
from modelwrap.wire.claude_content import Block, as_blocks, text_block, text_of, to_blocks, with_cache_mark
from modelwrap.wire.claude_native import (
    PROVIDER,
    fitted,
    is_claude,
    is_server_call,
    is_server_result,
    native_blocks,
    sendable,
)
from modelwrap.wire.claude_tools import letters, tool_id
from modelwrap.wire.histories import (
    handed_over,
    in_words,
    no_call,
    no_result,
    said_of,
    with_images_shown,
    with_own_ids,
)
from modelwrap.wire.http import WireCall
from modelwrap.wire.media_parts import wrong
from modelwrap.wire.repair import tell
from modelwrap.wire.turns import (
    PLACEHOLDER,
    SYSTEM,
    arguments_of,
    native_extra,
    tell_of_foreign,
    tell_of_unknown,
    tool_name,
    with_speaker,
)

_RESULT_KEYS = ("is_error", "cache_control", "toolset_name")
# https://platform.claude.com/docs/en/build-with-claude/effort-per-message
_OF_LATER_SYSTEM = ("output_config", "clear_at")
_KEYS = {
    "user": {"role", "content", "name", "cache_control"},
    "assistant": {
        *("role", "content", "refusal", "tool_calls", "annotations", "phase", "cache_control", "function_call"),
    },
    "tool": {"role", "content", "tool_call_id", "name", *_RESULT_KEYS},
    **{role: {"role", "content", "cache_control", *_OF_LATER_SYSTEM} for role in SYSTEM},
}
_OF_ALL = {"role", "content", "cache_control"}

_FAILED = "error"
"""What a failed result says that has no words."""


def to_conversation(call: WireCall, facts: Facts) -> tuple[Any, list[Message]]:
    """Give what goes out as `system` (None for nothing) and as `messages`."""
    messages = with_images_shown(with_own_ids(call.input, call.changes), call.changes)
    messages = _with_failures_in_words(messages, call.changes)
    lead = next((number for number, message in enumerate(messages) if message["role"] not in SYSTEM), len(messages))
    writer = _Writer(call, facts, messages)
    system = _system(messages[:lead], call.changes)
    for position in range(lead, len(messages)):
        writer.add(position)
    return system, writer.finished()


def _with_failures_in_words(messages: list[Message], changes: list[Change]) -> list[Message]:
    """Leave text alone in the results of tools that failed, for Claude takes no more there; the user shows the rest."""

    def take(message: Message) -> tuple[Message, list[Any]]:
        content = message.get("content")
        if message.get("role") != "tool" or not message.get("is_error") or not isinstance(content, list):
            return message, []
        shown = [part for part in content if isinstance(part, Mapping) and part.get("type") not in ("text", "refusal")]
        if not shown:
            return message, []
        tell(changes, Change("converted", "messages.content", "what came with a failed result stands behind it"))
        return {**message, "content": [part for part in content if part not in shown]}, shown

    return handed_over(messages, take)


def _system(messages: list[Message], changes: list[Change]) -> Any:
    """Write the first run of system messages: one text as it is, several as a list of blocks."""
    for message in messages:
        tell_of_unknown(message, _OF_ALL, changes)
    if len(messages) == 1 and isinstance(messages[0].get("content"), str) and "cache_control" not in messages[0]:
        text = messages[0]["content"]
        return text if text.strip() else None
    blocks: list[Block] = []
    for position, message in enumerate(messages):
        where = f"messages[{position}].content"
        written = to_blocks(message.get("content"), where, changes)
        for block in written:
            if block["type"] in ("image", "document"):
                raise wrong(where, f"Claude takes no {block['type']} in a system message; put it into one of the user")
        blocks += with_cache_mark(written, message.get("cache_control"))
    return blocks or None


class _Writer:
    """Write the turns one after another; what the next one must hold is remembered here."""

    def __init__(self, call: WireCall, facts: Facts, messages: list[Message]) -> None:
        self._call = call
        self._facts = facts
        self._messages = messages
        signed, later_system = facts.get("thinking.signature_required"), facts.get("later_system")
        # Of Claude's newest the table may know nothing; what other servers speak is the wire of its first years.
        claude = facts.model_known or bool(facts.platform) or is_claude(call.model)
        self._claude = call.model if claude else ""
        self._signed = claude if signed is None else signed
        self._takes_later_system = claude if later_system is None else later_system == "kept"
        self._turns: list[Message] = []
        self._waiting: dict[str, str] = {}
        """Ids of the tool calls whose results must come next, and the ids that Claude is given."""
        self._takes_more = False
        """Whether the last turn holds the results of tools, to which what the user says next belongs."""

    def add(self, position: int) -> None:
        message, where = self._messages[position], f"messages[{position}]"
        role = message["role"]
        message = in_words(message, where, self._call.changes)
        tell_of_unknown(message, _KEYS.get(role, _OF_ALL), self._call.changes)
        if role == "tool":
            self._result(message, where)
            return
        if role == "user":
            self._user(message, where)
        elif role == "assistant":
            self._all_answered(where)
            self._assistant(message, where, position)
        elif role in SYSTEM:
            self._all_answered(where)
            self._later_system(message, where, position)
        else:
            raise wrong(where, f"Claude knows no role {role!r}")

    def finished(self) -> list[Message]:
        self._all_answered("messages")
        if not self._turns or not _may_begin(self._turns[0]):
            self._turns.insert(0, {"role": "user", "content": PLACEHOLDER})
            tell(
                self._call.changes,
                Change("emulated", "messages", f"they begin with {PLACEHOLDER!r} of the user, who must speak first"),
            )
        if self._turns[-1]["role"] == "assistant":
            self._end_with_assistant()
        return self._turns

    def _user(self, message: Message, where: str) -> None:
        content = with_speaker(message, self._call.changes)
        if isinstance(content, str) and content.strip() and not self._takes_more and "cache_control" not in message:
            self._all_answered(where)
            self._turns.append({"role": "user", "content": content})
            return
        blocks = to_blocks(content, f"{where}.content", self._call.changes)
        blocks = with_cache_mark(blocks, message.get("cache_control"))
        for block in blocks:
            if block["type"] == "tool_result":
                self._waiting.pop(str(block.get("tool_use_id")), None)
        self._all_answered(where)
        if not blocks and not self._takes_more:
            blocks = [text_block(PLACEHOLDER)]
            tell(self._call.changes, Change("emulated", "messages.content", f"nothing of the user is {PLACEHOLDER!r}"))
        self._say(blocks)

    def _say(self, blocks: list[Block]) -> None:
        if self._takes_more:
            self._turns[-1]["content"] += blocks
            self._takes_more = False
        else:
            self._turns.append({"role": "user", "content": blocks})

    def _result(self, message: Message, where: str) -> None:
        given = message.get("tool_call_id")
        call_id = given if isinstance(given, str) and given else next(iter(self._waiting), "")
        if call_id not in self._waiting:
            raise no_call(call_id, where)
        content = message.get("content")
        block: Block = {"type": "tool_result", "tool_use_id": self._waiting.pop(call_id)}
        if message.get("is_error") and not content:
            content = _FAILED
            tell(
                self._call.changes, Change("emulated", "messages.content", f"a failed result says {_FAILED!r} at least")
            )
        if isinstance(content, str):
            block["content"] = content
        elif blocks := to_blocks(content, f"{where}.content", self._call.changes):
            block["content"] = blocks
        block.update({name: message[name] for name in _RESULT_KEYS if name in message})
        if self._takes_more:
            self._turns[-1]["content"].append(block)
        else:
            self._turns.append({"role": "user", "content": [block]})
            self._takes_more = True

    def _all_answered(self, where: str) -> None:
        if self._waiting:
            raise no_result(self._waiting, where)

    def _assistant(self, message: Message, where: str, position: int) -> None:
        self._takes_more = False
        blocks = self._answer(message, where)
        if isinstance(blocks, str):
            self._turns.append({"role": "assistant", "content": blocks})
            return
        waits = [block["id"] for block in blocks if block["type"] == "tool_use"]
        open_ended = bool(waits) or position == len(self._messages) - 1
        blocks = sendable(blocks, self._call.changes, open_ended=open_ended, signed=self._signed)
        if not blocks:
            tell(self._call.changes, Change("dropped", "messages", "an answer that held nothing"))
            self._free_system()
            return
        self._waiting = {_caller_id(wait, message): wait for wait in waits}
        self._turns.append({"role": "assistant", "content": with_cache_mark(blocks, message.get("cache_control"))})

    def _answer(self, message: Message, where: str) -> str | list[Block]:
        """Write what an assistant said: a plain text stays one."""
        changes = self._call.changes
        native = native_blocks(message, changes, claude=self._claude)
        tell_of_foreign(message, PROVIDER, changes, own=native is not None)
        calls = [
            _tool_use(call, f"{where}.tool_calls[{number}]", changes)
            for number, call in enumerate(message.get("tool_calls") or ())
        ]
        content = said_of(self._without_own_refusal(message))
        plain = native is None and not calls and "cache_control" not in message
        if plain and isinstance(content, str) and content.strip():
            return content
        said = to_blocks(content, f"{where}.content", changes)
        return [*said, *calls] if native is None else fitted(native, said, calls, changes)

    def _without_own_refusal(self, message: Message) -> Message:
        if not message.get("refusal") or not native_extra(message, PROVIDER):
            return message
        tell(self._call.changes, Change("dropped", "messages.refusal", "what was told of Claude's own refusal"))
        return {**message, "refusal": None}

    def _later_system(self, message: Message, where: str, position: int) -> None:
        blocks = to_blocks(message.get("content"), f"{where}.content", self._call.changes)
        blocks = with_cache_mark(blocks, message.get("cache_control"))
        beside = {name: message[name] for name in _OF_LATER_SYSTEM if message.get(name) is not None}
        if not (blocks or beside):
            return
        # What is no text is of Claude's own kind, and only its server knows where that may stand.
        own = bool(beside) or any(block["type"] != "text" for block in blocks)
        if own or (self._takes_later_system and self._may_stand_here(position)):
            self._add_system(message, blocks, beside)
            self._takes_more = False
            return
        self._say_as_user(blocks)

    def _say_as_user(self, blocks: list[Block]) -> None:
        """Write a later system message as text of the user."""
        detail = "a later system message goes out as <system> text of the user"
        tell(self._call.changes, Change("emulated", "messages", detail))
        marked = text_block(f"<system>\n{text_of(blocks)}\n</system>")
        self._say(with_cache_mark([marked], blocks[-1].get("cache_control")))

    def _free_system(self) -> None:
        """Write a system message otherwise behind which no answer of Claude's comes after all."""
        if self._ends_with_plain_system():
            self._say_as_user(as_blocks(self._turns.pop()["content"]))

    def _add_system(self, message: Message, blocks: list[Block], beside: dict[str, Any]) -> None:
        content = message.get("content")
        if self._ends_with_plain_system() and not beside:
            self._turns[-1]["content"] = [*as_blocks(self._turns[-1]["content"]), *blocks]
        else:
            plain = isinstance(content, str) and blocks and "cache_control" not in message
            self._turns.append({"role": "system", "content": content if plain else blocks, **beside})

    def _ends_with_plain_system(self) -> bool:
        """Tell whether the last turn is a system message with nothing beside what it says."""
        return bool(self._turns) and self._turns[-1]["role"] == "system" and len(self._turns[-1]) == 2

    def _may_stand_here(self, position: int) -> bool:
        """Tell whether a system message stands behind the user, or a server's tool, and before Claude or the end.

        https://platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages#limitations
        """
        following = (message["role"] for message in self._messages[position + 1 :] if message["role"] not in SYSTEM)
        if not self._turns or next(following, "assistant") != "assistant":
            return False
        last = self._turns[-1]
        if last["role"] != "assistant":
            return True
        return isinstance(last["content"], list) and is_server_result(last["content"][-1])

    def _end_with_assistant(self) -> None:
        """Take care of what Claude is to go on with: some models do not, and none takes blanks at its end."""
        last = self._turns[-1]["content"]
        if not isinstance(last, str) and any(map(is_server_call, last)):
            return
        if self._facts.refuses("prefill") and self._facts.confidence != "low":
            self._call.cannot("prefill", f"{self._facts.reason('prefill')}: let the last message be one of the user")
            while len(self._turns) > 1 and self._turns[-1]["role"] == "assistant":
                del self._turns[-1]
            return
        text = last if isinstance(last, str) else str(last[-1].get("text", ""))
        if text != text.rstrip():
            tell(self._call.changes, Change("dropped", "messages.content", "blanks at the end of the last message"))
            content = text.rstrip() if isinstance(last, str) else [*last[:-1], {**last[-1], "text": text.rstrip()}]
            self._turns[-1] = {**self._turns[-1], "content": content}


def _may_begin(turn: Message) -> bool:
    """Tell whether a conversation may begin with a turn: one of the user, or a summary of all that stood before.

    https://platform.claude.com/docs/en/build-with-claude/compaction-on-demand
    """
    content = turn["content"]
    summary = isinstance(content, list) and any(block["type"] == "compaction" for block in content[:1])
    return bool(turn["role"] == "user" or summary)


def _tool_use(call: Any, where: str, changes: list[Change]) -> Block:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        raise wrong(where, "Claude has calls of functions only")
    given = str(call.get("id"))
    if tool_id(given) != given:
        tell(changes, Change("converted", "tool_calls.id", "in the letters that Claude takes"))
    block = {
        "type": "tool_use",
        "id": tool_id(given),
        "name": tool_name(function.get("name"), letters, changes),
        "input": arguments_of(function.get("arguments"), changes),
    }
    return {**block, "cache_control": call["cache_control"]} if "cache_control" in call else block


def _caller_id(sent: str, message: Message) -> str:
    """Give the id by which the caller's results name a call."""
    for call in message.get("tool_calls") or ():
        if isinstance(call.get("id"), str) and call["id"] and tool_id(call["id"]) == sent:
            return str(call["id"])
    return sent
