from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import modelwrap
from modelwrap.errors import (
    AuthenticationFailed,
    ConfigError,
    ConnectionFailed,
    RateLimited,
    RealRequestForbidden,
    ReplayMismatch,
    StreamTruncated,
)
from modelwrap.models.base import Model
from modelwrap.testing import FakeModel, forbid_requests, record, replay, use_fake
from tests.colours import COLOURS, Colour
from tests.loopback import Asked, Loopback, chat_answer, error_answer, stream_answer

CANARY = "sk-canary-5d1f0e7a/9+"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recordings" / "rivers.json"


@pytest.fixture
def model(server: Loopback) -> Iterator[Model]:
    with modelwrap.load(config(server.base_url)) as models:
        yield models["gpt"]


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail whatever connects; an event loop has its own pair of sockets and connects nothing."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelwrap.policies.retry.delay", lambda error, attempt: 0.0)


def config(base_url: str, key: str = CANARY) -> dict[str, Any]:
    return {
        "config_name": "gpt",
        "model_type": "openai",
        "model": "test-model",
        "api_key": key,
        "client_args": {"base_url": base_url},
    }


def echo(asked: Asked) -> Any:
    return chat_answer(f"echo: {asked.body['messages'][-1]['content']}")


def _one(**outcome: Any) -> str:
    request = {"method": "POST", "url": "http://127.0.0.1/"}
    return json.dumps({"modelwrap_recording": 1, "interactions": [{"request": request, **outcome}]})


def interactions(path: Path) -> list[dict[str, Any]]:
    document = json.loads(path.read_text())
    assert document["modelwrap_recording"] == 1
    found: list[dict[str, Any]] = document["interactions"]
    return found


@pytest.mark.parametrize("player", COLOURS, ids=lambda colour: f"played-{colour.name}")
@pytest.mark.usefixtures("no_waiting")
def test_what_either_colour_recorded_both_play(
    server: Loopback, model: Model, path: Path, colour: Colour, player: Colour, request: pytest.FixtureRequest
) -> None:
    server.script(error_answer(429), chat_answer("Rhine"), stream_answer("El", "be"))
    with record(path):
        recorded = colour.call(model, "one")
        chunks, streamed = colour.stream(model, "two")
    server.close()
    request.getfixturevalue("no_sockets")

    with replay(path):
        played = player.call(model, "one")
        played_chunks, played_stream = player.stream(model, "two")

    assert played.model_dump() == recorded.model_dump()
    assert played.meta.request_id == recorded.meta.request_id == "req-1"
    assert played.meta.attempts == recorded.meta.attempts == 2
    assert [piece.raw for piece in played_chunks] == [piece.raw for piece in chunks]
    assert played_stream.model_dump() == streamed.model_dump()


def test_a_recording_is_json_that_people_read(server: Loopback, model: Model, path: Path) -> None:
    server.script(stream_answer("Rhine"))

    with record(path):
        list(model.stream("Hi"))

    text = path.read_text()
    assert text.endswith("\n")
    assert '\n          "data: [DONE]\\n\\n"\n' in text
    [interaction] = interactions(path)
    assert interaction["request"]["json"]["messages"] == [{"role": "user", "content": "Hi"}]
    assert interaction["response"]["headers"] == {"content-type": "text/event-stream", "x-request-id": "req-1"}


def test_no_credential_is_in_a_recording(server: Loopback, model: Model, path: Path, colour: Colour) -> None:
    encoded = base64.b64encode(CANARY.encode()).decode()
    server.script(
        chat_answer(f"your key is {CANARY} or {encoded}", note=CANARY),
        stream_answer(f"key {CANARY}"),
        error_answer(401, f"Incorrect API key provided: {CANARY}", x_echo=CANARY),
    )

    with record(path):
        colour.call(model, f"my key is {CANARY}", extra_headers={"x-api-key": "other-canary"})
        colour.stream(model, extra_headers={"x-trace": CANARY})
        with pytest.raises(AuthenticationFailed):
            colour.call(model)

    text = path.read_text().lower()
    assert server.asked[0].headers["authorization"] == f"Bearer {CANARY}"
    assert server.asked[0].headers["x-api-key"] == "other-canary"
    assert "canary" not in text
    assert encoded.lower() not in text
    assert "authorization" not in text
    assert "bearer" not in text


