"""What a service of one's own is asked beyond one request: jobs, tries, and configs that are wrong."""

from __future__ import annotations

from typing import Any

import pytest

import modelwrap
from modelwrap.errors import (
    BadRequest,
    CallError,
    ConfigError,
    ContentFiltered,
    ContextTooLong,
    InvalidResponse,
    NotFound,
    Overloaded,
    RateLimited,
    ServerFailed,
    TimedOut,
    UnsupportedParameter,
)
from tests.colours import Colour
from tests.loopback import Answer, Asked, Loopback, error_answer, json_answer

SUBMITTED = {"output": {"task_id": "t 1", "task_status": "PENDING"}}
RUNNING = {"output": {"task_id": "t 1", "task_status": "RUNNING"}}
DONE = {"output": {"task_id": "t 1", "task_status": "SUCCEEDED", "results": [{"url": "https://host/a.png"}]}}
POLL = {"status_path": "output.task_status", "interval": 0.01}


def load(server: Loopback, **config: Any) -> modelwrap.Model:
    keys = {"config_name": "it", "model_type": "post_api_dall_e", "api_url": f"http://127.0.0.1:{server.port}/jobs"}
    return modelwrap.load({**keys, "headers": {"x-key": "k3y"}, "api_key": "s3cret-value", **config})["it"]


def by_id(server: Loopback, **more: Any) -> dict[str, Any]:
    return {**POLL, "url": f"http://127.0.0.1:{server.port}/tasks/{{output.task_id}}", **more}


def test_a_job_is_asked_for_until_it_is_done(colour: Colour, server: Loopback) -> None:
    server.script(json_answer(SUBMITTED), json_answer(RUNNING), error_answer(503), json_answer(DONE))

    reply = colour.call(load(server, poll=by_id(server)), "A cat")

    assert reply.image_urls == ["https://host/a.png"]
    assert [(asked.method, asked.path) for asked in server.asked] == [
        ("POST", "/jobs"),
        *[("GET", "/tasks/t%201")] * 3,
    ]
    assert {asked.headers["authorization"] for asked in server.asked} == {"Bearer s3cret-value"}
    assert reply.meta.attempts == 1


def test_a_result_that_stands_elsewhere_is_fetched(colour: Colour, server: Loopback) -> None:
    here = f"http://127.0.0.1:{server.port}"
    submitted = {"urls": {"get": f"{here}/status/7"}, "status": "starting"}
    done = {"status": "succeeded", "result": f"{here}/results/7"}
    server.script(json_answer(submitted), json_answer(done), json_answer({"output": "Bonn."}))
    poll = {"url": "{urls.get}", "result_url": "{result}", "interval": 0.01}

    reply = colour.call(load(server, model_type="post_api", poll=poll), "Capital?")

    assert reply.text == "Bonn."
    assert [asked.path for asked in server.asked] == ["/jobs", "/status/7", "/results/7"]


def test_a_job_that_fails_is_an_error_that_is_not_tried_again(server: Loopback) -> None:
    failed = {"output": {"task_status": "FAILED", "message": "DataInspectionFailed"}, "message": "inappropriate"}
    server.script(json_answer(SUBMITTED), json_answer(failed))

    with pytest.raises(ServerFailed, match="inappropriate"):
        load(server, poll=by_id(server))("A cat")

    assert len(server.asked) == 2


def test_an_empty_place_in_what_came_for_a_job_is_no_answer(server: Loopback) -> None:
    submitted = {"code": 0, "data": {"id": 7, "result": ""}}
    server.script(json_answer(submitted), json_answer({"code": 0, "data": {"status": "done", "result": "Bonn."}}))
    poll = {"url": f"http://127.0.0.1:{server.port}/tasks/{{data.id}}", "status_path": "data.status", "interval": 0.01}

    assert load(server, model_type="post_api", poll=poll)("Capital?").text == "Bonn."
    assert [asked.path for asked in server.asked] == ["/jobs", "/tasks/7"]


