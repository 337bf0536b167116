"""What a connection's bytes tell, however they are cut."""

from __future__ import annotations

import pytest

from modelwrap.runtime.conversation import LARGEST_HEAD, Conversation, TooManyInformational

EARLY = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


def hear(conversation: Conversation, data: bytes, step: int) -> None:
    for start in range(0, len(data), step):
        conversation.hears(data[start : start + step])


@pytest.mark.parametrize("step", [1, 3, 10_000])
def test_eight_informational_answers_are_taken_and_no_ninth(step: int) -> None:
    conversation = Conversation()
    for _ in range(2):
        conversation.asks()
        hear(conversation, EARLY * 8 + ANSWER, step)
    assert not conversation.in_head

    conversation.asks()
    with pytest.raises(TooManyInformational, match="more than 8"):
        hear(conversation, EARLY * 9, step)


def test_what_looks_like_a_head_inside_a_body_is_none() -> None:
    conversation = Conversation()
    conversation.asks()

    conversation.hears(ANSWER + EARLY * 20)
    conversation.hears(EARLY * 20)

    assert not conversation.in_head


def test_a_change_of_protocols_is_no_informational_answer() -> None:
    conversation = Conversation()
    conversation.asks()

    conversation.hears(b"HTTP/1.1 101 Switching\r\n\r\n" + EARLY * 20)

    assert not conversation.in_head


@pytest.mark.parametrize("step", [1, 2, 10_000])
def test_a_head_ends_with_an_empty_line(step: int) -> None:
    conversation = Conversation()
    conversation.asks()
    hear(conversation, b"HTTP/1.1 200 OK\r\nx: 1\r\n", step)
    within = conversation.in_head

    hear(conversation, b"\r\n", step)

    assert (within, conversation.in_head) == (True, False)


def test_a_head_without_end_is_not_kept() -> None:
    conversation = Conversation()
    conversation.asks()

    conversation.hears(b"x" * LARGEST_HEAD)

    assert not conversation.in_head


def test_is_stale_only_before_an_answer_on_a_connection_that_served() -> None:
    conversation = Conversation()
    stale = [conversation.stale]
    for _ in range(2):
        conversation.asks()
        conversation.asks()
        stale.append(conversation.stale)
        conversation.hears(ANSWER)
        stale.append(conversation.stale)

    assert stale == [False, False, False, True, False]
    assert conversation.exchanges == 2