def test_a_file_that_would_hold_a_credential_is_not_written(server: Loopback, path: Path) -> None:
    # A key that is a word of the recording itself cannot be told from it.
    with modelwrap.load(config(server.base_url, key="interactions")) as models:
        server.script(chat_answer())

        with pytest.raises(ConfigError, match="not written"), record(path):
            models["gpt"]("Hi")

    assert not path.exists()


def test_a_replay_needs_no_key_of_the_one_who_recorded(server: Loopback, model: Model, path: Path) -> None:
    server.script(chat_answer("Rhine"))
    with record(path):
        model(f"is {CANARY} my key?")

    with modelwrap.load(config(server.base_url, key="replayed")) as models, replay(path):
        reply = models["gpt"]("is replayed my key?")

    assert reply.text == "Rhine"


def test_threads_are_recorded_and_played_in_any_order(server: Loopback, model: Model, path: Path) -> None:
    server.script(echo)
    questions = [f"question {number}" for number in range(24)]

    with ThreadPoolExecutor(8) as pool:
        with record(path):
            recorded = list(pool.map(lambda question: model(question).text, questions))
        server.close()
        with replay(path):
            played = list(pool.map(lambda question: model(question).text, reversed(questions)))

    assert recorded == [f"echo: {question}" for question in questions]
    assert played == recorded[::-1]


def test_tasks_are_recorded_and_played(server: Loopback, model: Model, path: Path) -> None:
    server.script(echo)

    async def ask_all() -> list[str]:
        replies = await asyncio.gather(*[model.acall(f"question {number}") for number in range(4)])
        return [reply.text for reply in replies]

    with record(path):
        recorded = asyncio.run(ask_all())
    with replay(path):
        played = asyncio.run(ask_all())

    assert played == recorded
    assert len(interactions(path)) == 4


def test_a_repeated_question_is_answered_as_often_as_it_was_recorded(
    server: Loopback, model: Model, path: Path, colour: Colour
) -> None:
    server.script(chat_answer("first"), chat_answer("second"))
    with record(path):
        colour.call(model)
        colour.call(model)

    def ask_thrice() -> None:
        for _ in range(3):
            answers.append(colour.call(model).text)

    answers: list[str] = []
    with pytest.raises(ReplayMismatch, match="recorded 2 times and is asked once more"), replay(path):
        ask_thrice()

    assert answers == ["first", "second"]


def test_another_question_is_a_mismatch_that_shows_the_difference(
    server: Loopback, model: Model, path: Path, colour: Colour
) -> None:
    server.script(chat_answer())
    with record(path):
        colour.call(model, "Name three rivers.", temperature=0.5)

    with pytest.raises(ReplayMismatch) as caught, replay(path):
        colour.call(model, "Name four rivers.", temperature=1.0)

    words = str(caught.value)
    assert str(path) in words
    assert 'messages[0].content: recorded "Name three rivers.", asked "Name four rivers."' in words
    assert "temperature: recorded 0.5, asked 1.0" in words


def test_a_recording_played_in_part_fails(server: Loopback, model: Model, path: Path) -> None:
    server.script(echo)
    with record(path):
        model("one")
        model("two")

    with pytest.raises(ReplayMismatch, match="1 of 2 recorded requests were never asked"), replay(path):
        model("one")


def test_an_error_in_the_block_is_not_hidden_by_what_was_not_played(server: Loopback, model: Model, path: Path) -> None:
    server.script(echo)
    with record(path):
        model("one")

    with pytest.raises(KeyError), replay(path):
        raise KeyError("mine")


