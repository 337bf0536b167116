"""Google's own client as the judge: it sends what we send, and reads what we read."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import errors as own_errors
from google.genai import types as own
from pydantic import ValidationError

import modelwrap
from modelwrap.errors import CallError
from modelwrap.types import ChatReply
from tests.gemini_wire import answer, refusal, stream_answer, whole_answer
from tests.judge import own_types
from tests.judge.gemini_calls import CALLS, PNG, SIGNATURE
from tests.loopback import Answer, Loopback, json_answer

MODEL = "gemini-2.5-flash"
KEY = "AIza-canary-1"


@pytest.fixture(scope="module")
def host() -> Iterator[Loopback]:
    host = Loopback()
    yield host
    host.close()


@pytest.fixture
def server(host: Loopback) -> Loopback:
    """Give one server to all, for their client takes long to be made."""
    host.asked.clear()
    return host


@pytest.fixture(scope="module")
def theirs(host: Loopback) -> Iterator[genai.Client]:
    options = own.HttpOptions(base_url=f"http://127.0.0.1:{host.port}", api_version="v1beta")
    with genai.Client(api_key=KEY, vertexai=False, http_options=options) as it:
        yield it


def ours(server: Loopback, model: str = MODEL, model_type: str = "gemini") -> modelwrap.Model:
    config = {"config_name": "g", "model_type": model_type, "model": model, "api_key": KEY}
    client_args = {"base_url": f"http://127.0.0.1:{server.port}", "max_retries": 0}
    return modelwrap.load({**config, "client_args": client_args})["g"]


# Whose keys are the caller's own.
_FREE = ("args", "response", "parametersJsonSchema", "responseJsonSchema", "labels")


def usual(value: Any, name: str = "") -> Any:
    """Write in one way what Google reads in two: names with and without underscores, base64 in either alphabet.

    A config without a word in it is left out.
    """
    if isinstance(value, dict) and name not in _FREE:
        written = {re.sub(r"_([a-z])", lambda found: found[1].upper(), key): item for key, item in value.items()}
        return {key: usual(item, key) for key, item in written.items() if (key, item) != ("generationConfig", {})}
    if isinstance(value, list):
        return [usual(item, name) for item in value]
    if name in ("thoughtSignature", "data", "continuationToken"):
        return base64.urlsafe_b64encode(base64.urlsafe_b64decode(value.replace("+", "-").replace("/", "_"))).decode()
    return value


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", CALLS)
def test_both_send_the_same(name: str, stream: bool, server: Loopback, theirs: genai.Client) -> None:
    messages, given, contents, config = CALLS[name]
    parameters, config = dict(given), dict(config)
    model = ours(server, parameters.pop("model", MODEL))
    their_model = config.pop("model", MODEL)
    typed = own.GenerateContentConfig.model_validate(config)
    # What is asked for in a shape is held to it.
    server.script(stream_answer([answer(SHAPED)]) if stream else whole_answer(SHAPED))

    if stream:
        list(model.stream(messages, **parameters))
        list(theirs.models.generate_content_stream(model=their_model, contents=contents, config=typed))
    else:
        model(messages, **parameters)
        theirs.models.generate_content(model=their_model, contents=contents, config=typed)

    mine, their = server.asked
    assert usual(mine.body) == usual(their.body)
    assert mine.path == their.path
    assert mine.headers["x-goog-api-key"] == their.headers["x-goog-api-key"] == KEY


SHAPED = '{"city": "Rome", "name": "Tiber", "kinds": []}'


def test_there_are_enough_calls() -> None:
    assert len(CALLS) >= 40


# Requests by their types.


# Their `GenerationConfig` lags behind the fields that their client sends in it.
_BESIDE_THE_TYPE = frozenset({"imageConfig"})


@pytest.mark.parametrize("name", CALLS)
def test_their_types_allow_what_we_send(name: str, server: Loopback) -> None:
    messages, given, _, _ = CALLS[name]
    parameters = dict(given)
    body = ours(server, parameters.pop("model", MODEL)).explain(messages, **parameters).body
    config = body.get("generationConfig", {})

    own_types.gemini().model_validate(
        {**body, "generationConfig": {key: value for key, value in config.items() if key not in _BESIDE_THE_TYPE}}
    )

    if "imageConfig" in config:
        own.ImageConfig.model_validate(config["imageConfig"])
    assert_rules(body)


@pytest.mark.parametrize(
    "wrong",
    [
        {"contents": [{"role": "user", "parts": [{"txt": "Hi"}]}]},
        {"contents": [], "seed": 1},
        {"contents": [], "generationConfig": {"maxTokens": 1}},
        {"contents": [], "tools": [{"functions": []}]},
    ],
)
def test_their_types_would_find_a_mistake(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        own_types.gemini().model_validate(wrong)


def assert_rules(body: dict[str, Any]) -> None:
    """Assert what the types do not say: who speaks when, and one result for each call, right behind it."""
    contents = body["contents"]
    assert contents[0]["role"] == "user"
    for place, content in enumerate(contents):
        assert content["parts"]
        assert {"text": ""} not in content["parts"]
        calls = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
        if calls:
            results = [part["functionResponse"] for part in contents[place + 1]["parts"]]
            assert [(result["name"], result.get("id")) for result in results] == [
                (call["name"], call.get("id")) for call in calls
            ]
            assert all(isinstance(result["response"], dict) for result in results)
    thinking = body.get("generationConfig", {}).get("thinkingConfig", {})
    assert len(thinking.keys() & {"thinkingBudget", "thinkingLevel"}) <= 1


# What is read.

CALLED = {
    "functionCall": {"name": "weather", "args": {"city": "Rome", "n": 1.5}, "id": "x1"},
    "thoughtSignature": SIGNATURE,
}
IMAGE = {"inlineData": {"mimeType": "image/png", "data": PNG}}
ANSWERS: dict[str, dict[str, Any]] = {
    "text": answer("The Rhine."),
    "unicode": answer("Zürich 🏔"),
    "several texts": answer("The ", "Rhine."),
    "thoughts": answer({"text": "Hm.", "thought": True}, {"text": "The Rhine.", "thoughtSignature": SIGNATURE}),
    "calls": answer("I look.", CALLED, {"functionCall": {"name": "now", "args": {}}}),
    "image": answer("Here.", IMAGE),
    "code": answer(
        {"executableCode": {"language": "PYTHON", "code": "1"}}, {"codeExecutionResult": {"output": "1"}}, "1"
    ),
    "limit": answer("The", reason="MAX_TOKENS"),
    "filtered": answer("The", reason="SAFETY"),
    "nothing": answer(reason="MAX_TOKENS"),
    "logprobs": answer(
        "Hi",
        logprobsResult={
            "chosenCandidates": [{"token": "Hi", "logProbability": -0.5}],
            "topCandidates": [{"candidates": [{"token": "Hi", "logProbability": -0.5}]}],
        },
    ),
}


def theirs_seen(reply: own.GenerateContentResponse) -> dict[str, Any]:
    candidate = (reply.candidates or [own.Candidate()])[0]
    parts = (candidate.content and candidate.content.parts) or []
    usage = reply.usage_metadata
    assert usage is not None
    return {
        "text": "".join(part.text or "" for part in parts if not part.thought),
        "thoughts": "".join(part.text or "" for part in parts if part.thought),
        "calls": [(call.name, call.args) for call in reply.function_calls or []],
        "images": [base64.b64encode(part.inline_data.data or b"").decode() for part in parts if part.inline_data],
        "reason": candidate.finish_reason and candidate.finish_reason.value,
        "tokens": [usage.prompt_token_count, usage.candidates_token_count, usage.total_token_count],
        "model": reply.model_version,
        "id": reply.response_id,
    }


def ours_seen(reply: ChatReply) -> dict[str, Any]:
    message = reply.choices[0].message
    usage = reply.usage
    return {
        "text": reply.text,
        "thoughts": message.reasoning_content or "",
        "calls": [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []],
        "images": [url.partition("base64,")[2] for url in reply.image_urls or []],
        "reason": reply.meta.finish_reason,
        "tokens": [usage.prompt_tokens, usage.completion_tokens, usage.total_tokens],
        "model": reply.model,
        "id": reply.id,
    }


@pytest.mark.parametrize("name", ANSWERS)
def test_both_read_a_reply_alike(name: str, server: Loopback, theirs: genai.Client) -> None:
    server.script(json_answer(ANSWERS[name]))

    mine = ours(server)("Hi")
    their = theirs.models.generate_content(model=MODEL, contents="Hi")

    assert ours_seen(mine) == theirs_seen(their)


@pytest.mark.parametrize("name", ANSWERS)
def test_both_read_a_stream_alike(name: str, server: Loopback, theirs: genai.Client) -> None:
    whole = ANSWERS[name]
    parts = whole["candidates"][0]["content"]["parts"]
    reason = whole["candidates"][0]["finishReason"]
    pieces = [*(answer(part, reason=None) for part in parts), answer(reason=reason)]
    server.script(stream_answer(pieces))

    mine = ours(server).stream("Hi").reply
    their = list(theirs.models.generate_content_stream(model=MODEL, contents="Hi"))

    seen = [theirs_seen(piece) for piece in their]
    total = ours_seen(mine)
    for field in ("text", "thoughts"):
        assert total[field] == "".join(piece[field] for piece in seen)
    for field in ("calls", "images"):
        assert total[field] == [item for piece in seen for item in piece[field]]
    assert total["reason"] == seen[-1]["reason"]
    assert total["tokens"] == seen[-1]["tokens"]


def test_what_came_goes_back_as_their_chat_sends_it(server: Loopback, theirs: genai.Client) -> None:
    came = answer({"text": "Hm.", "thought": True}, "I look.", CALLED)
    server.script(json_answer(came), json_answer(came), whole_answer("Sun."))
    model = ours(server, "gemini-3.8-flash")
    chat = theirs.chats.create(model="gemini-3.8-flash")

    first = model("Weather?")
    chat.send_message("Weather?")
    model([{"role": "user", "content": "Weather?"}, first, {"role": "tool", "tool_call_id": "x1", "content": "Sun."}])
    chat.send_message(own.Part.from_function_response(name="weather", response={"output": "Sun."}))

    mine, their = server.asked[2].body["contents"], server.asked[3].body["contents"]
    assert usual(mine[:2]) == usual(their[:2])
    assert mine[2]["parts"][0]["functionResponse"]["response"] == their[2]["parts"][0]["functionResponse"]["response"]


@pytest.mark.parametrize(
    "refused",
    [
        refusal(400, "Please use a valid role: user, model.", "INVALID_ARGUMENT"),
        refusal(403, "Method doesn't allow unregistered callers.", "PERMISSION_DENIED"),
        refusal(404, "models/x is not found", "NOT_FOUND"),
        refusal(429, "Resource has been exhausted.", "RESOURCE_EXHAUSTED"),
        refusal(503, "The model is overloaded.", "UNAVAILABLE"),
    ],
    ids=lambda refused: str(refused.status),
)
def test_both_tell_the_same_of_a_refusal(refused: Answer, server: Loopback, theirs: genai.Client) -> None:
    server.script(refused)

    with pytest.raises(CallError) as mine:
        ours(server)("Hi")
    with pytest.raises(own_errors.APIError) as their:
        theirs.models.generate_content(model=MODEL, contents="Hi")

    assert (mine.value.status, mine.value.message) == (their.value.code, their.value.message)


@pytest.mark.parametrize(
    "texts, parameters, config",
    [
        (["a", "b"], {}, {}),
        (["a"], {"dimensions": 2}, {"output_dimensionality": 2}),
        (
            ["a", "b"],
            {"task_type": "RETRIEVAL_DOCUMENT", "title": "T"},
            {"task_type": "RETRIEVAL_DOCUMENT", "title": "T"},
        ),
    ],
)
def test_both_ask_for_the_same_vectors(
    texts: list[str], parameters: dict[str, Any], config: dict[str, Any], server: Loopback, theirs: genai.Client
) -> None:
    server.script(json_answer({"embeddings": [{"values": [1.0, float(number)]} for number in range(len(texts))]}))
    model = ours(server, "gemini-embedding-001", "gemini_embedding")
    contents: Any = [own.Content(parts=[own.Part(text=text)]) for text in texts]

    mine_read = model(texts, **parameters).embeddings
    their_read = theirs.models.embed_content(model="gemini-embedding-001", contents=contents, config=config)

    mine, their = server.asked
    assert (mine.path, mine.body) == (their.path, their.body)
    assert mine_read == [vector.values for vector in their_read.embeddings or []]
