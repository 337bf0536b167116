"""What a stream owes to a reader who does not read to the end."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import modelwrap
from modelwrap.errors import ConfigError, StreamTruncated
from tests.colours import Colour
from tests.loopback import Answer, Loopback, chat_answer, chunk, event, stream_answer
from tests.open_sockets import sockets_to


@pytest.fixture
def model(server: Loopback) -> modelwrap.Model:
    server.script(stream_answer("Hel", "lo"))
    config = {"config_name": "gpt", "model_type": "openai", "client_args": {"base_url": server.base_url}}
    return modelwrap.load(config)["gpt"]


def test_nothing_is_sent_before_the_first_piece_is_asked_for(model: modelwrap.Model, server: Loopback) -> None:
    stream = model.stream("Hi")
    before = len(server.asked)

    next(stream)

    assert (before, len(server.asked)) == (0, 1)


def test_leaving_the_block_hangs_up(model: modelwrap.Model, server: Loopback) -> None:
    with model.stream("Hi") as stream:
        first = next(stream).text

    assert first == "Hel"
    assert sockets_to(server.port) == 0
    assert list(stream) == []


def test_entering_the_block_opens_and_leaving_it_unread_hangs_up(model: modelwrap.Model, server: Loopback) -> None:
    with model.stream("Hi"):
        opened = len(server.asked)

    assert opened == 1
    assert sockets_to(server.port) == 0


def test_a_closed_stream_has_no_whole_reply(model: modelwrap.Model) -> None:
    stream = model.stream("Hi")
    next(stream)
    stream.close()

    with pytest.raises(StreamTruncated, match="closed before its end") as caught:
        _ = stream.reply

    assert caught.value.partial is not None
    assert caught.value.partial.text == "Hel"


def test_a_stream_that_was_read_leaves_its_connection_for_the_next(
    colour: Colour, model: modelwrap.Model, server: Loopback
) -> None:
    async def read_twice() -> int:
        for _ in range(2):
            await model.astream("Hi").reply
        return sockets_to(server.port)

    if colour.name == "blocking":
        replies = [model.stream("Hi").reply for _ in range(2)]
        assert [reply.text for reply in replies] == ["Hello"] * 2
        left = sockets_to(server.port)
    else:
        left = asyncio.run(read_twice())

    assert left == 1
    assert len({asked.client for asked in server.asked}) == 1


@pytest.mark.parametrize(
    "content_type",
    ["text/event-stream;", "text/event-stream;charset=windows-1251", "text/event-stream\t;bogus=1", "text/plain", ""],
)
def test_whatever_a_stream_is_called_it_is_read_as_what_it_is(
    colour: Colour, model: modelwrap.Model, server: Loopback, content_type: str
) -> None:
    whole = stream_answer("Hé", "llo…")
    server.script(Answer(200, {"content-type": content_type}, whole.pieces))

    _, reply = colour.stream(model)

    assert reply.text == "Héllo…"


def test_a_body_that_goes_on_after_its_end_mark_is_hung_up(model: modelwrap.Model, server: Loopback) -> None:
    whole = stream_answer("Hello")
    server.script(Answer(200, whole.headers, [*whole.pieces, 0.3]))

    stream = model.stream("Hi")
    started = time.monotonic()
    text = stream.reply.text

    assert text == "Hello"
    assert time.monotonic() - started < 0.25
    assert sockets_to(server.port) == 0


def test_a_forgotten_stream_gives_its_connection_back(model: modelwrap.Model, server: Loopback) -> None:
    stream = model.stream("Hi")
    next(stream)

    del stream
    gc.collect()

    assert sockets_to(server.port) == 0


def test_reading_the_reply_twice_gives_the_same(model: modelwrap.Model) -> None:
    stream = model.stream("Hi")

    assert stream.reply is stream.reply
    assert next(stream, None) is None


def test_an_error_in_the_readers_loop_hangs_up_with_the_block(model: modelwrap.Model, server: Loopback) -> None:
    def read() -> None:
        with model.stream("Hi") as stream:
            for _ in stream:
                raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        read()

    assert sockets_to(server.port) == 0


def test_a_blocking_call_works_inside_a_running_loop(model: modelwrap.Model, server: Loopback) -> None:
    server.script(chat_answer("fine"))

    async def notebook_cell() -> str:
        return model("Hi").text

    assert asyncio.run(notebook_cell()) == "fine"


def test_a_blocking_stream_outlives_the_loop_it_was_opened_in(model: modelwrap.Model) -> None:
    async def notebook_cell() -> tuple[modelwrap.Stream, str]:
        stream = model.stream("Hi")
        return stream, next(stream).text

    stream, first = asyncio.run(notebook_cell())
    rest = [chunk.text for chunk in stream]

    assert first + "".join(rest) == "Hello"
    assert stream.reply.text == "Hello"


def test_a_stream_that_somebody_closes_underneath_does_not_look_whole(model: modelwrap.Model) -> None:
    async def read() -> None:
        stream = model.astream("Hi")
        await anext(stream)
        chunks = stream._reading._chunks
        assert chunks is not None
        await chunks.aclose()  # what a loop does to every generator when it shuts down
        await stream.reply

    with pytest.raises(StreamTruncated) as caught:
        asyncio.run(read())

    assert caught.value.partial is not None
    assert caught.value.partial.text == "Hel"


def test_a_stream_that_broke_never_looks_finished(model: modelwrap.Model, server: Loopback) -> None:
    server.script(stream_answer("Hel", cut=True))
    stream = model.stream("Hi")

    with pytest.raises(StreamTruncated, match="the connection broke"):
        list(stream)
    with pytest.raises(StreamTruncated, match="broke before its end") as again:
        next(stream)

    assert again.value.partial is not None
    assert again.value.partial.text == "Hel"


def test_a_stream_whose_reader_was_cancelled_never_looks_finished(model: modelwrap.Model, server: Loopback) -> None:
    whole = stream_answer("Hel", "lo")
    server.script(Answer(200, whole.headers, [0.1, whole.pieces[0], 0.1, *whole.pieces[1:]]))

    async def read(pieces_before: int) -> None:
        stream = model.astream("Hi")
        for _ in range(pieces_before):
            await anext(stream)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.02)
        await anext(stream)

    for pieces_before in (0, 1):
        with pytest.raises(StreamTruncated):
            asyncio.run(read(pieces_before))


def test_a_second_reader_of_a_stream_is_refused_and_the_first_goes_on(model: modelwrap.Model, server: Loopback) -> None:
    whole = stream_answer("Hel", "lo")
    server.script(Answer(200, whole.headers, [whole.pieces[0], 0.1, *whole.pieces[1:]]))

    async def rest(stream: modelwrap.AsyncStream) -> str:
        return "".join([chunk.text async for chunk in stream])

    async def read() -> list[Any]:
        stream = model.astream("Hi")
        await anext(stream)
        return await asyncio.gather(rest(stream), rest(stream), return_exceptions=True)

    def read_in_threads() -> list[Any]:
        stream = model.stream("Hi")
        next(stream)
        with ThreadPoolExecutor() as threads:
            readers = [threads.submit(lambda: "".join(chunk.text for chunk in stream)) for _ in range(2)]
        return [reader.exception() or reader.result() for reader in readers]

    for outcomes in (asyncio.run(read()), read_in_threads()):
        assert "lo" in outcomes
        (refused,) = [outcome for outcome in outcomes if outcome != "lo"]
        assert isinstance(refused, ConfigError)
        assert "being read already" in str(refused)


def test_a_stream_closed_from_elsewhere_hangs_up_after_its_piece(model: modelwrap.Model, server: Loopback) -> None:
    server.script(Answer(200, stream_answer().headers, [event(chunk("Hel")), 0.1, event(chunk("lo")), 0.2]))

    async def read() -> tuple[list[str], list[Any]]:
        stream = model.astream("Hi")
        first = (await anext(stream)).text
        reader = asyncio.create_task(anext(stream))
        await asyncio.sleep(0.02)
        await stream.aclose()
        texts = [first, (await reader).text, *[chunk.text async for chunk in stream]]
        await asyncio.sleep(0.01)
        return texts, sockets_to(server.port)

    assert asyncio.run(read()) == (["Hel", "lo"], 0)


def test_the_clock_of_a_stream_starts_with_its_request(colour: Colour, model: modelwrap.Model) -> None:
    async def read_later() -> str:
        stream = model.astream("Hi", timeout=0.1)
        await asyncio.sleep(0.12)
        return (await stream.reply).text

    if colour.name == "concurrent":
        text = asyncio.run(read_later())
    else:
        stream = model.stream("Hi", timeout=0.1)
        time.sleep(0.12)
        text = stream.reply.text

    assert text == "Hello"


def test_a_cancelled_reader_leaves_nothing_behind(model: modelwrap.Model, server: Loopback) -> None:
    server.script(stream_answer(*["x"] * 3, before=[0.05]))

    async def read() -> None:
        async for _ in model.astream("Hi"):
            await asyncio.sleep(0.01)

    async def cancel(after: float) -> list[int]:
        task = asyncio.create_task(read())
        await asyncio.sleep(after)
        task.cancel()
        await asyncio.wait([task])
        del task
        gc.collect()
        await asyncio.sleep(0.02)
        return [sockets_to(server.port), len(asyncio.all_tasks())]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        left = [asyncio.run(cancel(after)) for after in (0.02, 0.055, 0.065)]

    assert left == [[0, 1]] * 3


@pytest.mark.parametrize("after", [[], [0.2]])
def test_a_loop_that_ends_hangs_up_in_silence(
    model: modelwrap.Model, server: Loopback, after: list[bytes | float]
) -> None:
    server.script(Answer(200, {"content-type": "text/event-stream"}, [event(chunk("Hel")), *after]))
    told: list[Any] = []

    async def leave() -> modelwrap.AsyncStream:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        stream = model.astream("Hi")
        await anext(stream)
        return stream

    async def reply(stream: modelwrap.AsyncStream) -> None:
        await stream.reply

    async def read_on(stream: modelwrap.AsyncStream) -> None:
        async for _ in stream:
            pass

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        stream = asyncio.run(leave())
        gc.collect()

    assert (told, warned) == ([], [])
    for read in (reply, read_on):
        with pytest.raises(StreamTruncated) as caught:
            asyncio.run(read(stream))
        assert caught.value.partial is not None
        assert caught.value.partial.text == "Hel"


def test_a_loop_that_nobody_shuts_down_leaves_no_traceback(server: Loopback) -> None:
    server.script(Answer(200, {"content-type": "text/event-stream"}, [event(chunk("Hel")), 0.2]))
    config = {"config_name": "gpt", "model_type": "openai", "client_args": {"base_url": server.base_url}}
    program = f"""
import asyncio, modelwrap

async def leave():
    stream = modelwrap.load({config})["gpt"].astream("Hi")
    await anext(stream)
    return stream

loop = asyncio.new_event_loop()
stream = loop.run_until_complete(leave())
loop.close()
"""

    # The socket was left open, of which Python tells by itself.
    done = subprocess.run(
        [sys.executable, "-W", "ignore::ResourceWarning", "-c", program],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )

    assert (done.stdout, done.stderr) == ("", "")


def test_a_forgotten_async_stream_gives_its_connection_back(model: modelwrap.Model, server: Loopback) -> None:
    told: list[Any] = []

    async def forget() -> list[Any]:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        async for _ in model.astream("Hi"):
            break
        await asyncio.sleep(0.02)
        return sockets_to(server.port)

    assert asyncio.run(forget()) == 0
    assert told == []


def test_an_async_block_hangs_up_too(model: modelwrap.Model, server: Loopback) -> None:
    async def read() -> list[int]:
        async with model.astream("Hi") as stream:
            await anext(stream)
        await asyncio.sleep(0.01)
        return sockets_to(server.port)

    assert asyncio.run(read()) == 0
