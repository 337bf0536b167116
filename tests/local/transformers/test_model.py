"""The model type `transformers` as callers see it: one call on models of every family."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from PIL import Image

import modelwrap
from modelwrap.errors import BadRequest, ConfigError, ContextTooLong, TimedOut, UnsupportedParameter
from modelwrap.local.transformers.loading import Checkpoint, load
from tests.colours import Colour
from tests.local.transformers import tiny

pytestmark = [
    pytest.mark.xdist_group("torch"),
    pytest.mark.timeout(60),
    # Of the models without one.
    pytest.mark.filterwarnings("ignore:.*has no chat template:modelwrap.errors.ModelwrapWarning"),
]

GREEDY = {"max_tokens": 8, "temperature": 0}
ASKED = "Name three rivers."
RED, BLUE = Image.new("RGB", (60, 40), "red"), Image.new("RGB", (30, 50), "blue")


def loaded(folder: Path, **config: Any) -> modelwrap.Model:
    named = {"config_name": "here", "model_type": "transformers", "model": str(folder)}
    return modelwrap.load({**named, "client_args": {"dtype": "float32"}, **config})["here"]


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    model = loaded(tiny.llama())
    yield model
    model.close()


def generated(family: str, messages: list[dict[str, Any]], images: list[Any] | None = None, most: int = 8) -> str:
    """Give what plain `generate` makes of a chat, the tokens of its end left out."""
    parts = load(Checkpoint(family, str(getattr(tiny, family)()), arguments={"dtype": "float32"}), "cpu")
    reader = parts.processor if images else parts.tokenizer
    text = reader.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    if images:
        inputs = parts.processor(text=[text], images=images, return_tensors="pt", add_special_tokens=False)
    else:
        inputs = parts.tokenizer([text], return_tensors="pt", add_special_tokens=False)
    inputs.pop("token_type_ids", None)
    made = parts.model.generate(**inputs, max_new_tokens=most, do_sample=False)
    return str(parts.tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))


@pytest.mark.parametrize("family", ["llama", "llava", "qwen2_vl", "idefics3"])
def test_says_what_plain_generate_says(colour: Colour, family: str) -> None:
    model = loaded(getattr(tiny, family)())

    whole = colour.call(model, ASKED, **GREEDY)
    chunks, streamed = colour.stream(model, ASKED, **GREEDY)
    model.close()

    assert whole.text == generated(family, [{"role": "user", "content": ASKED}])
    assert streamed.text == "".join(chunk.text for chunk in chunks) == whole.text
    assert (whole.usage, whole.choices[0].finish_reason) == (streamed.usage, streamed.choices[0].finish_reason)
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert whole.model == whole.meta.endpoint == str(getattr(tiny, family)())


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "idefics3"])
def test_sees_images_in_every_form_as_its_processor_does(family: str, tmp_path: Path) -> None:
    model = loaded(getattr(tiny, family)())
    path = tmp_path / "blue.png"
    BLUE.save(path)
    content = [RED, "What is this, and what is", path, "that?"]
    parts = [
        {"type": "image"},
        {"type": "text", "text": "What is this, and what is"},
        {"type": "image"},
        {"type": "text", "text": "that?"},
    ]

    two = model([{"role": "user", "content": content}], **GREEDY)
    other = model([{"role": "user", "content": [BLUE, *content[1:]]}], **GREEDY)
    model.close()

    assert two.text == generated(family, [{"role": "user", "content": parts}], [RED, BLUE])
    assert other.text == generated(family, [{"role": "user", "content": parts}], [BLUE, BLUE])
    assert two.text != other.text


def test_images_with_and_without_share_a_batch() -> None:
    model = loaded(tiny.llava())
    asked: list[Any] = [
        [{"role": "user", "content": [RED, "What?"]}],
        ASKED,
        [{"role": "user", "content": ["And", BLUE, RED]}],
    ]

    async def together() -> list[Any]:
        return await asyncio.gather(*(model.acall(one, **GREEDY) for one in asked))

    alone = [model(one, **GREEDY).text for one in asked]
    replies = [reply.text for reply in asyncio.run(together())]
    model.close()

    assert replies == alone


def test_a_model_without_eyes_refuses_images(model: Any) -> None:
    with pytest.raises(BadRequest, match="image"):
        model([{"role": "user", "content": [RED, "What?"]}], **GREEDY)


@pytest.mark.parametrize("family", ["gpt2", "t5", "bart"])
def test_models_of_other_kinds_answer_too(family: str) -> None:
    model = loaded(getattr(tiny, family)())

    whole, again = model(ASKED, **GREEDY), model(ASKED, **GREEDY)
    with model.stream(ASKED, **GREEDY) as stream:
        streamed = stream.reply
    model.close()

    assert whole.text == again.text == streamed.text
    assert 0 < whole.usage.completion_tokens <= 8


def test_several_answers_are_numbered_and_counted_together(colour: Colour, model: Any) -> None:
    asked = {"n": 3, "temperature": 1.0, "seed": 5, "max_tokens": 8}

    whole = colour.call(model, ASKED, **asked)
    chunks, streamed = colour.stream(model, ASKED, **asked)
    first = colour.call(model, ASKED, **{**asked, "n": 1})

    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    texts = [choice.message.content for choice in whole.choices]
    assert len(set(texts)) == 3
    assert texts[0] == first.text
    assert texts == [choice.message.content for choice in streamed.choices]
    assert whole.usage.prompt_tokens == streamed.usage.prompt_tokens == first.usage.prompt_tokens
    assert whole.usage.completion_tokens == streamed.usage.completion_tokens > first.usage.completion_tokens
    assert len({chunk.id for chunk in chunks}) == 1


@pytest.mark.parametrize("wrong", [0, 129, 1.5, "two", True])
def test_a_count_of_answers_that_is_none_is_refused(model: Any, wrong: Any) -> None:
    with pytest.raises(BadRequest, match="n: must be a whole number from 1 to 128"):
        model(ASKED, n=wrong, **GREEDY)


def test_what_it_does_not_know_is_refused_by_name_or_left_out(model: Any) -> None:
    dropping = loaded(tiny.llama(), unsupported="drop")

    reply = dropping(ASKED, store=True, extra_body={"guided_choice": ["a"]}, **GREEDY)
    dropping.close()

    with pytest.raises(UnsupportedParameter, match="store: unknown here"):
        model(ASKED, store=True)
    with pytest.raises(UnsupportedParameter, match="guided_choice"):
        model(ASKED, extra_body={"guided_choice": ["a"]})
    assert [change.what for change in reply.meta.changes] == ["guided_choice", "store"]


def test_a_parameter_that_is_misspelt_is_answered_with_the_one_meant(model: Any) -> None:
    with pytest.raises(UnsupportedParameter, match="tempreature: unknown here; did you mean 'temperature'"):
        model(ASKED, tempreature=1)


def test_extra_body_is_taken_for_parameters(model: Any) -> None:
    assert model(ASKED, extra_body=GREEDY).text == model(ASKED, **GREEDY).text


def test_explain_shows_what_is_computed_and_loads_nothing() -> None:
    model = loaded(tiny.llama())
    before = set(threading.enumerate())

    explanation = model.explain(ASKED, temperature=0.5, n=2, seed=1)

    assert explanation.body == {
        "messages": [{"role": "user", "content": ASKED}],
        "temperature": 0.5,
        "seed": 1,
        "stream": False,
    }
    assert set(threading.enumerate()) == before


def test_loads_on_demand_or_ahead_and_frees_what_it_holds() -> None:
    model: Any = loaded(tiny.llama())

    model.load()
    first = model.live
    text = model(ASKED, **GREEDY).text
    model.close()
    again = model(ASKED, **GREEDY).text
    second = model.live
    model.close()

    assert text == again
    assert first is not second
    assert not any(parameter.requires_grad for parameter in first.parameters())
    assert not first.training


def test_who_forgets_a_model_without_closing_it_leaves_nothing_behind() -> None:
    before = set(threading.enumerate())
    model: Any = loaded(tiny.llama())
    model(ASKED, **GREEDY)
    weights = weakref.ref(model.live)
    (thread,) = (thread for thread in set(threading.enumerate()) - before if thread.name == "here on auto")

    del model
    gc.collect()
    thread.join(5)
    gc.collect()

    assert not thread.is_alive()
    assert weights() is None


@pytest.mark.parametrize("device", ["CPU", "cuda:x", "", " cpu", 3, None])
def test_what_is_no_device_is_not_loaded_on(device: Any) -> None:
    model: Any = loaded(tiny.llama())

    with pytest.raises(ConfigError, match="is the name of no device; write cpu, cuda:0 or mps"):
        model.add_replica(device)


def test_without_batching_it_computes_in_the_thread_of_who_calls(colour: Colour) -> None:
    model: Any = loaded(tiny.llama(), batching="off")
    seen: list[Any] = []
    model.live.register_forward_hook(lambda module, given, made: seen.append(threading.get_ident()))

    reply = colour.call(model, ASKED, **GREEDY)
    plain = loaded(tiny.llama())(ASKED, **GREEDY).text
    model.close()

    assert reply.text == plain
    assert set(seen) == {threading.get_ident()}
    with pytest.raises(ConfigError, match='"batching" is "off"'):
        model.add_replica("cpu")


def test_without_batching_what_hooks_keep_is_fit_for_gradients_and_what_they_raise_is_raised() -> None:
    model: Any = loaded(tiny.llama(), batching="off")
    layer = model.live.model.layers[0]
    kept: list[Any] = []

    with layer.register_forward_hook(lambda module, given, made: kept.append(made)):
        model(ASKED, **GREEDY)
    probe = torch.nn.Linear(32, 1)
    probe(kept[0]).sum().backward()

    assert probe.weight.grad is not None
    with layer.register_forward_hook(lambda module, given, made: 1 // 0), pytest.raises(ZeroDivisionError):
        model(ASKED, **GREEDY)
    assert model(ASKED, **GREEDY).text


def test_in_a_process_of_its_own_it_says_the_same(model: Any) -> None:
    apart: Any = loaded(tiny.llava(), worker="process", devices=["cpu"])
    message = [{"role": "user", "content": [RED, "What?"]}]

    text = apart(message, **GREEDY).text
    with apart.stream(ASKED, **GREEDY) as stream:
        streamed = stream.reply.text

    assert text == loaded(tiny.llava())(message, **GREEDY).text
    assert streamed == loaded(tiny.llava())(ASKED, **GREEDY).text
    with pytest.raises(ConfigError, match="computes in a process of its own"):
        assert apart.live
    apart.close()


def test_replicas_are_added_and_removed_while_it_answers() -> None:
    model: Any = loaded(tiny.llama(), devices=["cpu"])
    wanted = model(ASKED, **GREEDY).text

    async def ask_meanwhile() -> list[Any]:
        asking = [model.acall(ASKED, **GREEDY) for _ in range(40)]
        changing = asyncio.to_thread(lambda: (model.add_replica("cpu"), model.remove_replica()))
        *replies, _ = await asyncio.gather(*asking, changing)
        return replies

    replies = asyncio.run(ask_meanwhile())

    assert {reply.text for reply in replies} == {wanted}
    assert model.devices == ["cpu"]
    model.close()


def test_a_call_that_is_out_of_time_stops_computing(model: Any) -> None:
    steps: list[int] = []
    hook = model.live.register_forward_hook(lambda *_: steps.append(1) or time.sleep(0.02))

    with pytest.raises(TimedOut):
        model(ASKED, ignore_eos=True, max_tokens=400, timeout=0.3, temperature=0)
    time.sleep(0.15)
    counted = len(steps)
    time.sleep(0.15)
    hook.remove()

    assert 0 < counted < 100
    assert len(steps) == counted


def test_a_stream_that_is_closed_stops_computing(model: Any) -> None:
    steps: list[int] = []
    hook = model.live.register_forward_hook(lambda *_: steps.append(1) or time.sleep(0.02))

    with model.stream(ASKED, ignore_eos=True, max_tokens=400, temperature=0) as stream:
        next(stream)
    time.sleep(0.15)
    counted = len(steps)
    time.sleep(0.15)
    hook.remove()

    assert counted < 50
    assert len(steps) == counted


def test_a_prompt_beyond_its_context_is_too_long() -> None:
    model = loaded(tiny.llama(), context=32)

    cut = model(ASKED, ignore_eos=True, temperature=0)

    assert (cut.usage.total_tokens, cut.choices[0].finish_reason) == (32, "length")
    with pytest.raises(ContextTooLong):
        model(ASKED * 20)
    model.close()


def test_the_numbers_are_of_the_kind_that_the_config_says() -> None:
    model: Any = loaded(tiny.llama(), client_args={"torch_dtype": "torch.bfloat16"})

    assert model.live.dtype == torch.bfloat16
    model.close()


def test_a_trained_model_in_a_gguf_file_knows_its_capitals() -> None:
    model = loaded(tiny.smollm2(), generate_args={"temperature": 0, "max_tokens": 12})

    reply = model("What is the capital of France?")
    model.close()

    assert "Paris" in reply.text
    assert reply.choices[0].finish_reason == "stop"
