from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import PrivateAttr

from modelwrap.types import ChatChunk

PIECE = {"id": "1", "choices": [{"index": 0, "delta": {"content": "Rhine"}}]}


class Noted(ChatChunk):
    _note: str = PrivateAttr(default="none")


def pickled(chunk: ChatChunk) -> Any:
    return pickle.loads(pickle.dumps(chunk))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, ChatChunk.model_copy, pickled])
def test_a_copy_of_a_chunk_knows_the_json_that_it_came_as(copied: Callable[[ChatChunk], ChatChunk]) -> None:
    chunk = ChatChunk.model_validate(PIECE)
    chunk._raw = PIECE

    other = copied(chunk)

    assert other == chunk
    assert other.raw == PIECE


@pytest.mark.parametrize("made", [ChatChunk.model_validate(PIECE), ChatChunk(**PIECE), ChatChunk.model_construct()])
def test_a_chunk_that_came_from_nowhere_has_no_raw_json(made: ChatChunk) -> None:
    assert made.raw is None


def test_a_class_that_inherits_from_a_chunk_may_have_private_attributes_of_its_own() -> None:
    chunk = Noted.model_validate(PIECE)

    chunk._raw = PIECE

    assert (chunk.raw, chunk._note) == (PIECE, "none")
