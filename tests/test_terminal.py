from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from modelwrap import load
from modelwrap.errors import StreamTruncated
from modelwrap.terminal import Conversation, PlainAnswer, RichAnswer, finished_blocks, printable, remarks
from modelwrap.testing import Cut, FakeModel
from modelwrap.types import Change, ChatReply
from tests.loopback import Loopback, json_answer


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "markdown, finished",
    [
        ("", ""),
        ("one line", ""),
        ("one\n\ntwo", "one\n\n"),
        ("one\n\ntwo\n\nthree", "one\n\ntwo\n\n"),
        ("```\ncode\n\nmore\n", ""),
        ("text\n\n```\ncode\n\nmore\n```\n", "text\n\n"),
        ("```\ncode\n\nmore\n```\n\nafter", "```\ncode\n\nmore\n```\n\n"),
        ("~~~\n```\n\n~~~\n\nafter", "~~~\n```\n\n~~~\n\n"),
        ("one\n \ntwo", "one\n \n"),
        ("one\n  ", ""),
    ],
)
def test_a_block_is_finished_by_a_blank_line_outside_code(markdown: str, finished: str) -> None:
    assert finished_blocks(markdown) == (finished, markdown[len(finished) :])


def test_an_answer_cannot_move_the_cursor() -> None:
    assert printable("a\x1b[2Jb\x07\r\x9b31m\tc\n") == "a[2Jb31m\tc\n"


def test_a_plain_answer_ends_its_last_line_once() -> None:
    for text in ("no end", "an end\n"):
        out = io.StringIO()

        with PlainAnswer(out) as answer:
            answer.think("left out")
            answer.write(text)

        assert out.getvalue() == text.rstrip("\n") + "\n"


def test_a_plain_answer_in_a_file_is_left_as_it_is() -> None:
    out, screen = io.StringIO(), Screen()

    for place in (out, screen):
        with PlainAnswer(place) as answer:
            answer.write("\x1b[2J\n")

    assert (out.getvalue(), screen.getvalue()) == ("\x1b[2J\n", "[2J\n")


def test_a_rich_answer_shows_every_block_for_good() -> None:
    screen = Screen()

    with RichAnswer(screen) as answer:
        answer.think("Let me see.")
        for piece in ("# Riv", "ers\n\n- Rhine\n", "- Elbe\n\n```\nOd", "er\n\nend\n```\n"):
            answer.write(piece)

    shown = screen.getvalue()
    for word in ("Rivers", "Rhine", "Elbe", "Oder", "end"):
        assert word in shown
    assert "```" not in shown


def test_what_was_shown_of_a_broken_answer_is_remembered(capsys: pytest.CaptureFixture[str]) -> None:
    conversation = Conversation(FakeModel([Cut("Rhine, ", "El"), "Hello"]), {})

    with pytest.raises(StreamTruncated):
        conversation.ask("Name three rivers.")

    assert conversation.messages[-1] == {"role": "assistant", "content": "Rhine, El"}
    assert capsys.readouterr().out == "Rhine, El\n"


def test_an_answer_that_never_began_is_forgotten_with_its_question() -> None:
    conversation = Conversation(FakeModel([ValueError("no"), "Hello"]), {}, system="Be brief.")

    with pytest.raises(ValueError, match="no"):
        conversation.ask("Name three rivers.")

    assert conversation.messages == [{"role": "system", "content": "Be brief."}]


def test_an_empty_answer_is_said_to_be_empty(capsys: pytest.CaptureFixture[str]) -> None:
    Conversation(FakeModel([""]), {}).ask("Hi")

    assert capsys.readouterr().err == "the answer is empty\n"


@pytest.mark.parametrize(
    "message, finish_reason, said",
    [
        ({"content": "Rhine"}, "stop", []),
        ({"content": "Rhi"}, "length", ["the answer was cut at the limit of tokens"]),
        ({"content": "Rhi"}, "content_filter", ["the provider's filter ended the answer"]),
        ({"content": None, "refusal": "I would rather not."}, "stop", ["the model refused: I would rather not."]),
        ({"content": None}, "stop", ["the answer is empty"]),
    ],
)
def test_what_the_text_does_not_say_is_remarked(message: dict[str, Any], finish_reason: str, said: list[str]) -> None:
    reply = ChatReply.model_validate({"choices": [{"message": message, "finish_reason": finish_reason}]})

    assert remarks(reply) == said


def test_a_change_of_the_request_is_remarked() -> None:
    reply = ChatReply.model_validate({"choices": [{"message": {"content": "Rhine"}}]})
    reply.meta.changes = (Change("renamed", "max_tokens", "sent as max_completion_tokens"),)

    assert remarks(reply) == ["max_tokens: renamed, sent as max_completion_tokens"]


def test_an_image_that_came_as_bytes_does_not_fill_the_terminal(
    server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script(json_answer({"data": [{"b64_json": "A" * 5000}]}))
    entry = {"config_name": "m", "model_type": "openai_dall_e", "client_args": {"base_url": server.base_url}}
    model = load(entry)["m"]
    file, screen = io.StringIO(), Screen()

    for out in (file, screen):
        monkeypatch.setattr(sys, "stdout", out)
        Conversation(model, {}).ask("A river.")

    assert "A" * 5000 in file.getvalue()
    assert "5022 characters" in screen.getvalue()
    assert len(screen.getvalue()) < 1000
