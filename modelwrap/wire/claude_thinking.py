"""What Claude thought, given back: whole throughout a turn or not at all, and bound to what stood before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelwrap.capabilities import Facts
from modelwrap.types import JSON, Change, Message
from modelwrap.wire.claude_native import THOUGHTS
from modelwrap.wire.repair import tell

# https://platform.claude.com/docs/en/build-with-claude/preserved-thinking/prefix-checks
STALE = "bound to a different conversation"
BINDING_BETA = "thinking-binding-controls-2026-08-01"
LEAVES_OUT = Change(
    "learned", "thinking.block_binding", "thinking whose conversation has changed since is left out by the server"
)

# The ways to think that take a word about it.
_BOUND = ("adaptive", "enabled")

_BEGUN_WITHOUT = Change("dropped", "thinking", "this turn began without it, and Claude takes it up with the next one")
_ENDS_WITHOUT = Change("dropped", "extra_content.anthropic", "thinking of a turn that goes on without")


def settle_thinking(body: dict[str, Any], facts: Facts, changes: list[Change]) -> None:
    """Let a turn that goes on keep to how it began, with thinking or without: Claude refuses what changes between.

    A turn goes on as long as tools are called, whichever models called them. Models that think by themselves take both.

    https://platform.claude.com/docs/en/build-with-claude/thinking-tool-workflows
    """
    turn = _turn_going_on(body["messages"])
    if not turn:
        return
    if _has_budget(body) and not _thinks(turn[0]["content"][:1]):
        del body["thinking"]
        tell(changes, _BEGUN_WITHOUT)
    elif not _is_off(body, facts):
        return
    for message in turn:
        if _thinks(message["content"]):
            message["content"] = [block for block in message["content"] if block["type"] not in THOUGHTS]
            tell(changes, _ENDS_WITHOUT)


def drop_stale(body: dict[str, Any], changes: list[Change]) -> None:
    """Ask the server to leave out thinking whose conversation has changed."""
    if may_drop(body):
        thinking = body.get("thinking") or {"type": "adaptive"}
        body["thinking"] = {**thinking, "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
        tell(changes, LEAVES_OUT)


def may_drop(request: JSON) -> bool:
    """Tell whether a request may say something about thinking whose conversation has changed, and does not yet."""
    thinking = request.get("thinking") if isinstance(request, dict) else None
    return not isinstance(thinking, dict) or (thinking.get("type") in _BOUND and "block_binding" not in thinking)


def _turn_going_on(messages: list[Message]) -> list[Message]:
    """Give what was said since the user spoke, where the results of tools come last; else nothing."""
    behind_the_user: list[Message] = []
    for message in reversed([message for message in messages if message["role"] != "system"]):
        if message["role"] == "user" and not _is_result(message):
            break
        behind_the_user.insert(0, message)
    if not behind_the_user or behind_the_user[-1]["role"] != "user":
        return []
    return [message for message in behind_the_user if message["role"] == "assistant"]


def _is_result(message: Message) -> bool:
    content = message["content"]
    return isinstance(content, list) and content[0].get("type") == "tool_result"


def _has_budget(body: Mapping[str, Any]) -> bool:
    thinking = body.get("thinking")
    return isinstance(thinking, Mapping) and thinking.get("type") == "enabled"


def _is_off(body: Mapping[str, Any], facts: Facts) -> bool:
    thinking = body.get("thinking")
    if thinking is None:
        return facts.get("thinking.on_by_default") is False and facts.certain("thinking.on_by_default")
    return isinstance(thinking, Mapping) and thinking.get("type") == "disabled"


def _thinks(content: Any) -> bool:
    return isinstance(content, list) and any(block["type"] in THOUGHTS for block in content)
