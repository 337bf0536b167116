"""Conversations that move between OpenAI's two wires, Claude and Gemini, in every order and back again."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any

import pytest

from modelwrap.models.base import Model
from modelwrap.types import Change, ChatReply
from tests.moving.answers import Says, Turn
from tests.moving.conversations import CONVERSATIONS, Conversation
from tests.moving.losses import losses
from tests.moving.parties import OLDER_PARTIES, PARTIES, Party
from tests.moving.rules import unsigned_by_others
from tests.moving.stage import Stage


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    with stage.set_up():
        yield stage


class Played:
    """Play a conversation turn by turn, each with the next party, and hold every request to the rules."""

    def __init__(self, conversation: Conversation, order: Sequence[Party], stage: Stage) -> None:
        self._conversation = conversation
        self._order = order
        self._stage = stage
        self._models: dict[str, Model] = {party.name: party.model() for party in order}
        self.messages: list[Any] = []
        self.loaded: list[dict[str, Any]] = []
        """The same, written to JSON and read again after each turn."""
        self.bodies: dict[str, list[dict[str, Any]]] = {}

    def play(self, *, stream: bool) -> None:
        calls: list[str] = []
        for number, (asks, says) in enumerate(self._conversation.turns):
            party = self._order[number % len(self._order)]
            self._say(asks(calls))
            reply, body = self._answered(party, number, stream=stream)
            self._check(party, body, reply.meta.changes)
            message = reply.choices[0].message
            calls = [call.id for call in message.tool_calls or ()]
            # By the names that the caller's tools have.
            assert [call.function.name for call in message.tool_calls or ()] == [name for name, _ in says.calls]
            self.messages.append(message if number % 2 else reply)
            self.loaded.append(json.loads(json.dumps(message.model_dump())))

    def _say(self, asked: list[dict[str, Any]]) -> None:
        self.messages += asked
        self.loaded += json.loads(json.dumps(asked))

    def _answered(self, party: Party, number: int, *, stream: bool) -> tuple[ChatReply, dict[str, Any]]:
        model, parameters = self._models[party.name], self._conversation.parameters
        before = self._written()
        explained = model.explain(self.messages, stream=stream, **parameters)
        names = party.names(explained.body, self._conversation.tools)
        turn = Turn(self._conversation.turns[number][1], number, names)
        self._stage.answers.append(party.says(turn, stream=stream))
        reply = model.stream(self.messages, **parameters).reply if stream else model(self.messages, **parameters)
        body: dict[str, Any] = json.loads(self._stage.sent[-1].content)
        assert self._written() == before, "what the caller holds was changed"
        assert body == explained.body
        assert body == model.explain(self.loaded, stream=stream, **parameters).body, "JSON lost something"
        return reply, body

    def _written(self) -> str:
        return json.dumps([item if isinstance(item, dict) else item.model_dump() for item in self.messages])

    def _check(self, party: Party, body: dict[str, Any], changes: Sequence[Change]) -> None:
        party.holds(body)
        unsigned_by_others(body, party.name)
        told = [change.what for change in changes]
        for lost, names in losses(self.loaded, body):
            assert any(what.startswith(names) for what in told), f"{party.name} lost {lost!r} and told {told}"
        for earlier in self.bodies.get(party.name, ())[-1:]:
            # What was sent before is sent again as it was, ids included: caches and signed thoughts hang on it.
            history = earlier[party.history]
            assert body[party.history][: len(history)] == history
            for name in ("tools", "system", "systemInstruction"):
                assert body.get(name) == earlier.get(name)
        self.bodies.setdefault(party.name, []).append(body)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_conversation_moves_in_every_order(name: str, stage: Stage) -> None:
    for number, order in enumerate(permutations(PARTIES)):
        Played(CONVERSATIONS[name], order, stage).play(stream=number % 2 == 1)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_conversation_moves_between_older_models(name: str, stage: Stage) -> None:
    for first in range(len(OLDER_PARTIES)):
        order = OLDER_PARTIES[first:] + OLDER_PARTIES[:first]
        Played(CONVERSATIONS[name], order, stage).play(stream=first % 2 == 1)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_conversation_goes_to_and_fro_between_two(name: str, stage: Stage) -> None:
    for pair in permutations(PARTIES, 2):
        Played(CONVERSATIONS[name], pair, stage).play(stream=False)


@pytest.mark.parametrize("party", PARTIES, ids=lambda party: party.name)
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_conversation_stays_where_it_began(name: str, party: Party, stage: Stage) -> None:
    Played(CONVERSATIONS[name], [party], stage).play(stream=True)


def test_there_are_enough_turns() -> None:
    assert len(CONVERSATIONS) >= 10
    assert all(len(conversation.turns) >= 6 for conversation in CONVERSATIONS.values())


def test_requests_are_the_same_in_every_process(stage: Stage) -> None:
    """Ids, names and all that is made up depends on the conversation alone, not on where it is written."""
    conversations = [CONVERSATIONS[name] for name in ("parallel calls", "odd names", "thinking", "ids")]
    given = []
    for conversation in conversations:
        played = Played(conversation, PARTIES, stage)
        played.play(stream=False)
        given.append([played.loaded[:-1], conversation.parameters])
    here = [party.model().explain(messages, **asked).body for party in PARTIES for messages, asked in given]

    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    configs = [{"api_key": "some-key-of-mine", "config_name": party.name, **party.config} for party in PARTIES]
    there = subprocess.run(
        [sys.executable, "-c", _EXPLAINED],
        input=json.dumps([configs, given]),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(there.stdout) == here


_EXPLAINED = """
import json, sys, modelwrap

configs, given = json.load(sys.stdin)
models = modelwrap.load(configs).values()
print(json.dumps([model.explain(messages, **asked).body for model in models for messages, asked in given]))
"""


def test_a_conversation_goes_on_inside_a_loop(stage: Stage) -> None:
    played = Played(CONVERSATIONS["thinking"], PARTIES, stage)
    played.play(stream=False)
    turn = Turn(Says("So."), 9, {})
    stage.answers.append(PARTIES[2].says(turn, stream=True))
    asked = [*played.messages, {"role": "user", "content": "And?"}]

    async def ask() -> ChatReply:
        return await PARTIES[2].model().astream(asked, **CONVERSATIONS["thinking"].parameters).reply

    reply = asyncio.run(ask())

    before = played.bodies["claude"][-1]["messages"]
    assert reply.text == "So."
    assert json.loads(stage.sent[-1].content)["messages"][: len(before)] == before
