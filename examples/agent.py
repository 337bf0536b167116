"""An agent of a page: it answers questions with the help of tools. Its model is whatever agent.json names.

python examples/agent.py "How many days is it until the year 2030?"
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import modelwrap
from modelwrap.types import ToolCall

CONFIG = Path(__file__).with_name("agent.json")
MOST_ROUNDS = 8


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def days_between(first: str, last: str) -> str:
    return str((date.fromisoformat(last) - date.fromisoformat(first)).days)


FUNCTIONS: dict[str, Callable[..., str]] = {"today": today, "days_between": days_between}

DAY = {"type": "string", "description": "a day, as in 2026-01-31"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "today",
            "description": "Tell what day it is.",
            "parameters": {"type": "object", "properties": {}},
        },
    },
    {
        "type": "function",
        "function": {
            "name": "days_between",
            "description": "Count the days from one day to another.",
            "parameters": {
                "type": "object",
                "properties": {"first": DAY, "last": DAY},
                "required": ["first", "last"],
            },
        },
    },
]


def answer(model: modelwrap.Model, question: str) -> str:
    """Let the model call tools until it has an answer."""
    messages: list[Any] = [
        {"role": "system", "content": "Use the tools for everything about days. Answer in one sentence."},
        {"role": "user", "content": question},
    ]
    for _ in range(MOST_ROUNDS):
        message = model(messages, tools=TOOLS).choices[0].message
        if not message.tool_calls:
            return message.content or message.refusal or ""
        messages += [message, *map(result, message.tool_calls)]
    raise RuntimeError(f"no answer after {MOST_ROUNDS} rounds")


def result(call: ToolCall) -> dict[str, Any]:
    """Run one tool; what it does wrong is told to the model, which may do better."""
    try:
        content = FUNCTIONS[call.function.name](**json.loads(call.function.arguments or "{}"))
    except KeyError:
        content = f"error: there is no tool {call.function.name}, only {', '.join(FUNCTIONS)}"
    except (TypeError, ValueError) as error:
        content = f"error: {error}"
    return {"role": "tool", "tool_call_id": call.id, "content": content}


def main() -> None:
    modelwrap.init(model_configs=CONFIG)
    print(answer(modelwrap.get_model("agent"), " ".join(sys.argv[1:]) or "What day is it?"))


if __name__ == "__main__":
    main()