@pytest.mark.parametrize(
    "output, kind, words",
    [
        (
            {
                "task_status": "FAILED",
                "code": "DataInspectionFailed",
                "message": "It may contain inappropriate content.",
            },
            ContentFiltered,
            "It may contain inappropriate content.",
        ),
        ({"task_status": "Content Moderated"}, ContentFiltered, "the job is Content Moderated"),
        ({"task_status": "Task not found"}, NotFound, "the job is Task not found"),
        ({"task_status": "rejected"}, ServerFailed, "the job is rejected"),
    ],
)
def test_a_job_says_why_it_failed(server: Loopback, output: dict[str, str], kind: type[CallError], words: str) -> None:
    server.script(json_answer(SUBMITTED), json_answer({"output": output}))

    with pytest.raises(CallError) as caught:
        load(server, poll=by_id(server))("A cat")

    assert type(caught.value) is kind
    assert caught.value.message == words
    assert not caught.value.retryable


def test_a_job_is_not_submitted_again_when_nobody_can_be_asked_for_it(server: Loopback) -> None:
    server.script(json_answer(SUBMITTED), error_answer(503))

    with pytest.raises(Overloaded):
        load(server, poll=by_id(server))("A cat")

    assert [asked.method for asked in server.asked].count("POST") == 1


def test_a_job_whose_result_is_an_error_is_not_submitted_again(server: Loopback) -> None:
    server.script(json_answer(SUBMITTED), json_answer({"output": {"task_status": "SUCCEEDED"}, "error": "no pictures"}))

    with pytest.raises(ServerFailed, match="no pictures") as caught:
        load(server, poll=by_id(server))("A cat")

    assert not caught.value.retryable
    assert [asked.method for asked in server.asked] == ["POST", "GET"]


def test_a_submission_that_is_refused_under_200_says_why(server: Loopback) -> None:
    server.script(json_answer({"error": {"message": "the prompt is empty", "code": "invalid_prompt"}}))

    with pytest.raises(ContentFiltered, match="the prompt is empty"):
        load(server, poll=by_id(server))("")


def test_a_job_that_does_not_end_says_what_it_said_last(server: Loopback) -> None:
    server.script(json_answer(SUBMITTED), json_answer({"output": {"task_status": "WEIRD"}}))

    with pytest.raises(TimedOut, match=r"longer than 0\.1 s in all \(the job said 'WEIRD' last\)"):
        load(server, poll=by_id(server), timeout=0.1)("A cat")


def test_a_job_is_not_asked_for_before_the_server_wants_that(server: Loopback) -> None:
    server.script(json_answer(SUBMITTED), error_answer(429, retry_after="30"), json_answer(DONE))

    with pytest.raises(RateLimited) as caught:
        load(server, poll=by_id(server))("A cat")

    assert (caught.value.retry_after, caught.value.retryable) == (30, False)
    assert len(server.asked) == 2


def test_a_status_may_be_a_truth_value(server: Loopback) -> None:
    server.script(json_answer({"id": 7, "ready": False}), json_answer({"id": 7, "ready": True, "text": "Bonn."}))
    poll = {"url": f"http://127.0.0.1:{server.port}/{{id}}", "status_path": "ready", "interval": 0.01}

    assert load(server, model_type="post_api", poll=poll)("Capital?").text == "Bonn."


def test_a_job_that_is_done_at_once_needs_no_name(server: Loopback) -> None:
    server.script(json_answer(DONE["output"] | {"task_id": None}))
    poll = by_id(server, status_path="task_status")

    assert load(server, poll=poll, answer_path="results")("A cat").image_urls == ["https://host/a.png"]


def test_a_job_that_answers_at_once_is_not_asked_for(server: Loopback) -> None:
    server.script(json_answer({"data": [{"url": "https://host/a.png"}], "id": 1}))
    poll = {"url": f"http://127.0.0.1:{server.port}/{{id}}"}

    assert load(server, poll=poll)("A cat").image_urls == ["https://host/a.png"]
    assert len(server.asked) == 1


@pytest.mark.parametrize("submitted", [{"id": "7"}, {"id": "7", "message": "accepted"}, {"id": 7, "queue": 3}])
def test_a_job_whose_submission_gives_no_more_than_a_name_is_asked_for(
    colour: Colour, server: Loopback, submitted: Any
) -> None:
    server.script(json_answer(submitted), json_answer({"status": "done", "output": "Bonn."}))
    poll = {"url": f"http://127.0.0.1:{server.port}/jobs/{{id}}", "interval": 0.01}

    reply = colour.call(load(server, model_type="post_api", poll=poll), "Capital?")

    assert reply.text == "Bonn."
    assert [asked.path for asked in server.asked] == ["/jobs", "/jobs/7"]


