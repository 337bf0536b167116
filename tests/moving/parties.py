"""The four whom a conversation moves between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import modelwrap
from tests.loopback import Answer
from tests.moving import answers, rules
from tests.moving.answers import Turn


@dataclass(frozen=True)
class Party:
    name: str
    config: dict[str, Any]
    answer: Callable[..., Answer]
    holds: Callable[[dict[str, Any]], None]
    """Asserts that a request is one that the provider takes."""
    history: str
    """Where in a request the conversation stands."""

    def model(self) -> modelwrap.Model:
        return modelwrap.load({"config_name": self.name, "api_key": "some-key-of-mine", **self.config})[self.name]

    def names(self, body: dict[str, Any], given: tuple[str, ...]) -> dict[str, str]:
        """Give what the caller's tools are called in a request."""
        tools = [described for tool in body.get("tools", ()) for described in tool.get("functionDeclarations", [tool])]
        return {name: (tool.get("function") or tool)["name"] for name, tool in zip(given, tools, strict=True)}

    def says(self, turn: Turn, *, stream: bool) -> Answer:
        return self.answer(turn, stream=stream)


CHAT = Party("chat", {"model_type": "openai", "model": "gpt-4.1", "api": "chat"}, answers.chat, rules.chat, "messages")
RESPONSES = Party(
    "responses",
    {"model_type": "openai", "model": "gpt-5.5", "api": "responses"},
    answers.responses,
    rules.responses,
    "input",
)
CLAUDE = Party(
    "claude",
    {"model_type": "claude", "model": "claude-opus-5-5"},
    answers.claude,
    partial(rules.claude, inline_system=True),
    "messages",
)
GEMINI = Party(
    "gemini",
    {"model_type": "gemini", "model": "gemini-3.8-flash"},
    answers.gemini,
    partial(rules.gemini, newer=True),
    "contents",
)
PARTIES = (CHAT, RESPONSES, CLAUDE, GEMINI)

OLDER_CLAUDE = Party(
    "claude",
    {
        "model_type": "claude",
        "model": "claude-haiku-4-5",
        "generate_args": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    },
    answers.claude,
    partial(rules.claude, inline_system=False),
    "messages",
)
OLDER_GEMINI = Party(
    "gemini",
    {"model_type": "gemini", "model": "gemini-2.5-flash"},
    answers.gemini,
    partial(rules.gemini, newer=False),
    "contents",
)
OLDER_PARTIES = (CHAT, RESPONSES, OLDER_CLAUDE, OLDER_GEMINI)
