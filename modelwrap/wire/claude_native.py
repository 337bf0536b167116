"""Claude's own blocks on OpenAI's messages: kept where its fields do not say everything, and fitted in again.

They stand in `extra_content.anthropic.content`, in their order and exactly as they came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelwrap.types import Change
from modelwrap.wire.claude_content import EMPTY, Block, is_blank, text_of
from modelwrap.wire.repair import tell
from modelwrap.wire.turns import native_extra

PROVIDER = "anthropic"

THOUGHTS = ("thinking", "redacted_thinking")

_TEXT_KEYS = frozenset({"type", "text", "citations"})
_CALL_KEYS = frozenset({"type", "id", "name", "input", "caller"})

_EDITED = Change(
    "dropped", f"extra_content.{PROVIDER}", "blocks of the model's own that do not fit the message as it is now"
)
_UNSIGNED = Change(
    "dropped", f"extra_content.{PROVIDER}", "thinking without a signature: it was interrupted, or is another server's"
)
_ANOTHERS = Change("dropped", f"extra_content.{PROVIDER}", "thinking that another model than Claude signed")
_TRAILING = Change("dropped", f"extra_content.{PROVIDER}", "thinking at the end of a turn, where Claude takes none")
_UNPAIRED = Change("dropped", f"extra_content.{PROVIDER}", "a server's tool call without its result")


def says_everything(blocks: list[Block]) -> bool:
    """Tell whether a message's text and tool calls hold all that these blocks do: one plain text, then plain calls."""
    calls = blocks[1:] if blocks and blocks[0].get("type") == "text" else blocks
    return (calls is blocks or _is_plain_text(blocks[0])) and all(map(_is_plain_call, calls))


def _is_plain_text(block: Block) -> bool:
    return not block.get("citations") and block.keys() <= _TEXT_KEYS


def _is_plain_call(block: Block) -> bool:
    caller = block.get("caller")
    direct = caller is None or (isinstance(caller, dict) and caller.get("type") == "direct")
    return block.get("type") == "tool_use" and direct and block.keys() <= _CALL_KEYS


def is_claude(model: str) -> bool:
    """Tell a model of Anthropic's by its name from those of others that are served over its wire."""
    return "claude" in model.lower()


def carried(blocks: list[Block], model: str) -> dict[str, Any]:
    """Write blocks as a message carries them; beside thinking that is not Claude's stands whose it is."""
    anothers = model and not is_claude(model) and any(block.get("type") in THOUGHTS for block in blocks)
    return {"content": blocks, **({"model": model} if anothers else {})}


def native_blocks(message: Mapping[str, Any], changes: list[Change], *, claude: str) -> list[Block] | None:
    """Give the blocks that a message carries; None for one that carries none.

    `claude` is the name of the Claude that is to read them, if it is one: what another model thought stays here.
    """
    own = native_extra(message, PROVIDER)
    content = own.get("content")
    if not isinstance(content, list) or not all(isinstance(block, Mapping) and "type" in block for block in content):
        return None
    if claude and own.get("model") not in (None, claude) and any(block["type"] in THOUGHTS for block in content):
        tell(changes, _ANOTHERS)
        content = [block for block in content if block["type"] not in THOUGHTS]
    return [dict(block) for block in content]


def fitted(native: list[Block], said: list[Block], calls: list[Block], changes: list[Change]) -> list[Block]:
    """Lay a message's own blocks out again as far as they agree with its text and its tool calls; those win."""
    same_text = text_of(native) == text_of(said) and all(block["type"] == "text" for block in said)
    left = {call["id"]: call for call in calls}
    kept: list[Block] = []
    text_at: int | None = None
    fits = True
    for block in native:
        if block["type"] == "tool_use":
            call = left.pop(str(block.get("id")), None)
            same = call is not None and call["name"] == block.get("name") and call["input"] == block.get("input")
            fits = fits and same
            if call is not None:
                kept.append(block if same else call)
        elif block["type"] == "text" and not same_text:
            text_at = len(kept) if text_at is None else text_at
        elif is_blank(block):
            tell(changes, EMPTY)
        else:
            kept.append(block)
    if not same_text:
        fits = False
        place = _first_call(kept) if text_at is None else text_at
        kept[place:place] = said
    if left or not fits:
        tell(changes, _EDITED)
    return [*kept, *left.values()]


def _first_call(blocks: list[Block]) -> int:
    return next((place for place, block in enumerate(blocks) if block["type"] == "tool_use"), len(blocks))


def sendable(blocks: list[Block], changes: list[Change], *, open_ended: bool, signed: bool) -> list[Block]:
    """Leave out what Claude takes back from nobody: unsigned thinking, thinking at the end, tool calls cut off.

    The last turn of all and one that waits for results are `open_ended`: there a server's tool may still be at work.
    Where thinking is not `signed`, as by other servers that speak this wire, it goes back without a signature.
    """
    kept = [block for block in blocks if not signed or block["type"] != "thinking" or block.get("signature")]
    if len(kept) < len(blocks):
        tell(changes, _UNSIGNED)
    whole = [block for block in kept if not (is_server_call(block) and isinstance(block.get("input"), str))]
    if len(whole) < len(kept):
        tell(changes, _UNPAIRED)
    if open_ended:
        return whole
    kept = whole
    while kept and kept[-1]["type"] in THOUGHTS:
        kept.pop()
        tell(changes, _TRAILING)
    answered = {str(block.get("tool_use_id")) for block in kept}
    paired = [block for block in kept if not is_server_call(block) or str(block.get("id")) in answered]
    if len(paired) < len(kept):
        tell(changes, _UNPAIRED)
    return paired


def is_server_call(block: Block) -> bool:
    return block["type"] != "tool_use" and str(block["type"]).endswith("tool_use")


def is_server_result(block: Block) -> bool:
    return block["type"] != "tool_result" and str(block["type"]).endswith("tool_result")
