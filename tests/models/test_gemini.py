"""Models on Gemini's wire, from the front door to the socket and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, Field

import modelwrap
from modelwrap.errors import (
    BadRequest,
    ConfigError,
    ContentFiltered,
    InvalidResponse,
    MissingSecret,
    StreamFailed,
    StreamTruncated,
    UnsupportedParameter,
)
from tests.colours import Colour
from tests.gemini_wire import answer, pieces_of, refusal, stream_answer, whole_answer
from tests.loopback import Answer, Asked, Loopback, json_answer

CALL = {"functionCall": {"name": "weather", "args": {"city": "Rome"}, "id": "x1"}, "thoughtSignature": "c2ln"}
PNG = "iVBORw0KGgo="


def model_at(server: Loopback | None = None, **config: Any) -> modelwrap.Model:
    client_args = {"base_url": f"http://127.0.0.1:{server.port}"} if server else {}
    client_args |= config.pop("client_args", {})
    config = {"config_name": "g", "model_type": "gemini", "model": "gemini-3.8-flash", **config}
    return modelwrap.load({**config, "client_args": client_args})["g"]


def embedding_at(server: Loopback, **config: Any) -> modelwrap.Model:
    return model_at(server, model_type="gemini_embedding", **{"model": "gemini-embedding-001", **config})


def test_answers_in_openais_shape(colour: Colour, server: Loopback) -> None:
    server.script(whole_answer("The Rhine."))
    model = model_at(server, api_key="AIza-canary-1", generate_args={"max_tokens": 100})

    reply = colour.call(model, [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "A river?"}])

    assert reply.text == "The Rhine."
    assert reply.raw == answer("The Rhine.")
    assert (reply.meta.finish_reason, reply.choices[0].finish_reason) == ("STOP", "stop")
    assert reply.meta.changes == ()
    (asked,) = server.asked
    assert asked.path == "/v1beta/models/gemini-3.8-flash:generateContent"
    assert asked.headers["x-goog-api-key"] == "AIza-canary-1"
    assert "authorization" not in asked.headers
    assert asked.body == {
        "contents": [{"role": "user", "parts": [{"text": "A river?"}]}],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "generationConfig": {"maxOutputTokens": 100},
    }


def test_a_stream_adds_up_to_the_whole_reply(colour: Colour, server: Loopback) -> None:
    parts = [{"text": "Hm.", "thought": True}, {"text": "I look."}, CALL]
    pieces = [answer(part, reason=None) for part in parts] + [answer(reason="STOP")]
    server.script(stream_answer(pieces), whole_answer(*parts))
    model = model_at(server)

    chunks, streamed = colour.stream(model)
    answered = colour.call(model)

    assert "".join(chunk.text for chunk in chunks) == "I look."
    assert streamed.model_dump() == answered.model_dump()
    assert streamed.raw == pieces
    assert streamed.meta.done
    assert server.asked[0].path.endswith(":streamGenerateContent?alt=sse")


def test_what_came_goes_back_as_it_came(colour: Colour, server: Loopback) -> None:
    server.script(stream_answer([answer("I look.", CALL)]), whole_answer("Sun."))
    model = model_at(server)

    _, first = colour.stream(model, "Weather?")
    result = {"role": "tool", "tool_call_id": "x1", "content": "Sun."}
    reply = colour.call(model, [{"role": "user", "content": "Weather?"}, first, result])

    assert server.asked[1].body["contents"][1]["parts"] == [{"text": "I look."}, CALL]
    assert reply.meta.changes == ()


def test_a_paused_answer_is_gone_on_with(colour: Colour, server: Loopback) -> None:
    server.script(
        whole_answer("One, ", reason="CONTINUATION", continuationToken="dG9r"),
        whole_answer("two, ", reason="CONTINUATION", continuationToken="dG9s"),
        whole_answer("three."),
    )

    reply = colour.call(model_at(server, model="gemini-4-argon"))

    assert reply.text == "One, two, three."
    assert [asked.body.get("continuationToken") for asked in server.asked] == [None, "dG9r", "dG9s"]
    assert reply.choices[0].finish_reason == "stop"
    assert reply.meta.usage is not None
    assert (reply.meta.usage.prompt, reply.meta.usage.completion) == (15, 6)
    assert [change.what for change in reply.meta.changes] == ["CONTINUATION", "CONTINUATION"]
    assert reply.meta.attempts == 3


def test_a_paused_stream_is_gone_on_with(colour: Colour, server: Loopback) -> None:
    pause = answer(CALL, reason="CONTINUATION", continuationToken="dG9r")
    server.script(
        stream_answer([answer("One, ", reason=None), pause]),
        stream_answer(pieces_of("two, ", "three.")),
        whole_answer("One, ", CALL, "two, three."),
    )
    model = model_at(server, model="gemini-4-argon")

    chunks, reply = colour.stream(model)
    answered = colour.call(model)

    assert reply.text == "One, two, three."
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason] == [
        "tool_calls"
    ]
    assert reply.choices[0].message.model_dump() == answered.choices[0].message.model_dump()
    assert reply.meta.usage is not None
    assert (reply.meta.usage.prompt, reply.meta.usage.completion) == (10, 4)
    assert len(server.asked) == 3


def test_what_came_before_a_pause_is_kept_where_the_rest_does_not_come(colour: Colour, server: Loopback) -> None:
    ran = {"executableCode": {"language": "PYTHON", "code": "print(7)"}}
    pause = answer("One, ", ran, reason="CONTINUATION", continuationToken="dG9r")
    broken = refusal(400, "No.", "INVALID_ARGUMENT")
    server.script(stream_answer([pause]), broken, json_answer(pause), broken)
    model = model_at(server, model="gemini-4-argon")

    for ask in (colour.stream, colour.call):
        with pytest.raises(BadRequest, match="No") as caught:
            ask(model)

        partial = caught.value.partial
        assert partial is not None
        assert partial.text == "One, "
        assert partial.usage.total_tokens == 7
        message = partial.choices[0].message.model_dump()
        assert message["extra_content"]["google"]["parts"] == [{"text": "One, "}, ran]


def test_an_answer_that_is_paused_without_end_is_an_error(colour: Colour, server: Loopback) -> None:
    server.script(whole_answer("x", reason="CONTINUATION", continuationToken="dG9r"))

    with pytest.raises(InvalidResponse, match="paused its answer more than 64 times") as caught:
        colour.call(model_at(server))

    assert caught.value.partial is not None
    assert caught.value.partial.text == "x" * 65


def test_a_pause_without_a_token_is_the_end(colour: Colour, server: Loopback) -> None:
    server.script(whole_answer("x", reason="CONTINUATION"), stream_answer([answer("x", reason="CONTINUATION")]))
    model = model_at(server)

    reply = colour.call(model)
    _, streamed = colour.stream(model)

    assert reply.choices[0].finish_reason == streamed.choices[0].finish_reason == "length"


def test_a_call_that_cannot_be_read_is_asked_for_again(colour: Colour, server: Loopback) -> None:
    server.script(whole_answer(reason="MALFORMED_FUNCTION_CALL"), whole_answer("So."))

    reply = colour.call(model_at(server))

    assert reply.text == "So."
    assert [attempt.outcome for attempt in reply.meta.history] == ["InvalidResponse", "ok"]


def test_a_stream_that_said_nothing_before_it_failed_is_asked_for_again(colour: Colour, server: Loopback) -> None:
    nothing = {"usageMetadata": {"promptTokenCount": 5, "totalTokenCount": 5}}
    malformed = answer(reason="MALFORMED_FUNCTION_CALL")
    server.script(stream_answer([nothing, malformed]), stream_answer([answer("", reason=None), *pieces_of("Sun.")]))
    model = model_at(server)

    chunks, reply = colour.stream(model)

    assert [chunk.text for chunk in chunks] == ["", "Sun.", ""]
    assert reply.text == "Sun."
    assert [attempt.outcome for attempt in reply.meta.history] == ["InvalidResponse", "ok"]


def test_a_blocked_prompt_is_not_asked_again(colour: Colour, server: Loopback) -> None:
    server.script(json_answer({"promptFeedback": {"blockReason": "SAFETY"}}))
    model = model_at(server)

    with pytest.raises(ContentFiltered, match="SAFETY") as caught:
        colour.call(model)

    assert caught.value.attempts == 1
    server.script(stream_answer([{"promptFeedback": {"blockReason": "SAFETY"}}]))
    with pytest.raises(ContentFiltered):
        colour.stream(model)


def test_a_stream_that_breaks_keeps_what_came(colour: Colour, server: Loopback) -> None:
    server.script(stream_answer(pieces_of("The ", "Rhine.")[:1], cut=True))

    with pytest.raises(StreamTruncated) as caught:
        colour.stream(model_at(server))

    assert caught.value.partial is not None
    assert caught.value.partial.text == "The "
    assert caught.value.partial.choices[0].finish_reason is None


def test_an_error_within_a_stream_is_told_as_one(colour: Colour, server: Loopback) -> None:
    broken = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    server.script(stream_answer([answer("The ", reason=None), broken]))

    with pytest.raises(StreamFailed, match="overloaded") as caught:
        colour.stream(model_at(server))

    assert caught.value.partial is not None
    assert caught.value.partial.text == "The "


def test_overload_before_the_first_word_is_tried_again(colour: Colour, server: Loopback) -> None:
    server.script(refusal(503, "The model is overloaded.", "UNAVAILABLE"), stream_answer(pieces_of("So", ".")))

    _, reply = colour.stream(model_at(server))

    assert reply.text == "So."
    assert reply.meta.attempts == 2


def test_a_refusal_says_when_to_come_again(colour: Colour, server: Loopback) -> None:
    delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.01s"}
    server.script(refusal(429, "Quota exceeded.", "RESOURCE_EXHAUSTED", delay), whole_answer("So."))

    reply = colour.call(model_at(server))

    assert reply.text == "So."
    assert reply.meta.history[1].delay >= 0.01


class Rivers(BaseModel):
    names: list[str] = Field(min_length=1)


def test_a_class_is_asked_for_and_read(colour: Colour, server: Loopback) -> None:
    server.script(whole_answer('{"names": ["Rhine"]}'), whole_answer('{"names": []}'))
    model = model_at(server, client_args={"max_retries": 0})

    reply = colour.call(model, response_format=Rivers)

    assert reply.parsed == Rivers(names=["Rhine"])
    config = server.asked[0].body["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"] == Rivers.model_json_schema()
    with pytest.raises(InvalidResponse, match="names"):
        colour.call(model, response_format=Rivers)


def test_an_image_that_came_is_a_url_of_the_reply(colour: Colour, server: Loopback) -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": PNG}}
    server.script(whole_answer("Here.", image), stream_answer([answer("Here.", image)]))
    model = model_at(server, model="gemini-3-pro-image")

    reply = colour.call(model, modalities=["text", "image"])
    _, streamed = colour.stream(model)

    assert reply.image_urls == streamed.image_urls == [f"data:image/png;base64,{PNG}"]
    assert reply.text == "Here."


def test_a_large_image_comes_in_one_event(colour: Colour, server: Loopback) -> None:
    data = PNG[:8] + "A" * 17 * 2**20
    server.script(stream_answer([answer({"inlineData": {"mimeType": "image/png", "data": data}})]))

    _, reply = colour.stream(model_at(server, model="gemini-3-pro-image"))

    assert reply.image_urls == [f"data:image/png;base64,{data}"]


def test_a_list_in_place_of_events_is_read_as_it_comes(colour: Colour, server: Loopback) -> None:
    body = json.dumps(pieces_of("Rhine, ", "Elbe, ", "Oder."), indent=1)
    last = body.index('"Oder') + 3
    sent = [body[:90].encode(), body[90:last].encode()]
    server.script(Answer(200, {"content-type": "application/json"}, list(sent), cut=True))
    model = model_at(server)

    with pytest.raises(StreamTruncated) as caught:
        colour.stream(model)

    assert caught.value.partial is not None
    assert caught.value.partial.text == "Rhine, Elbe, "


def test_an_image_on_the_web_is_fetched_and_sent_as_bytes(colour: Colour, server: Loopback) -> None:
    def serve(asked: Asked) -> Any:
        if asked.path == "/a.png":
            from base64 import b64decode

            data = b64decode(PNG)
            return Answer(200, {"content-type": "image/png", "content-length": str(len(data))}, [data])
        return whole_answer("A picture.")

    server.script(serve)
    host = f"127.0.0.1:{server.port}"
    model = model_at(server, media={"private_hosts": [host]})
    look = [{"type": "image_url", "image_url": {"url": f"http://{host}/a.png"}}]

    reply = colour.call(model, [{"role": "user", "content": look}])

    assert reply.text == "A picture."
    parts = server.asked[1].body["contents"][0]["parts"]
    assert parts == [{"inlineData": {"mimeType": "image/png", "data": PNG}}]
    assert [change.kind for change in reply.meta.changes] == ["converted"]


def test_a_model_that_takes_no_system_instruction_is_told_by_the_user(colour: Colour, server: Loopback) -> None:
    words = "Developer instruction is not enabled for models/gemma-3-27b-it"
    server.script(refusal(400, words, "INVALID_ARGUMENT"), whole_answer("So."), stream_answer(pieces_of("So", ".")))
    model = model_at(server, model="gemma-3-27b-it")
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "A river?"}]

    reply = colour.call(model, messages)
    _, streamed = colour.stream(model, messages)

    assert reply.text == streamed.text == "So."
    assert [change.kind for change in reply.meta.changes] == ["learned", "emulated"]
    assert len(server.asked) == 3
    for asked in server.asked[1:]:
        parts = [{"text": "<system>\nBe brief.\n</system>"}, {"text": "A river?"}]
        assert asked.body == {"contents": [{"role": "user", "parts": parts}]}


def test_a_film_on_youtube_is_not_fetched(colour: Colour, server: Loopback) -> None:
    server.script(whole_answer("A film."))
    look = [{"type": "video_url", "video_url": {"url": "https://youtu.be/9hE5-98ZeCg"}}]

    colour.call(model_at(server), [{"role": "user", "content": look}])

    parts = server.asked[0].body["contents"][0]["parts"]
    assert parts == [{"fileData": {"fileUri": "https://youtu.be/9hE5-98ZeCg"}}]


@pytest.mark.parametrize(
    "base_url, path",
    [
        ("", "/v1beta"),
        ("/", "/v1beta"),
        ("/v1beta/", "/v1beta"),
        ("/v1alpha", "/v1alpha"),
        ("/gateway", "/gateway/v1beta"),
        ("/v1beta/models/gemini-3.8-flash:generateContent", "/v1beta"),
        ("/v1beta/openai/", "/v1beta"),
        ("/v1beta/openai/chat/completions", "/v1beta"),
        ("/v1/projects/p/locations/l/publishers/google", "/v1/projects/p/locations/l/publishers/google"),
    ],
)
def test_a_base_url_is_taken_in_the_forms_that_people_paste(server: Loopback, base_url: str, path: str) -> None:
    server.script(whole_answer("So."))
    model = model_at(client_args={"base_url": f"http://127.0.0.1:{server.port}{base_url}"})

    model("Hi")

    assert server.asked[0].path == f"{path}/models/gemini-3.8-flash:generateContent"


@pytest.mark.parametrize(
    "name",
    [
        "gemini-3.8-flash",
        "models/gemini-3.8-flash",
        "google/gemini-3.8-flash",
        "publishers/google/models/gemini-3.8-flash",
    ],
)
def test_a_model_is_known_by_all_its_names(server: Loopback, name: str) -> None:
    server.script(whole_answer("So."))

    model_at(server, model=name)("Hi", reasoning_effort="low")

    assert server.asked[0].path == "/v1beta/models/gemini-3.8-flash:generateContent"
    assert server.asked[0].body["generationConfig"] == {"thinkingConfig": {"thinkingLevel": "LOW"}}


@pytest.mark.parametrize("names", [["GEMINI_API_KEY"], ["GOOGLE_API_KEY"], ["GEMINI_API_KEY", "GOOGLE_API_KEY"]])
def test_the_key_is_taken_from_the_environment_for_googles_own_host_only(
    monkeypatch: pytest.MonkeyPatch, server: Loopback, names: list[str]
) -> None:
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in names:
        monkeypatch.setenv(name, f"key-of-{name}")
    server.script(whole_answer("So."))

    model_at(server)("Hi")
    explained = model_at().explain("Hi")

    assert "x-goog-api-key" not in server.asked[0].headers
    assert "x-goog-api-key" in explained.headers
    assert "key-of" not in str(explained)
    assert explained.url == "https://generativelanguage.googleapis.com/v1beta/models/gemini-3.8-flash:generateContent"


def test_a_key_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(MissingSecret, match="GEMINI_API_KEY"):
        model_at()


def test_a_vendors_client_is_not_asked_for() -> None:
    with pytest.raises(ConfigError, match=r'transport: is not for Gemini.*"vertexai": true'):
        model_at(transport="sdk")


def test_the_older_names_of_the_types_load(server: Loopback) -> None:
    server.script(whole_answer("So."))
    config = {"config_name": "g", "model_name": "gemini-3.8-flash", "api_key": "k"}
    client_args = {"base_url": f"http://127.0.0.1:{server.port}"}

    for name in ("gemini_chat", "google", "GeminiChatWrapper"):
        model = modelwrap.load({**config, "model_type": name, "client_args": client_args})["g"]
        assert model("Hi").text == "So."


def test_what_the_model_refuses_is_refused_before_anything_is_sent(colour: Colour, server: Loopback) -> None:
    model = model_at(server)

    with pytest.raises(UnsupportedParameter, match="presence_penalty"):
        colour.call(model, presence_penalty=1)

    assert not server.asked


def test_a_mistake_in_the_messages_is_named(colour: Colour, server: Loopback) -> None:
    with pytest.raises(BadRequest, match=r"messages\[0\]: no tool call 'x' waits for a result here"):
        colour.call(model_at(server), [{"role": "tool", "tool_call_id": "x", "content": "7"}])


# Embeddings.


def vectors(asked: Asked) -> Any:
    texts = [request["content"]["parts"][0]["text"] for request in asked.body["requests"]]
    return json_answer({"embeddings": [{"values": [float(text), 1.0]} for text in texts]})


def test_many_texts_are_many_requests_and_one_reply(colour: Colour, server: Loopback) -> None:
    server.script(vectors)

    reply = colour.call(embedding_at(server), [str(number) for number in range(250)])

    assert reply.embeddings == [[float(number), 1.0] for number in range(250)]
    assert sorted(len(asked.body["requests"]) for asked in server.asked) == [50, 100, 100]
    assert {asked.path for asked in server.asked} == {"/v1beta/models/gemini-embedding-001:batchEmbedContents"}
    assert reply.meta.attempts == 3


def test_a_text_gives_one_vector(colour: Colour, server: Loopback) -> None:
    server.script(json_answer({"embedding": {"values": [1.0, 2.0]}}))

    reply = colour.call(embedding_at(server), "Hello", dimensions=2)

    assert reply.embeddings == [[1.0, 2.0]]
    assert server.asked[0].body == {"content": {"parts": [{"text": "Hello"}]}, "outputDimensionality": 2}


def test_the_newer_model_gives_a_vector_for_each_text(colour: Colour, server: Loopback) -> None:
    server.script(vectors)

    reply = colour.call(embedding_at(server, model="gemini-embedding-2"), ["1", "2"])

    assert reply.embeddings == [[1.0, 1.0], [2.0, 1.0]]
    assert len(server.asked) == 1


def test_an_embedding_is_explained_by_its_first_request(server: Loopback) -> None:
    explained = embedding_at(server).explain([str(number) for number in range(101)])

    assert len(explained.body["requests"]) == 100


def test_an_embedding_comes_in_no_stream(colour: Colour, server: Loopback) -> None:
    with pytest.raises(UnsupportedParameter, match="stream"):
        colour.stream(embedding_at(server), "Hello")


def test_too_few_vectors_are_an_error(colour: Colour, server: Loopback) -> None:
    server.script(json_answer({"embeddings": [{"values": [1.0]}]}))

    with pytest.raises(InvalidResponse, match="2 were to come, 1 came"):
        colour.call(embedding_at(server), ["a", "b"])


def test_a_config_key_that_nobody_knows_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="temprature"):
        model_at(api_key="k", temprature=1)
