"""One conversation, many models: each request goes to the next model of relay.json, also while tools are called.

The history is kept as plain JSON, and the next run goes on with it.

python examples/relay.py "What day is it?" "How many days is it until the year 2030?"
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

# Beside this script: the agent whose tools these models share.
import agent

import modelwrap

CONFIG = Path(__file__).with_name("relay.json")
HISTORY = Path("relay-history.json")


def answer(models: Iterator[modelwrap.Model], messages: list[Any], question: str) -> str:
    """Add a question to the history, and all that models and tools say until it is answered."""
    messages.append({"role": "user", "content": question})
    for _ in range(agent.MOST_ROUNDS):
        reply = next(models)(messages, tools=agent.TOOLS)
        print_changes(reply)
        message = reply.choices[0].message
        messages.append(message.model_dump())
        if not message.tool_calls:
            return message.content or message.refusal or ""
        messages += map(agent.result, message.tool_calls)
    raise RuntimeError(f"no answer after {agent.MOST_ROUNDS} rounds")


def print_changes(reply: modelwrap.ChatReply) -> None:
    """Show what of the history its model was told otherwise, or not at all."""
    for change in reply.meta.changes:
        print(f"  ({reply.meta.config_name}) {change}", file=sys.stderr)


def main() -> None:
    messages = json.loads(HISTORY.read_text(encoding="utf-8")) if HISTORY.exists() else []
    with modelwrap.load(CONFIG) as models:
        turns = cycle(models.values())
        for question in sys.argv[1:] or ["What day is it?"]:
            print(answer(turns, messages, question))
            HISTORY.write_text(json.dumps(messages, indent=2, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
