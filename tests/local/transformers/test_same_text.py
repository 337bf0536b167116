"""A model that was really trained says what plain `generate` says: alone, among sixteen others, and streamed."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from modelwrap.local.transformers.loading import Checkpoint, load
from modelwrap.local.transformers.runner import runner_of
from tests.local.transformers import tiny
from tests.local.transformers.chatting import job, reply_of, run, tokens_of

pytestmark = [pytest.mark.xdist_group("torch"), pytest.mark.timeout(300)]

LENGTH = 64
# Where the two likeliest tokens are nearer to each other than this, rounding decides.
NEAR = 1e-3
QUESTIONS = [
    "Write a short poem about rain, in four lines.",
    "Name three rivers of Europe and say where each of them begins and ends.",
    "用中文说你好。",
]


@cache
def smollm2() -> Any:
    file = tiny.smollm2()
    return load(Checkpoint("smollm2", str(file.parent), file.name, {"dtype": "float32"}), "cpu")


def asked(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}]


@cache
def plain(question: str) -> tuple[str, float]:
    """Give what `generate` says, and how near to each other the two likeliest tokens ever came."""
    loaded = smollm2()
    inputs = loaded.tokenizer.apply_chat_template(
        asked(question), add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    made = loaded.model.generate(
        **inputs, max_new_tokens=LENGTH, do_sample=False, return_dict_in_generate=True, output_scores=True
    )
    two = torch.stack(made.scores)[:, 0].topk(2).values
    text = loaded.tokenizer.decode(made.sequences[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return text, float((two[:, 0] - two[:, 1]).min())


def others() -> list[dict[str, Any]]:
    """Ask for what differs in every way from greedy answers of full length."""
    return [
        {"temperature": 0.8, "seed": 1, "max_tokens": 20},
        {"temperature": 1, "top_p": 0.9, "seed": 2, "stream": True, "max_tokens": 9},
        {"max_tokens": 1},
        {"repetition_penalty": 1.2, "max_tokens": 12},
        {"stop": [" the", "."], "max_tokens": 30},
        {"logprobs": True, "top_logprobs": 3, "max_tokens": 6},
        {"response_format": {"type": "regex", "pattern": "[A-Z][a-z]+"}, "max_tokens": 12},
        {"presence_penalty": 1.5, "frequency_penalty": 0.5, "max_tokens": 10},
        {"min_p": 0.1, "temperature": 1.3, "seed": 3, "max_tokens": 15},
        {"logit_bias": {"28": -100}, "max_tokens": 8},
        {"top_k": 3, "temperature": 2, "seed": 4, "stream": True, "max_tokens": 25},
        {"ignore_eos": True, "max_tokens": 18},
    ]


def test_an_answer_is_the_same_alone_among_others_and_streamed() -> None:
    runner = runner_of(smollm2(), batch_size=16)
    mixed = [job(n, asked(question), max_tokens=LENGTH) for n, question in enumerate(QUESTIONS)]
    mixed += [job(n, asked("Tell me about the sea."), **other) for n, other in enumerate(others(), len(mixed))]
    mixed += [job(15, asked("And now?"), max_tokens=3)]
    streamed = [job(100 + n, asked(question), max_tokens=LENGTH, stream=True) for n, question in enumerate(QUESTIONS)]

    # The last of the streams has nobody beside it.
    events = {**run(runner, *mixed), **run(runner, *streamed[:2]), **run(runner, streamed[2])}

    told = {number: reply_of(each).text for number, each in events.items()}
    sure = [n for n, question in enumerate(QUESTIONS) if plain(question)[1] >= NEAR]
    assert len(sure) >= len(QUESTIONS) - 1
    assert [told[n] for n in sure] == [plain(QUESTIONS[n])[0] for n in sure]
    assert [told[100 + n] for n in sure] == [plain(QUESTIONS[n])[0] for n in sure]
    assert reply_of(events[0]).usage.completion_tokens == len(tokens_of(events[0]))


def test_a_seed_gives_the_same_text_whatever_else_is_computed() -> None:
    runner = runner_of(smollm2(), batch_size=8)
    drawn = {"temperature": 1.0, "top_p": 0.95, "seed": 11, "max_tokens": 12}

    alone = run(runner, job(1, asked(QUESTIONS[0]), **drawn))[1]
    beside = [job(n, asked(QUESTIONS[n % 3]), temperature=1.2, max_tokens=3 * n) for n in range(2, 5)]
    among = run(runner, *beside, job(1, asked(QUESTIONS[0]), **drawn))[1]

    assert reply_of(alone).text == reply_of(among).text


def test_a_tool_is_called_in_the_form_that_the_template_shows() -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if tools %}<|im_start|>system\nCall with <tool_call>{{ tools | tojson }}</tool_call><|im_end|>\n{% endif %}"
        "<|im_start|>assistant\n"
    )
    city = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "weather", "parameters": city}}
    loaded = smollm2()
    info = {"model_name": "s", "model": loaded.model, "tokenizer": loaded.tokenizer, "chat_template": template}

    question = asked("What is the weather in Paris?")
    events = run(runner_of(info, batch_size=2), job(1, question, tools=[tool], tool_choice="required", max_tokens=40))

    (call,) = reply_of(events[1]).choices[0].message.tool_calls or ()
    assert call.function.name == "weather"
    assert "Paris" in call.function.arguments