def test_a_job_whose_status_stands_elsewhere_is_not_taken_for_done(server: Loopback) -> None:
    server.script(json_answer({"id": "7", "state": "queued"}), json_answer({"id": "7", "state": "running"}))
    poll = {"url": f"http://127.0.0.1:{server.port}/jobs/{{id}}", "interval": 0.01}

    with pytest.raises(InvalidResponse, match=r"poll\.status_path: nothing stands at status, and no answer") as caught:
        load(server, model_type="post_api", poll=poll)("Capital?")

    assert caught.value.body == '{"id": "7", "state": "running"}'
    assert not caught.value.retryable


def test_a_job_that_is_refused_under_status_200_is_not_asked_for(server: Loopback) -> None:
    server.script(json_answer({"id": "7", "error": "no workers"}))
    poll = {"url": f"http://127.0.0.1:{server.port}/jobs/{{id}}", "interval": 0.01}

    with pytest.raises(modelwrap.CallError, match="no workers"):
        load(server, model_type="post_api", poll=poll)("Capital?")

    assert len(server.asked) == 1


@pytest.mark.parametrize("answer", [{"foo": {"bar": 1}}, {"reply": {"words": "Bonn."}}])
def test_an_answer_in_which_no_text_is_found_says_so(server: Loopback, answer: Any) -> None:
    server.script(json_answer(answer))

    reply = load(server, model_type="post_api")("Capital?")

    assert (reply.text, reply.raw) == ("", answer)
    assert [str(change) for change in reply.meta.changes] == [
        'text: defaulted, no text is where services put it; "answer_path" says where it stands; all that came is in raw'
    ]


def test_the_key_is_not_sent_where_an_answer_points_to(server: Loopback) -> None:
    other = Loopback()
    try:
        server.script(json_answer({"get": f"http://127.0.0.1:{other.port}/status", "status": "queued"}))

        # Only public hosts are reached that an answer names; this one is no public host.
        with pytest.raises(modelwrap.CallError):
            load(server, poll={"url": "{get}", "interval": 0.01}, max_retries=1)("A cat")

        assert other.asked == []
    finally:
        other.close()


def test_an_answer_without_an_id_says_so(server: Loopback) -> None:
    server.script(json_answer({"output": {"task_status": "PENDING"}}))

    with pytest.raises(InvalidResponse, match=r"poll: the answer has nothing at output\.task_id"):
        load(server, poll=by_id(server))("A cat")


def test_a_job_is_not_streamed(server: Loopback) -> None:
    with pytest.raises(UnsupportedParameter, match="the result of a job comes in one piece"):
        next(load(server, model_type="post_api", poll=by_id(server)).stream("Hi"))


def test_a_service_that_does_not_say_how_it_streams_answers_in_one_piece(colour: Colour, server: Loopback) -> None:
    with pytest.raises(UnsupportedParameter, match="stream_args or stream_url says how it streams"):
        colour.stream(load(server, model_type="post_api"))

    assert server.asked == []


def test_streamed_calls_go_where_the_config_says(colour: Colour, server: Loopback) -> None:
    server.script(Answer(200, {"content-type": "text/plain"}, [b"Bonn."]))
    here = f"http://127.0.0.1:{server.port}"
    model = load(server, model_type="post_api", stream_url=f"{here}/stream", client_args={"default_query": {"a": "1"}})

    colour.stream(model, extra_query={"b": "2"})
    colour.call(model, extra_query={"b": "2"})

    assert [asked.path for asked in server.asked] == ["/stream?a=1&b=2", "/jobs?a=1&b=2"]


@pytest.mark.parametrize("interval, waits", [(0.02, [0.02, 0.04]), (0, [0, 0])])
def test_the_waits_are_what_retry_interval_says(server: Loopback, interval: float, waits: list[float]) -> None:
    server.script(Answer(503), Answer(500), json_answer({"data": [{"url": "https://host/a.png"}]}))

    reply = load(server, retry_interval=interval)("A cat")

    assert [attempt.delay for attempt in reply.meta.history[1:]] == waits


