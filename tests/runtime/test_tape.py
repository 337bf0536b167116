from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import aclosing
from typing import Any, TypeVar

import pytest

from modelwrap.errors import ConnectionFailed, RateLimited, RealRequestForbidden, ReplayMismatch, TimedOut
from modelwrap.runtime.base import Deadline, Limit, Runtime, run_sync
from modelwrap.runtime.interactions import differences
from modelwrap.runtime.tape import Player, Recorder
from modelwrap.secrets import Secret
from modelwrap.wire.http import HttpRequest

T = TypeVar("T")
URL = "http://127.0.0.1:1/v1/chat/completions"
CANARY = "sk-canary/+8d1f0e7a"


class ScriptedResponse:
    def __init__(self, pieces: list[Any], status: int, headers: Mapping[str, str]) -> None:
        self.pieces = pieces
        self.status = status
        self.headers = headers
        self.read_limit = Limit(1.0, Deadline(1.0), "idle")
        self.closed = False

    async def read(self) -> bytes:
        return b"".join([piece async for piece in self.stream()])

    async def stream(self) -> AsyncGenerator[bytes, None]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def aclose(self) -> None:
        self.closed = True


class World:
    """Be a runtime whose answers are written down."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.slept: list[float] = []

    def now(self) -> float:
        return 7.0

    async def send(self, request: HttpRequest, deadline: Deadline) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def run(self, function: Callable[..., T], /, *arguments: Any) -> T:
        return function(*arguments)

    async def wait(self, future: Future[T], deadline: Deadline) -> T:
        return future.result(0)


def answer(*pieces: Any, status: int = 200, **headers: str) -> ScriptedResponse:
    return ScriptedResponse(
        [piece if isinstance(piece, (bytes, Exception)) else json.dumps(piece).encode() for piece in pieces],
        status,
        {name.replace("_", "-"): value for name, value in headers.items()},
    )


def events(*pieces: Any, **headers: str) -> ScriptedResponse:
    return answer(*pieces, content_type="text/event-stream", **headers)


def ask(body: Any = "hello", url: str = URL, **headers: Any) -> HttpRequest:
    headers = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return HttpRequest("POST", url, headers, json=body, content=json.dumps(body).encode())


async def whole(runtime: Runtime, request: HttpRequest) -> bytes:
    response = await runtime.send(request, Deadline(1.0))
    return await response.read()


async def pieces(runtime: Runtime, request: HttpRequest, most: int = 100) -> list[bytes]:
    response = await runtime.send(request, Deadline(1.0))
    found: list[bytes] = []
    async with aclosing(response.stream()) as stream:
        async for piece in stream:
            found.append(piece)
            if len(found) == most:
                break
    await response.aclose()
    return found


def recorded(world: World, *asked: Coroutine[Any, Any, Any] | Callable[[Runtime], Coroutine[Any, Any, Any]]) -> Any:
    recorder = Recorder()
    runtime = recorder(world)
    for one in asked:
        try:
            run_sync(one(runtime))
        except (ConnectionFailed, TimedOut, RateLimited, RealRequestForbidden, KeyboardInterrupt):
            pass
    return recorder.interactions()


@pytest.fixture(params=["blocking", "concurrent"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    return run_sync if request.param == "blocking" else asyncio.run


def test_a_json_answer_is_recorded_as_json() -> None:
    world = World(answer({"text": "hé"}, content_type="application/json", set_cookie="a=b"))

    interactions = recorded(world, lambda runtime: whole(runtime, ask({"messages": ["hi"]})))

    assert interactions == [
        {
            "request": {
                "method": "POST",
                "url": URL,
                "headers": {"content-type": "application/json"},
                "json": {"messages": ["hi"]},
            },
            "response": {"status": 200, "headers": {"content-type": "application/json"}, "json": {"text": "hé"}},
        }
    ]


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": NaN}',
        b'{"a": 1, "a": 2}',
        b'{"a": 1e999}',
        b'{"a": "\\ud800"}',
        b"\xef\xbb\xbf{}",
        b"<html>busy</html>",
        b"\xff\x00\x01",
        b"",
        b"[" * 100_000,
        b'{"long": ' + b"9" * 5000 + b"}",
    ],
)
def test_a_body_that_json_cannot_hold_is_played_byte_for_byte(body: bytes) -> None:
    interactions = recorded(World(answer(body)), lambda runtime: whole(runtime, ask()))
    kept = json.loads(json.dumps(interactions, ensure_ascii=False).encode())

    played = run_sync(whole(Player(kept)(World()), ask()))

    assert played == body


def test_a_stream_is_recorded_as_one_event_a_line_and_played_event_by_event(
    run: Callable[[Coroutine[Any, Any, Any]], Any],
) -> None:
    sent = b'data: {"n": 1}\n\n: keep-alive\n\ndata: \xc3\xa9\r\n\r\nevent: x\rdata: [DONE]\r\r'
    world = World(events(sent[:5], sent[5:31], sent[31:40], sent[40:]))
    interactions = recorded(world, lambda runtime: pieces(runtime, ask()))

    played = run(pieces(Player(interactions)(World()), ask()))

    assert interactions[0]["response"]["events"] == [
        'data: {"n": 1}\n\n',
        ": keep-alive\n\n",
        "data: é\r\n\r\n",
        "event: x\rdata: [DONE]\r\r",
    ]
    assert b"".join(played) == sent
    assert len(played) == 4
    assert "left_off" not in interactions[0]["response"]


def test_a_stream_of_another_kind_is_recorded_line_by_line() -> None:
    world = World(answer(b'{"a":1}\n{"a"', b":2}\n", content_type="application/x-ndjson"))

    interactions = recorded(world, lambda runtime: pieces(runtime, ask()))

    assert interactions[0]["response"]["events"] == ['{"a":1}\n', '{"a":2}\n']


def test_a_stream_that_ends_within_an_event_is_played_byte_for_byte() -> None:
    interactions = recorded(World(events(b"data: 1\n\ndata: 2")), lambda runtime: pieces(runtime, ask()))

    played = run_sync(pieces(Player(interactions)(World()), ask()))

    assert played == [b"data: 1\n\n", b"data: 2"]


def test_a_stream_that_is_no_text_is_played_byte_for_byte() -> None:
    interactions = recorded(World(events(b"data: \xff\n\n")), lambda runtime: pieces(runtime, ask()))

    played = run_sync(pieces(Player(interactions)(World()), ask()))

    assert interactions[0]["response"]["base64"] == base64.b64encode(b"data: \xff\n\n").decode()
    assert played == [b"data: \xff\n\n"]


def test_recording_hands_on_each_piece_as_it_comes() -> None:
    world = World(events(b"data: 1", b"\n\nda", b"ta: 2\n\n"))

    delivered = run_sync(pieces(Recorder()(world), ask()))

    assert delivered == [b"data: 1", b"\n\nda", b"ta: 2\n\n"]


def test_a_stream_that_its_reader_left_plays_as_far_as_it_was_read(
    run: Callable[[Coroutine[Any, Any, Any]], Any],
) -> None:
    sent = events(b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n")
    interactions = recorded(World(sent), lambda runtime: pieces(runtime, ask(), most=2))

    as_before = run(pieces(Player(interactions)(World()), ask(), most=2))
    with pytest.raises(ReplayMismatch, match="read only so far"):
        run(pieces(Player(interactions)(World()), ask()))

    assert interactions[0]["response"]["left_off"] is True
    assert as_before == [b"data: 1\n\n", b"data: 2\n\n"]
    assert sent.closed


def test_a_stream_that_is_left_after_its_end_mark_is_whole() -> None:
    world = World(events(b"data: 1\n\n", b"data: [DONE]\n\n", b": bye\n\n"))

    interactions = recorded(world, lambda runtime: pieces(runtime, ask(), most=2))

    assert "left_off" not in interactions[0]["response"]


def test_no_more_of_an_endless_stream_is_kept_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelwrap.runtime.interactions.LARGEST_STREAM", 20)
    recorder = Recorder()
    world = World(events(*[b"data: 1\n\n"] * 5))

    delivered = run_sync(pieces(recorder(world), ask()))

    response = recorder.interactions()[0]["response"]
    assert len(delivered) == 5
    assert response["events"] == ["data: 1\n\n"] * 2
    assert response["left_off"] is True


def test_a_failed_request_plays_as_the_same_error(run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
    failures = [
        ConnectionFailed("no connection: refused", sent=False),
        TimedOut("nothing came for 3 s", limit="idle"),
        RateLimited("slow down", status=429, retry_after=2.5, retryable=False),
    ]
    interactions = recorded(
        World(*failures), *[lambda runtime, n=n: whole(runtime, ask(n)) for n in range(len(failures))]
    )
    runtime = Player(interactions)(World())

    played = []
    for number in range(len(failures)):
        with pytest.raises(Exception) as caught:
            run(whole(runtime, ask(number)))
        played.append(caught.value)

    assert [type(error) for error in played] == [type(error) for error in failures]
    assert [str(error) for error in played] == [str(error) for error in failures]
    assert played[0].sent is False
    assert played[1].limit == "idle"
    assert played[2].retry_after == 2.5
    assert played[2].retryable is False


@pytest.mark.parametrize("read", [whole, pieces])
def test_a_body_that_broke_off_breaks_off_again(read: Callable[..., Any]) -> None:
    world = World(events(b"data: 1\n\n", ConnectionFailed("the connection was cut")))
    interactions = recorded(world, lambda runtime: read(runtime, ask()))

    with pytest.raises(ConnectionFailed, match="was cut"):
        run_sync(read(Player(interactions)(World()), ask()))

    assert interactions[0]["error"]["type"] == "ConnectionFailed"


@pytest.mark.parametrize("stopped", [RealRequestForbidden("no"), KeyboardInterrupt()])
def test_what_never_became_an_exchange_is_not_recorded(stopped: BaseException) -> None:
    assert recorded(World(stopped), lambda runtime: whole(runtime, ask())) == []


def test_credentials_are_in_no_part_of_a_recording() -> None:
    header = Secret(f"Bearer {CANARY}")
    url = f"{URL}?api-key={CANARY}-query&model=m"
    encoded = base64.b64encode(CANARY.encode()).decode()
    world = World(
        answer({"echo": CANARY, "encoded": encoded}, x_request_id=f"r-{CANARY}", x_debug_auth=CANARY),
        answer(f"you said {CANARY}-query".encode() + b"\xff"),
        events(f"data: {CANARY}\n\n".encode(), b'data: "' + CANARY.replace("/", "\\/").encode() + b'"\n\n'),
        ConnectionFailed(f"refused {CANARY}", endpoint=url),
        # Echoed by a request that does not carry it.
        answer({"echo": CANARY}),
    )
    request = ask({"prompt": f"my key is {CANARY}"}, url, authorization=header, x_trace=CANARY, api_key="plain-secret")

    interactions = recorded(
        world,
        lambda runtime: whole(runtime, request),
        lambda runtime: whole(runtime, request),
        lambda runtime: pieces(runtime, request),
        lambda runtime: whole(runtime, request),
        lambda runtime: whole(runtime, ask()),
    )

    text = json.dumps(interactions)
    assert "canary" not in text
    assert encoded not in text
    assert "plain-secret" not in text
    assert b"canary" not in base64.b64decode(interactions[1]["response"]["base64"])
    assert interactions[0]["request"]["url"] == f"{URL}?api-key=***&model=m"
    assert interactions[0]["request"]["headers"] == {"content-type": "application/json"}


def test_a_password_in_a_url_is_hidden() -> None:
    url = "http://me:password-canary@127.0.0.1:1/v1"

    interactions = recorded(World(answer({})), lambda runtime: whole(runtime, ask(url=url)))

    assert interactions[0]["request"]["url"] == "http://me:***@127.0.0.1:1/v1"


def test_another_key_plays_what_was_recorded_with_the_first() -> None:
    def request(key: str) -> HttpRequest:
        return ask({"prompt": f"my key is {key}"}, f"{URL}?api-key={key}", authorization=Secret(f"Bearer {key}"))

    interactions = recorded(World(answer({"n": 1})), lambda runtime: whole(runtime, request(CANARY)))

    played = run_sync(whole(Player(interactions)(World()), request("replayed-key")))

    assert json.loads(played) == {"n": 1}


def test_a_key_that_is_a_word_of_the_messages_still_plays() -> None:
    interactions = recorded(
        World(answer({"n": 1})), lambda runtime: whole(runtime, ask("was it replayed?", authorization=Secret(CANARY)))
    )

    played = run_sync(whole(Player(interactions)(World()), ask("was it replayed?", authorization=Secret("replayed"))))

    assert json.loads(played) == {"n": 1}


def test_requests_play_in_any_order_and_equal_ones_in_the_recorded_order() -> None:
    world = World(answer({"n": 1}), answer({"n": 2}), answer({"n": 3}))
    bodies = ["a", "b", "a"]
    interactions = recorded(world, *[lambda runtime, body=body: whole(runtime, ask(body)) for body in bodies])
    player = Player(interactions)

    played = [json.loads(run_sync(whole(player(World()), ask(body)))) for body in ["b", "a", "a"]]

    player.check_played()
    assert played == [{"n": 2}, {"n": 1}, {"n": 3}]


def test_the_body_is_kept_as_it_was_sent_though_the_caller_changes_it_later() -> None:
    body = {"messages": [{"role": "user", "content": "hi"}]}
    recorder = Recorder()
    run_sync(whole(recorder(World(answer({}))), ask(body)))

    body["messages"].append({"role": "assistant", "content": "later"})

    assert len(recorder.interactions()[0]["request"]["json"]["messages"]) == 1


def test_a_mismatch_names_the_nearest_request_and_where_it_differs() -> None:
    near = {"model": "m", "messages": [{"role": "user", "content": "x" * 500 + " three rivers"}], "seed": 1}
    far = {"model": "other", "messages": [], "user": "u"}
    world = World(answer({}), answer({}))
    interactions = recorded(world, *[lambda runtime, body=body: whole(runtime, ask(body)) for body in (far, near)])
    player = Player(interactions, "rivers.json")
    asked = {"model": "m", "messages": [{"role": "user", "content": "x" * 500 + " four rivers"}], "temperature": 0}

    with pytest.raises(ReplayMismatch) as caught:
        run_sync(whole(player(World()), ask(asked)))

    words = str(caught.value).splitlines()
    assert words[0].startswith(f"rivers.json: no recorded request equals POST {URL}; the nearest is number 2 of 2")
    assert any(line.startswith("  messages[0].content: ") and "three" in line and "four" in line for line in words)
    assert "  seed: recorded 1, not asked" in words
    assert "  temperature: not recorded, asked 0" in words
    assert max(map(len, words)) < 250


def test_a_mismatch_stays_short_whatever_differs() -> None:
    interactions = recorded(World(answer({})), lambda runtime: whole(runtime, ask(list(range(1000)))))

    with pytest.raises(ReplayMismatch) as caught:
        run_sync(whole(Player(interactions)(World()), ask([-n - 1 for n in range(1000)])))

    assert len(str(caught.value).splitlines()) == 10
    assert "and 992 more" in str(caught.value)


def test_a_request_asked_more_often_than_recorded_is_told_so() -> None:
    interactions = recorded(World(answer({})), lambda runtime: whole(runtime, ask()))
    runtime = Player(interactions)(World())
    run_sync(whole(runtime, ask()))

    with pytest.raises(ReplayMismatch, match=r"was recorded 1 times and is asked once more"):
        run_sync(whole(runtime, ask()))


def test_a_mismatch_shows_no_credential() -> None:
    interactions = recorded(World(answer({})), lambda runtime: whole(runtime, ask("other")))
    request = ask(f"my key is {CANARY}", f"{URL}?api-key={CANARY}", authorization=Secret(CANARY))

    with pytest.raises(ReplayMismatch) as caught:
        run_sync(whole(Player(interactions)(World()), request))

    assert "canary" not in str(caught.value)


def test_a_swallowed_mismatch_is_raised_at_the_end() -> None:
    player = Player([])
    with pytest.raises(ReplayMismatch, match="nothing is recorded"):
        run_sync(whole(player(World()), ask()))

    with pytest.raises(ReplayMismatch, match="nothing is recorded"):
        player.check_played()


def test_what_was_never_asked_is_told_at_the_end() -> None:
    interactions = recorded(World(answer({})), lambda runtime: whole(runtime, ask()))

    with pytest.raises(ReplayMismatch, match=rf"1 of 1 recorded requests were never asked, first POST {URL}"):
        Player(interactions).check_played()


def test_a_runtime_that_outlives_its_replay_plays_nothing() -> None:
    interactions = recorded(World(answer({})), lambda runtime: whole(runtime, ask()))
    player = Player(interactions)
    runtime = player(World())
    player.end()

    with pytest.raises(ReplayMismatch, match="the replay is over"):
        run_sync(whole(runtime, ask()))


def test_a_replay_does_not_wait_and_leaves_the_rest_to_the_runtime_under_it() -> None:
    world = World()
    runtime = Player([])(world)
    future: Future[int] = Future()
    future.set_result(3)

    run_sync(runtime.sleep(3600.0))

    assert world.slept == [0]
    assert runtime.now() == 7.0
    assert run_sync(runtime.run(abs, -2)) == 2
    assert run_sync(runtime.wait(future, Deadline(1.0))) == 3


def test_a_recording_waits_as_long_as_it_is_told() -> None:
    world = World()

    run_sync(Recorder()(world).sleep(0.5))

    assert world.slept == [0.5]


def test_headers_that_the_library_reads_are_kept() -> None:
    world = World(
        answer({}, status=429, Retry_After="2", X_Request_Id="r1", x_ratelimit_remaining_tokens="5", server="x")
    )
    interactions = recorded(world, lambda runtime: whole(runtime, ask()))

    response = run_sync(Player(interactions)(World()).send(ask(), Deadline(1.0)))

    assert response.status == 429
    assert response.headers == {"retry-after": "2", "x-request-id": "r1", "x-ratelimit-remaining-tokens": "5"}


def test_values_of_other_types_and_lengths_are_different() -> None:
    found = list(differences({"a": 1, "b": [1, 2], "c": {"d": None}}, {"a": True, "b": [1], "c": {"d": ""}}))

    assert found == [
        "a: recorded 1, asked true",
        "b: recorded 2 items, asked 1",
        'c.d: recorded null, asked ""',
    ]