def test_a_mismatch_that_the_code_swallowed_fails_at_the_end(server: Loopback, model: Model, path: Path) -> None:
    server.script(echo)
    with record(path):
        model("one")

    def careless() -> None:
        model("one")
        try:
            model("two")
        except Exception:  # what is tested is that this does no harm
            pass

    with pytest.raises(ReplayMismatch, match="asked"), replay(path):
        careless()


def test_a_failed_connection_plays_as_the_same_error(
    server: Loopback, model: Model, path: Path, colour: Colour, no_waiting: None
) -> None:
    server.close()
    with record(path), pytest.raises(ConnectionFailed) as recorded:
        colour.call(model, max_retries=1)

    with replay(path), pytest.raises(ConnectionFailed) as played:
        colour.call(model, max_retries=1)

    assert str(played.value) == str(recorded.value)
    assert played.value.attempts == 2
    assert played.value.sent is recorded.value.sent is False
    assert interactions(path)[0]["error"]["type"] == "ConnectionFailed"


def test_a_cut_stream_plays_as_the_same_error_with_what_had_come(
    server: Loopback, model: Model, path: Path, colour: Colour
) -> None:
    server.script(stream_answer("El", "be", cut=True))
    with record(path), pytest.raises(Exception) as recorded:
        colour.stream(model)

    with replay(path), pytest.raises(Exception) as played:
        colour.stream(model)

    assert type(played.value) is type(recorded.value)
    assert isinstance(played.value, (StreamTruncated, ConnectionFailed))
    assert played.value.partial is not None
    assert played.value.partial.text == "Elbe"


def test_an_abandoned_stream_plays_as_far_as_it_was_read(server: Loopback, model: Model, path: Path) -> None:
    server.script(lambda asked: stream_answer("El", *["be"] * 2000))
    with record(path), model.stream("Hi") as stream:
        next(stream)

    with replay(path), model.stream("Hi") as stream:
        first = next(stream)
    with pytest.raises(ReplayMismatch, match="read only so far"), replay(path):
        list(model.stream("Hi"))

    assert first.text == "El"
    assert interactions(path)[0]["response"]["left_off"] is True