def test_what_a_server_asks_for_goes_before_retry_interval(server: Loopback) -> None:
    loading = {"error": "Model m is loading", "estimated_time": 0.01}
    server.script(json_answer(loading, 503), json_answer({"data": [{"url": "https://host/a.png"}]}))

    reply = load(server, retry_interval=60)("A cat")

    assert 0.01 <= reply.meta.history[1].delay < 0.02


@pytest.mark.parametrize(
    "keys, mistake",
    [
        ({"answer_path": "a..b"}, "answer_path: write names with dots between them"),
        ({"messages_key": ""}, "messages_key: must not be empty"),
        ({"chat_template": "chatlm"}, "chat_template: must be one of chatml, llama2"),
        ({"prompt": "text"}, "prompt: must be 'string' or 'messages'"),
        ({"retry_interval": -1}, "retry_interval: must be at least 0"),
        ({"poll": {"url": "https://elsewhere.example.com/{id}"}}, "poll.url: must be at the host of api_url"),
        ({"poll": {"url": "{id}", "intervall": 1}}, 'poll.intervall: unknown key; did you mean "interval"'),
        ({"poll": {"url": "{"}}, "poll.url: a brace stands alone"),
        ({"poll": {"url": "{a..b}"}}, "poll.url: write names with dots between them"),
        ({"poll": {"url": "{id}", "status_path": "a..b"}}, "poll.status_path: write names with dots between them"),
        ({"poll": {"url": "{id}", "result_url": "{id"}}, "poll.result_url: a brace stands alone"),
        ({"messages_key": "[0].text"}, "messages_key: must begin with a name"),
        ({"messages_key": "texts[100]"}, "messages_key: a position must be below 100"),
        ({"stream_url": "https://elsewhere.example.com/"}, "stream_url: must be at the host of api_url"),
        ({"pooling": "mean"}, "pooling: unknown key"),
    ],
)
def test_a_config_that_is_wrong_says_where(server: Loopback, keys: dict[str, Any], mistake: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(server, **keys)

    assert mistake in str(caught.value)


def test_secrets_in_the_json_stay_hidden_at_any_depth_of_the_request(server: Loopback) -> None:
    model = load(server, json_args={"api_key": "b0dy-s3cret", "nested": {"model": "m"}}, messages_key="nested.prompt")

    explained = model.explain("A cat")

    assert explained.body == {"api_key": "***", "nested": {"model": "m", "prompt": "A cat"}}
    assert "s3cret" not in str(explained)


def vectors(asked: Asked) -> Answer:
    return json_answer([[float(len(text))] for text in asked.body["inputs"]])


def test_a_long_list_goes_in_several_requests(colour: Colour, server: Loopback) -> None:
    server.script(vectors)
    model = load(server, model_type="post_api_embedding", max_inputs=2)

    reply = colour.call(model, ["a", "bb", "ccc", "dddd", "eeeee"])

    assert reply.embeddings == [[1.0], [2.0], [3.0], [4.0], [5.0]]
    assert sorted(asked.body["inputs"] for asked in server.asked) == [["a", "bb"], ["ccc", "dddd"], ["eeeee"]]


def test_a_long_list_goes_in_one_request_where_nothing_is_said(server: Loopback) -> None:
    server.script(vectors)

    reply = load(server, model_type="post_api_embedding")(["a"] * 300)

    assert reply.embeddings == [[1.0]] * 300
    assert len(server.asked) == 1


def test_max_length_is_of_each_text_of_a_list(server: Loopback) -> None:
    server.script(vectors)
    model = load(server, model_type="post_api_embedding", max_length=3)

    assert model(["aaa", "bb"]).embeddings == [[3.0], [2.0]]
    with pytest.raises(ContextTooLong, match="the prompt has 4 characters, and max_length allows 3"):
        model(["aaa", "bbbb"])


def test_an_empty_list_is_not_sent(server: Loopback) -> None:
    with pytest.raises(BadRequest, match="input: the list is empty"):
        load(server, model_type="post_api_embedding")([])

    assert server.asked == []
