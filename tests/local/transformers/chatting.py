"""Jobs run through a runner to their ends, and what their callers make of the pieces."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import transformers

from modelwrap.capabilities import Traits
from modelwrap.local.work import Event, Failed, Finished, Job, Piece, Runner
from modelwrap.types import ChatReply
from modelwrap.wire.assembly import Assembly
from modelwrap.wire.chat_chunks import ChunkReader
from tests.local.transformers import tiny

HELLO = [{"role": "user", "content": "Name three rivers."}]


@cache
def llama() -> tuple[Any, Any]:
    """Give a model and its tokenizer, which all tests share."""
    folder = tiny.llama()
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    return model, transformers.AutoTokenizer.from_pretrained(folder)


def plain_ids(messages: Any = HELLO, **named: Any) -> list[int]:
    """Have the library itself answer, token by the likeliest token."""
    model, tokenizer = llama()
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    made = model.generate(**inputs, **{"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0, **named})
    return [int(token) for token in made[0][inputs["input_ids"].shape[1] :]]


def plain_text(messages: Any = HELLO, **named: Any) -> str:
    text: str = llama()[1].decode(plain_ids(messages, **named), skip_special_tokens=True)
    return text


def job(number: int = 1, messages: Any = None, *, done: tuple[int, ...] = (), **parameters: Any) -> Job:
    return Job(number, {"messages": messages or HELLO, "max_tokens": 12, **parameters}, done)


def run(runner: Runner, *jobs: Job) -> dict[int, list[Event]]:
    """Compute jobs to their ends."""
    events: dict[int, list[Event]] = {job.number: [] for job in jobs}
    waiting = list(jobs)
    while waiting or runner.busy:
        while waiting and runner.room:
            runner.begin(waiting.pop(0))
        for event in runner.step():
            events[event.number].append(event)
    assert all(isinstance(each[-1], (Finished, Failed)) for each in events.values())
    return events


def reply_of(events: Sequence[Event]) -> ChatReply:
    """Put together what callers see."""
    reader, assembly = ChunkReader(Traits(), []), Assembly()
    for event in events:
        assert not isinstance(event, Failed), event.error
        if isinstance(event, Piece) and event.data:
            assembly.add(reader.read(event.data, event.data))
    if (rest := reader.rest()) is not None:
        assembly.add(rest)
    assert reader.complete
    reply = assembly.reply()
    assert isinstance(reply, ChatReply)
    return reply


def answer(runner: Runner, **parameters: Any) -> ChatReply:
    return reply_of(run(runner, job(**parameters))[1])


def tokens_of(events: Sequence[Event]) -> list[int]:
    return [token for event in events if isinstance(event, Piece) for token in event.tokens]