def test_the_waits_between_attempts_are_not_waited_again(
    server: Loopback, model: Model, path: Path, colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script(error_answer(429, retry_after="0.01"), chat_answer())
    with record(path):
        colour.call(model)
    recording = path.read_text()
    path.write_text(recording.replace('"retry-after": "0.01"', '"retry-after": "100"'))

    with replay(path):
        reply = colour.call(model)

    assert "retry-after" in recording
    assert [attempt.outcome for attempt in reply.meta.history] == ["RateLimited", "ok"]
    assert reply.meta.history[1].delay >= 100


def test_recordings_and_replays_do_not_nest(server: Loopback, model: Model, path: Path, tmp_path: Path) -> None:
    server.script(echo)
    with record(path):
        model("one")

    for outer in (record, replay):
        for inner in (record, replay):
            with outer(path):
                with pytest.raises(ConfigError, match="do not nest"), inner(path):
                    pass
                model("one")


def test_one_object_is_not_in_two_blocks_at_once(path: Path) -> None:
    recording = record(path)

    with recording, pytest.raises(ConfigError, match="in use already"), recording:
        pass


def test_the_other_threads_of_the_process_are_recorded_too(server: Loopback, model: Model, path: Path) -> None:
    server.script(echo)

    with record(path):
        thread = threading.Thread(target=lambda: model("from a thread"))
        thread.start()
        thread.join()

    assert interactions(path)[0]["request"]["json"]["messages"][0]["content"] == "from a thread"


def test_a_stream_read_after_the_block_is_recorded_as_far_as_it_had_come(
    server: Loopback, model: Model, path: Path
) -> None:
    server.script(lambda asked: stream_answer("El", *["be"] * 2000))

    with record(path):
        stream = model.stream("Hi")
        next(stream)
    rest = list(stream)

    assert len(rest) > 2000
    assert interactions(path)[0]["response"]["left_off"] is True


def test_a_stream_that_begins_after_its_replay_is_over_is_a_mismatch(
    server: Loopback, model: Model, path: Path
) -> None:
    server.script(stream_answer("Elbe"))
    with record(path):
        list(model.stream("Hi"))
    with pytest.raises(ReplayMismatch, match="never asked"), replay(path):
        stream = model.stream("Hi")

    with pytest.raises(ReplayMismatch, match="the replay is over"):
        list(stream)


def test_a_recording_is_written_though_the_block_fails(server: Loopback, model: Model, path: Path) -> None:
    server.script(echo)

    def fail() -> None:
        model("one")
        raise KeyError("mine")

    with pytest.raises(KeyError), record(path):
        fail()

    assert len(interactions(path)) == 1


def test_a_block_that_fails_before_its_first_request_leaves_the_old_recording(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("old")

    with pytest.raises(KeyError), record(path):
        raise KeyError("mine")

    assert path.read_text() == "old"


def test_a_crash_while_writing_leaves_the_old_recording(
    server: Loopback, model: Model, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script(echo)
    path.parent.mkdir()
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="disk full"), record(path):
        model("one")

    assert path.read_text() == "old"
    assert [file.name for file in path.parent.iterdir()] == ["rivers.json"]


def test_a_folder_is_refused_before_a_request_is_paid_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="folder"), record(tmp_path):
        pytest.fail("the block must not run")


def test_a_place_that_cannot_be_written_is_refused_before_a_request_is_paid_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    for path in (tmp_path / "file" / "rivers.json", Path("/proc/rivers.json"), tmp_path / ("x" * 300)):
        with pytest.raises(ConfigError, match=f"{path}: cannot be written"), record(path):
            pytest.fail("the block must not run")


@pytest.mark.parametrize(
    "text, words",
    [
        (None, "there is no such recording"),
        ("{", "cannot be read"),
        ("[]", "is no recording of version 1"),
        ('{"modelwrap_recording": 2, "interactions": []}', "is no recording of version 1"),
        ('{"modelwrap_recording": 1}', "is no recording that modelwrap wrote"),
        ('{"modelwrap_recording": 1, "interactions": [7]}', "is no recording that modelwrap wrote"),
        (_one(request={"method": "POST"}), "a request has no method or no URL"),
        ("[" * 100_000, "cannot be read"),
        (_one(response={"status": "200"}), "the status is no number"),
        (_one(response={"headers": ["x"]}), "the headers are no object"),
        (_one(error={"type": "A"}), "no error named A"),
    ],
)
def test_what_is_no_recording_is_refused_in_words(path: Path, text: str | None, words: str) -> None:
    path.parent.mkdir()
    if text is not None:
        path.write_text(text)

    with pytest.raises(ConfigError, match=words), replay(path):
        pytest.fail("the block must not run")


def test_a_recording_that_an_editor_has_marked_is_played(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'\xef\xbb\xbf{"modelwrap_recording": 1,\r\n"interactions": []}\r\n')

    with replay(path) as played:
        assert played == path


def test_functions_of_both_colours_are_decorated(server: Loopback, model: Model, path: Path) -> None:
    server.script(echo)

    def plain(question: str) -> str:
        """Ask."""
        return model(question).text

    async def concurrent(question: str) -> str:
        return (await model.acall(question)).text

    recorded = record(path)(plain)("one")
    played = [replay(path)(plain)("one"), asyncio.run(replay(path)(concurrent)("one"))]
    again = replay(path)(plain)

    assert recorded == "echo: one"
    assert [*played, again("one"), again("one")] == ["echo: one"] * 4
    assert again.__doc__ == "Ask."


@pytest.mark.parametrize("session", [record, replay, forbid_requests, use_fake])
def test_a_decorator_without_its_brackets_says_so(session: Any) -> None:
    with pytest.raises(ConfigError, match=rf"write @{session.__name__}\(…\) with its brackets"):

        @session
        def asks() -> None: ...

    with pytest.raises(ConfigError, match=rf"write @{session.__name__}\(…\) with its brackets"):

        @session
        class Asks: ...


def test_what_a_block_cannot_span_is_not_decorated(model: Model) -> None:
    def plain() -> Iterator[str]:
        yield model("Hi").text

    async def concurrent() -> AsyncIterator[str]:
        yield (await model.acall("Hi")).text

    class Tests:
        pass

    for undecorated in (plain, concurrent, Tests):
        with pytest.raises(ConfigError, match=r"forbid_requests\(…\) decorates functions; .* `with forbid_requests"):
            forbid_requests()(undecorated)


def test_forbidden_requests_raise_before_a_socket_is_touched(
    server: Loopback, model: Model, colour: Colour, no_sockets: None
) -> None:
    with pytest.raises(RealRequestForbidden, match=server.base_url.removesuffix("/v1")), forbid_requests():
        colour.call(model)

    assert server.asked == []


def test_a_ban_may_leave_out_loopback(server: Loopback, model: Model, colour: Colour) -> None:
    server.script(chat_answer("Rhine"))

    with forbid_requests(allow_loopback=True):
        reply = colour.call(model)
        with modelwrap.load(config("https://example.com/v1")) as models, pytest.raises(RealRequestForbidden):
            colour.call(models["gpt"])

    assert reply.text == "Rhine"


def test_the_stricter_of_two_bans_counts(server: Loopback, model: Model) -> None:
    with forbid_requests(), forbid_requests(allow_loopback=True), pytest.raises(RealRequestForbidden):
        model("Hi")


@pytest.mark.parametrize("value, forbidden", [("1", True), ("true", True), ("0", False), ("", False)])
def test_an_environment_variable_bans_requests(
    server: Loopback, model: Model, monkeypatch: pytest.MonkeyPatch, value: str, forbidden: bool
) -> None:
    server.script(chat_answer())
    monkeypatch.setenv("MODELWRAP_FORBID_REQUESTS", value)

    if forbidden:
        with pytest.raises(RealRequestForbidden, match="MODELWRAP_FORBID_REQUESTS is set"):
            model("Hi")
    else:
        assert model("Hi").text == "Hello"


def test_a_ban_decorates_and_ends(server: Loopback, model: Model) -> None:
    server.script(chat_answer())

    @forbid_requests()
    async def asked() -> None:
        await model.acall("Hi")

    with pytest.raises(RealRequestForbidden):
        asyncio.run(asked())
    assert model("Hi").text == "Hello"


def test_replays_and_fakes_work_under_a_ban(server: Loopback, model: Model, path: Path, colour: Colour) -> None:
    server.script(chat_answer("Rhine"))
    with record(path):
        colour.call(model)

    with forbid_requests(), replay(path):
        played = colour.call(model)
        faked = colour.call(FakeModel("Elbe"))

    assert (played.text, faked.text) == ("Rhine", "Elbe")


def test_a_forbidden_request_is_not_recorded(model: Model, path: Path) -> None:
    with record(path), forbid_requests(), pytest.raises(RealRequestForbidden):
        model("Hi")

    assert interactions(path) == []


def test_a_rate_limit_that_outlasts_the_retries_plays_as_one(
    server: Loopback, model: Model, path: Path, colour: Colour, no_waiting: None
) -> None:
    server.script(error_answer(429, "slow down"))
    ask: Callable[[], Any] = lambda: colour.call(model, max_retries=2)  # noqa: E731 - two colours, one call

    with record(path), pytest.raises(RateLimited) as recorded:
        ask()
    with replay(path), pytest.raises(RateLimited) as played:
        ask()

    assert str(played.value) == str(recorded.value)
    assert len(interactions(path)) == 3
