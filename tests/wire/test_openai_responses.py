"""What the folders of cases cannot show of OpenAI's Responses."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Iterator
from random import Random
from typing import Any

import pytest

from modelwrap.capabilities import Traits
from modelwrap.errors import CallError, InvalidResponse, StreamTruncated
from modelwrap.runtime.base import run_sync
from modelwrap.types import ChatChunk
from modelwrap.wire import openai_responses, sse
from modelwrap.wire.assembly import Assembly
from modelwrap.wire.http import Endpoint, WireCall
from modelwrap.wire.openai_responses_stream import MOST_ITEMS, EventReader
from tests.loopback import event
from tests.responses_wire import ANSWERS, called, events_of, response, said, thought

ALL_KINDS = response(
    thought("Hm.", "So."),
    said("I look. ", phase="commentary"),
    called(1),
    thought("Two.", number=2),
    said("Zürich 🏔", 2),
)


def read(body: bytes, size: int = 4096) -> tuple[list[ChatChunk], Exception | None, sse.End]:
    chunks: list[ChatChunk] = []
    end = sse.End()

    async def events() -> AsyncIterator[sse.Event]:
        decoder = sse.Decoder()
        for start in range(0, len(body), size):
            for one in decoder.feed(body[start : start + size]):
                yield one
        for one in decoder.finish():
            yield one

    async def read_all() -> None:
        async for chunk in openai_responses.from_stream(events(), WireCall("m", [], {}), Traits(), end):
            chunks.append(chunk)

    try:
        run_sync(read_all())
    except CallError as error:
        return chunks, error, end
    return chunks, None, end


def assembled(chunks: list[ChatChunk]) -> Any:
    assembly = Assembly()
    for chunk in chunks:
        assembly.add(chunk)
    return assembly.reply()


@pytest.mark.parametrize("whole", [ALL_KINDS, *ANSWERS.values()], ids=["all kinds", *ANSWERS])
def test_a_stream_that_is_cut_at_any_event_says_so_and_keeps_what_came(whole: dict[str, Any]) -> None:
    events = events_of(whole)
    complete = assembled(read(b"".join(map(event, events)))[0])
    message = complete.choices[0].message

    for kept in range(len(events)):
        chunks, error, end = read(b"".join(map(event, events[:kept])))

        assert isinstance(error, StreamTruncated if kept else InvalidResponse)
        assert not end.marked
        if chunks:
            partial = assembled(chunks).choices[0]
            assert partial.finish_reason is None
            assert (message.content or "").startswith(partial.message.content or "")
            assert (message.reasoning_content or "").startswith(partial.message.reasoning_content or "")
            assert len(partial.message.tool_calls or ()) <= len(message.tool_calls or ())


def test_a_stream_reads_the_same_wherever_its_bytes_are_cut() -> None:
    body = b"".join(map(event, events_of(ALL_KINDS)))
    expected = [chunk.model_dump() for chunk in read(body)[0]]

    assert [chunk.model_dump() for chunk in read(body, size=1)[0]] == expected
    assert [chunk.model_dump() for chunk in read(body, size=7)[0]] == expected


def test_every_event_is_in_the_raw_json_of_the_reply_and_in_no_two_pieces() -> None:
    events = events_of(ALL_KINDS)

    chunks, _, _ = read(b"".join(map(event, events)))

    assert assembled(chunks).raw == events


JUNK: tuple[Any, ...] = (None, True, -1, 1e308, "", "x", [], {}, [None], [{}], {"type": 3}, {"type": "message"}, 10**9)


def mutated(value: Any, random: Random) -> Any:
    """Give a value in which something is another, is gone, or stands where something else should."""
    copied = copy.deepcopy(value)
    places = list(places_in(copied))
    holder, key = random.choice(places)
    way = random.random()
    if way < 0.6:
        holder[key] = copy.deepcopy(random.choice(JUNK))
    elif way < 0.8:
        del holder[key]
    else:
        other, name = random.choice(places)
        holder[key] = copy.deepcopy(other[name])
    return copied


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places_in(value[key])


@pytest.mark.parametrize("seed", range(8))
def test_whatever_a_server_sends_ends_in_a_reply_or_a_known_error(seed: int) -> None:
    random = Random(seed)

    for _ in range(100):
        whole = random.choice(list(ANSWERS.values()))
        body = json.dumps(mutated(mutated(whole, random), random)).encode()
        try:
            openai_responses.from_response(body, {}, WireCall("m", [], {}), Traits()).model_dump_json()
        except CallError as error:
            assert str(error)
        events = [mutated(one, random) if random.random() < 0.2 else one for one in events_of(whole)]
        chunks, _, _ = read(b"".join(map(event, events)))
        assembled(chunks).model_dump_json()


def test_items_without_end_are_limited() -> None:
    reader = EventReader(WireCall("m", [], {}), Traits().facts)

    with pytest.raises(InvalidResponse, match="items"):
        for index in range(MOST_ITEMS + 1):
            reader.read({"type": "response.output_item.done", "output_index": index, "item": called(index)})


def test_what_the_server_keeps_is_told_by_any_of_its_names() -> None:
    results = [{"role": "tool", "tool_call_id": "call_1", "content": "Sun."}]
    endpoint = Endpoint("https://example.com/v1")

    for parameters, extra_body in (({"conversation": "conv_1"}, {}), ({}, {"previous_response_id": "resp_1"})):
        call = WireCall("m", results, dict(parameters), extra_body=extra_body)
        body = openai_responses.to_request(call, endpoint, Traits()).json

        assert body["input"] == [{"type": "function_call_output", "call_id": "call_1", "output": "Sun."}]
        assert "store" not in body


def test_a_preview_of_an_image_is_handed_on_at_once_and_is_no_part_of_the_answer() -> None:
    made = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBORw0KGgo="}
    events = events_of(response(made))
    kind = "response.image_generation_call.partial_image"
    preview = {
        "type": kind,
        "output_index": 0,
        "item_id": "ig_1",
        "partial_image_index": 0,
        "partial_image_b64": "iVBO",
    }

    chunks, error, _ = read(b"".join(map(event, [*events[:2], preview])))
    whole = assembled(read(b"".join(map(event, [*events[:2], preview, *events[2:]])))[0])

    assert isinstance(error, StreamTruncated)
    assert chunks[-1].raw[-1] == preview
    assert whole.image_urls == ["data:image/png;base64,iVBORw0KGgo="]
    assert whole.text == ""


def test_nulls_in_an_answer_are_nothing_that_has_to_be_kept() -> None:
    item = said(
        "Hello!", phase=None, content=[{"type": "output_text", "text": "Hello!", "logprobs": None, "own": None}]
    )
    body = json.dumps(response(item)).encode()

    reply = openai_responses.from_response(body, {}, WireCall("m", [], {}), Traits())

    assert reply.choices[0].message.model_dump() == {"role": "assistant", "content": "Hello!"}
