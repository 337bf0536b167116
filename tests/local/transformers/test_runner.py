"""Chats through the runner: what plain `generate` says, however they are computed, told, cut, bound or gone on with."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
import transformers

from modelwrap.errors import BadRequest, ContextTooLong, ModelwrapWarning, UnsupportedParameter
from modelwrap.local.transformers.decoding import Broken
from modelwrap.local.transformers.runner import runner_of
from modelwrap.local.work import Failed, Finished, Piece
from tests.local.transformers import tiny
from tests.local.transformers.chatting import HELLO, answer, job, llama, plain_ids, plain_text, reply_of, run, tokens_of

pytestmark = pytest.mark.xdist_group("torch")

CITY = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 8}}, "required": ["city"]}
CLOSED = {**CITY, "additionalProperties": False}
TOOLS = [
    {"type": "function", "function": {"name": "look", "parameters": CITY}},
    {"type": "function", "function": {"name": "stop", "parameters": {"type": "object", "properties": {}}}},
]
WITH_TOOLS = tiny.CHATML + "{% if tools %}{{ tools | tojson }} <tool_call>{% endif %}"


def runner(template: str | None = None, *, batch_size: int = 8, context: int | None = None, **info: Any) -> Any:
    model, tokenizer = llama()
    given = {"model_name": "llama", "model": model, "tokenizer": tokenizer, "chat_template": template, **info}
    return runner_of(
        {name: value for name, value in given.items() if value is not None}, batch_size=batch_size, context=context
    )


# The same text.


def test_an_answer_is_what_plain_generate_says() -> None:
    reply = answer(runner())

    assert reply.text == plain_text()
    assert reply.model == "llama"
    assert reply.choices[0].message.role == "assistant"


@pytest.mark.parametrize("together", [1, 5])
def test_a_stream_says_the_same_piece_by_piece(together: int) -> None:
    made = runner(batch_size=together)
    questions = [[{"role": "user", "content": "a" * length}] for length in (1, 4, 9, 16, 25)]

    events = run(made, *(job(place, question, stream=True) for place, question in enumerate(questions)))

    assert [reply_of(events[place]).text for place in range(5)] == [plain_text(question) for question in questions]
    assert all(len([event for event in events[place] if isinstance(event, Piece)]) > 2 for place in range(5))


def test_sixteen_mixed_chats_are_what_each_is_alone() -> None:
    chance = random.Random(4)
    kinds: list[dict[str, Any]] = [
        {},
        {"stream": True},
        {"temperature": 1, "seed": 3},
        {"temperature": 0.8, "top_p": 0.9, "seed": 8, "stream": True},
        {"temperature": 1, "top_k": 5, "min_p": 0.05, "seed": 1},
        {"repetition_penalty": 1.3},
        {"presence_penalty": 1, "frequency_penalty": 0.5},
        {"logit_bias": {"300": 100}},
        {"logprobs": True, "top_logprobs": 2},
    ]
    jobs = [
        job(n, [{"role": "user", "content": "xyz"[: n % 3] * chance.randint(1, 30) + "?"}], **kinds[n % len(kinds)])
        for n in range(16)
    ]

    together = run(runner(batch_size=16), *jobs)
    alone = {one.number: run(runner(), one)[one.number] for one in jobs}

    for number in together:
        assert reply_of(together[number]).text == reply_of(alone[number]).text
        assert tokens_of(together[number]) == tokens_of(alone[number])


def test_a_seed_makes_chance_repeat_itself() -> None:
    first, again, other = (answer(runner(), temperature=1.5, seed=seed).text for seed in (5, 5, 6))

    assert first == again != other


def test_usage_counts_every_token() -> None:
    reply = answer(runner())

    prompt = llama()[1].apply_chat_template(HELLO, add_generation_prompt=True)["input_ids"]
    assert reply.usage.prompt_tokens == len(prompt)
    assert reply.usage.completion_tokens == len(plain_ids())
    assert reply.usage.total_tokens == len(prompt) + len(plain_ids())


def test_usage_is_left_out_where_it_is_not_wanted() -> None:
    events = run(runner(), job(stream=True, stream_options={"include_usage": False}))[1]

    assert not any("usage" in event.data for event in events if isinstance(event, Piece))


def written(told: Any) -> str:
    """Put together what the tokens say that are not special."""
    specials = {token.content for token in llama()[1].added_tokens_decoder.values()}
    entries = [entry for entry in told or () if entry.token not in specials]
    return b"".join(bytes(entry.bytes) for entry in entries).decode("utf-8", "replace")


# When an answer is over.


def test_the_limit_of_tokens_ends_an_answer() -> None:
    reply = answer(runner(), max_tokens=3, ignore_eos=True)

    assert (reply.choices[0].finish_reason, reply.usage.completion_tokens) == ("length", 3)


def test_an_end_token_ends_an_answer_and_says_nothing() -> None:
    end = llama()[1].eos_token_id

    reply = answer(runner(), logit_bias={str(end): 100})

    assert (reply.text, reply.choices[0].finish_reason) == ("", "stop")
    assert reply.usage.completion_tokens == 1


def test_an_end_token_may_be_ignored() -> None:
    end = llama()[1].eos_token_id

    reply = answer(runner(), logit_bias={str(end): 100}, ignore_eos=True)

    assert (reply.text, reply.choices[0].finish_reason, reply.usage.completion_tokens) == ("", "length", 12)


@pytest.mark.parametrize("parameters", [{}, {"temperature": 1.0, "seed": 3}, {"logprobs": True}])
def test_the_last_token_is_the_end_that_the_model_wants_there(parameters: dict[str, Any]) -> None:
    end = llama()[1].eos_token_id
    parameters = {**parameters, "logit_bias": {str(end): -100}} if parameters else {}
    closing = runner(generate_kwargs={"forced_eos_token_id": end})

    events = run(closing, job(1, **parameters), job(2, max_tokens=7), job(3, max_tokens=5, ignore_eos=True))

    assert tokens_of(events[1])[-1] == end
    assert len(tokens_of(events[1])) == 12
    if not parameters:
        assert tokens_of(events[1]) == plain_ids(forced_eos_token_id=end)
    assert tokens_of(events[2]) == plain_ids(forced_eos_token_id=end, max_new_tokens=7)
    assert tokens_of(events[3]) == plain_ids(max_new_tokens=5)
    assert [reply_of(events[number]).choices[0].finish_reason for number in (1, 2, 3)] == ["length"] * 3


def test_an_answer_taken_over_ends_where_the_model_wants_it_too() -> None:
    end = llama()[1].eos_token_id
    closing = runner(generate_kwargs={"forced_eos_token_id": end})
    whole = tokens_of(run(closing, job(1))[1])

    rest = tokens_of(run(closing, job(2, done=tuple(whole[:-1])))[2])

    assert rest == whole[-1:] == [end]


def test_an_answer_bound_to_a_form_is_cut_and_not_ended() -> None:
    closing = runner(generate_kwargs={"forced_eos_token_id": llama()[1].eos_token_id})

    reply = answer(closing, response_format={"type": "regex", "pattern": "a{40}"}, max_tokens=4)

    assert set(reply.text or "") == {"a"}
    assert reply.choices[0].finish_reason == "length"


def test_special_tokens_are_shown_where_that_is_wanted() -> None:
    end = llama()[1].eos_token_id

    reply = answer(runner(), logit_bias={str(end): 100}, ignore_eos=True, max_tokens=2, skip_special_tokens=False)

    assert reply.text == "<|im_end|>" * 2


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_no_stop_is_ever_shown(stream: bool, length: int) -> None:
    text = plain_text()
    start = 4
    stop = text[start : start + length]

    events = run(runner(), job(stop=["never there", stop], stream=stream))[1]

    reply = reply_of(events)
    assert reply.text == text[: text.index(stop)]
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.completion_tokens < 12 or text.endswith(stop)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("decode", [None, lambda tokens, **named: llama()[1].decode(tokens, **named)])
def test_a_stop_that_is_a_special_token_is_found_and_not_shown(stream: bool, decode: Any) -> None:
    shown = llama()[1].convert_tokens_to_ids("<|im_start|>")
    chat = job(logit_bias={str(shown): 100}, stop="<|im_start|>", stream=stream)

    events = run(runner(decode=decode), chat)[1]

    reply = reply_of(events)
    assert (reply.text, reply.choices[0].finish_reason) == ("", "stop")
    assert tokens_of(events) == [shown]


def test_the_end_of_the_context_ends_an_answer() -> None:
    prompt = len(llama()[1].apply_chat_template(HELLO, add_generation_prompt=True)["input_ids"])

    reply = answer(runner(context=prompt + 2), max_tokens=None)

    assert (reply.usage.completion_tokens, reply.choices[0].finish_reason) == (2, "length")
    with pytest.raises(ContextTooLong, match=f"the prompt has {prompt} tokens, and prompt and answer together may"):
        answer(runner(context=prompt))


def test_a_prompt_longer_than_the_model_can_hold_is_refused() -> None:
    with pytest.raises(ContextTooLong, match="may have 512"):
        answer(runner(), messages=[{"role": "user", "content": "ab " * 400}])


def test_max_length_counts_the_prompt() -> None:
    prompt = len(llama()[1].apply_chat_template(HELLO, add_generation_prompt=True)["input_ids"])

    reply = answer(runner(), max_tokens=None, max_length=prompt + 3, ignore_eos=True)

    assert reply.usage.completion_tokens == 3


def test_further_ends_are_those_that_hooks_name() -> None:
    text = plain_text()

    assert answer(runner(end_of_text=text[3:5])).text == text[: text.index(text[3:5])]
    first = plain_ids()[0]
    assert answer(runner(end_of_text=first)).usage.completion_tokens == 1


# What is told beside the text.


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_are_the_models_own(stream: bool) -> None:
    model, tokenizer = llama()
    reply = answer(runner(), logprobs=True, top_logprobs=3, stream=stream)

    ids = plain_ids()
    prompt = tokenizer.apply_chat_template(HELLO, add_generation_prompt=True)["input_ids"]
    with torch.no_grad():
        scores = model(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
    told = reply.choices[0].logprobs.content  # type: ignore[union-attr]
    assert told is not None
    shown = ids if ids[-1] != tokenizer.eos_token_id else ids[:-1]
    assert len(told) == len(shown)
    for place, (entry, token) in enumerate(zip(told, shown, strict=True)):
        assert entry.logprob == pytest.approx(float(scores[len(prompt) + place - 1, token]), abs=1e-4)
        assert len(entry.top_logprobs or ()) == 3
        assert entry.top_logprobs[0].token == entry.token  # type: ignore[index]
    assert written(told) == reply.text


def test_logprobs_stop_where_the_text_stops() -> None:
    text = plain_text()
    stop = text[4:6]

    for stream in (False, True):
        reply = answer(runner(), logprobs=True, stop=stop, stream=stream)
        told = reply.choices[0].logprobs.content  # type: ignore[union-attr]
        assert written(told).startswith(reply.text)
        assert len(told or ()) <= reply.usage.completion_tokens


# Going on.


@pytest.mark.parametrize("parameters", [{}, {"temperature": 1, "seed": 4}, {"stop": "never"}])
@pytest.mark.parametrize("stream", [False, True])
def test_a_lost_workers_answer_goes_on_where_it_was(stream: bool, parameters: dict[str, Any]) -> None:
    whole = run(runner(), job(stream=stream, **parameters))[1]
    first = [event for event in whole if isinstance(event, Piece)][:3] if stream else []
    done = tuple(tokens_of(first)) if stream else tuple(tokens_of(whole)[:5])

    rest = run(runner(), job(stream=stream, done=done, **parameters))[1]

    assert reply_of([*first, *rest]).text == reply_of(whole).text
    assert [*done, *tokens_of(rest)] == tokens_of(whole)
    assert reply_of([*first, *rest]).usage.completion_tokens == reply_of(whole).usage.completion_tokens


def test_an_answer_that_was_complete_is_only_ended() -> None:
    whole = run(runner(), job(stream=True))[1]
    made = runner()

    made.begin(job(stream=True, done=tuple(tokens_of(whole))))
    assert made.busy
    events = made.step()

    assert isinstance(events[-1], Finished)
    assert not made.busy


def test_long_answers_report_their_tokens_now_and_then() -> None:
    events = run(runner(), job(max_tokens=150, ignore_eos=True))[1]

    pieces = [event for event in events if isinstance(event, Piece)]
    assert [len(piece.tokens) for piece in pieces] == [64, 64, 22]
    assert [bool(piece.data) for piece in pieces] == [False, False, True]


def test_a_cancelled_answer_makes_room_and_says_no_more() -> None:
    made = runner(batch_size=1)
    made.begin(job(1, stream=True))
    made.step()
    assert made.room == 0

    made.cancel(1)
    made.cancel(99)

    assert made.room == 1
    assert not made.busy
    assert made.step() == []


def test_the_assistants_last_message_is_gone_on_with() -> None:
    messages = [*HELLO, {"role": "assistant", "content": "The Rhine, "}]
    model, tokenizer = llama()
    inputs = tokenizer.apply_chat_template(messages, continue_final_message=True, return_tensors="pt", return_dict=True)
    made = model.generate(**inputs, max_new_tokens=12, do_sample=False, pad_token_id=0)[0]

    reply = answer(runner(), messages=messages)

    assert reply.text == tokenizer.decode(made[inputs["input_ids"].shape[1] :], skip_special_tokens=True)


# Bound answers.


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_keeps_to_a_schema(stream: bool) -> None:
    bound = {"type": "json_schema", "json_schema": {"name": "city", "schema": CLOSED}}

    reply = answer(runner(), response_format=bound, max_tokens=80, stream=stream)

    assert list(json.loads(reply.text)) == ["city"]
    assert reply.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("schema", [True, {}])
def test_an_answer_to_which_a_schema_says_nothing_is_any_json(schema: Any) -> None:
    bound = {"type": "json_schema", "json_schema": {"name": "any", "schema": schema}}

    reply = answer(runner(), response_format=bound, max_tokens=100, temperature=1, seed=3)

    assert reply.choices[0].finish_reason == "stop"
    json.loads(reply.text)


def test_an_answer_keeps_to_a_regular_expression() -> None:
    reply = answer(runner(), response_format={"type": "regex", "pattern": "[0-9]{3}-[a-c]+x"}, max_tokens=60)

    assert reply.text[3] == "-"
    assert reply.text[:3].isdigit()


def test_an_answer_is_json() -> None:
    reply = answer(runner(), response_format={"type": "json_object"}, max_tokens=200, temperature=0.3, seed=2)

    assert reply.text.startswith("{")


@pytest.mark.parametrize("pattern", ["([", "\ud83d"])
def test_a_pattern_that_cannot_be_read_is_refused(pattern: str) -> None:
    with pytest.raises(BadRequest, match="response_format"):
        answer(runner(), response_format={"type": "regex", "pattern": pattern})


# Tools.


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "choice, names", [("required", {"look", "stop"}), ({"type": "function", "function": {"name": "look"}}, {"look"})]
)
def test_a_call_that_must_be_made_is_made(choice: Any, names: set[str], stream: bool) -> None:
    reply = answer(runner(WITH_TOOLS), tools=TOOLS, tool_choice=choice, max_tokens=120, stream=stream)

    (call,) = reply.choices[0].message.tool_calls or ()
    assert call.function.name in names
    assert isinstance(json.loads(call.function.arguments), dict)
    assert reply.choices[0].finish_reason == "tool_calls"
    assert not reply.text


def test_a_call_cut_in_its_middle_is_text() -> None:
    reply = answer(runner(WITH_TOOLS), tools=TOOLS, tool_choice="required", max_tokens=3)

    assert reply.choices[0].finish_reason == "length"
    assert reply.text.startswith("{")
    assert not reply.choices[0].message.tool_calls


def test_an_answer_without_calls_is_told_although_there_are_tools() -> None:
    for stream in (False, True):
        reply = answer(runner(WITH_TOOLS), tools=TOOLS, stream=stream)
        assert reply.usage.completion_tokens
        assert reply.text
        assert reply.choices[0].finish_reason in ("stop", "length")


def test_tools_are_refused_by_name_where_the_template_has_none() -> None:
    with pytest.raises(UnsupportedParameter, match="tools"):
        answer(runner(), tools=TOOLS)


# Thoughts.


def test_a_thought_that_the_prompt_began_is_told_apart() -> None:
    made = runner(tiny.CHATML + "<think>")
    close = "[a-d]{4}</think>[e-h]{5}"

    reply = answer(made, response_format=None)
    assert reply.choices[0].message.reasoning_content
    assert not reply.text

    bound = answer(made, response_format={"type": "regex", "pattern": close}, max_tokens=60)
    assert bound.text.startswith(tuple("abcd"))
    assert not bound.choices[0].message.reasoning_content


# Other families.


def test_a_model_without_template_is_read_plainly() -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny.gpt2()).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny.gpt2())
    with pytest.warns(ModelwrapWarning, match="no chat template"):
        made = runner_of({"model_name": "gpt2", "model": model, "tokenizer": tokenizer}, batch_size=2)
    inputs = tokenizer("User: Name three rivers.\n\nAssistant:", return_tensors="pt")
    plain = model.generate(**inputs, max_new_tokens=12, do_sample=False, pad_token_id=0)[0]

    reply = reply_of(run(made, job())[1])

    text = tokenizer.decode(plain[inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert reply.text == text.partition("\nUser:")[0]


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_a_model_with_an_encoder_is_told_the_words(family: str) -> None:
    folder = getattr(tiny, family)()
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with pytest.warns(ModelwrapWarning, match="no chat template"):
        made = runner_of({"model_name": family, "model": model, "tokenizer": tokenizer}, batch_size=2)
    inputs = tokenizer("Name three rivers.", return_tensors="pt")
    plain = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0]

    reply = reply_of(run(made, job())[1])

    assert reply.text == tokenizer.decode(plain, skip_special_tokens=True)
    assert reply.usage.prompt_tokens == inputs["input_ids"].shape[1]
    # What the encoder reads does not count for the length of an answer.
    short = reply_of(run(made, job(max_tokens=None, max_length=4, ignore_eos=True))[1])
    assert short.usage.completion_tokens == 4 < short.usage.prompt_tokens


def test_a_prompt_that_is_read_in_both_directions_is_told_as_such() -> None:
    tokenizer = llama()[1]
    torch.manual_seed(3)
    config = transformers.HrmTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        head_dim=8,
        initializer_range=0.4,
        H_cycles=1,
        L_cycles=1,
    )
    model = transformers.HrmTextForCausalLM(config).eval()

    def encode(text: str, **named: Any) -> Any:
        found = tokenizer(text, return_tensors="pt")
        return {**found, "token_type_ids": torch.ones_like(found["input_ids"])}

    hooked = runner_of(
        {"model_name": "hrm", "model": model, "tokenizer": tokenizer, "encode": encode, "batchable": True}, batch_size=4
    )
    named = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0, "eos_token_id": tokenizer.eos_token_id}
    inputs = encode(tokenizer.apply_chat_template(HELLO, add_generation_prompt=True, tokenize=False))
    start = inputs["input_ids"].shape[1]
    expected = model.generate(**inputs, **named)[0, start:].tolist()
    one_way = model.generate(**{**inputs, "token_type_ids": torch.zeros(1, start, dtype=int)}, **named)[0, start:]

    events = run(hooked, job(1), job(2))

    assert tokens_of(events[1]) == tokens_of(events[2]) == expected != one_way.tolist()
    assert tokens_of(run(hooked, job(3, done=tuple(expected[:5])))[3]) == expected[5:]


def test_settings_of_a_model_that_are_not_followed_are_said() -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny.llama())
    model.generation_config.num_beams = 3

    with pytest.warns(ModelwrapWarning, match="sets num_beams, which is not followed here"):
        runner_of({"model_name": "llama", "model": model, "tokenizer": llama()[1]}, batch_size=2)


# What goes wrong.


def test_an_answer_that_cannot_be_told_fails_alone() -> None:
    def decode(ids: Any, **_: Any) -> str:
        raise OSError("no such dictionary")

    made = runner(decode=decode)

    events = run(made, job(1))[1]

    assert isinstance(events[-1], Failed)
    assert "no such dictionary" in str(events[-1].error)
    assert not made.busy


def test_a_wrong_parameter_is_refused_before_anything_is_computed() -> None:
    made = runner()

    with pytest.raises(BadRequest, match="temperature"):
        made.begin(job(temperature=-1))

    assert not made.busy
    assert made.room == 8


def test_an_answer_that_cannot_be_computed_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made = runner()
    made.begin(job(1))
    made.begin(job(2))
    monkeypatch.setattr(made._decoder, "step", lambda: [Broken(1, torch.OutOfMemoryError("no more memory"))])

    (failed,) = made.step()

    assert isinstance(failed, Failed)
    assert failed.number == 1
    assert "OutOfMemoryError: no more memory" in str(failed.error)
    assert failed.error.retryable is False  # type: ignore[attr-defined]


def test_a_runner_that_is_closed_has_nothing_to_do() -> None:
    made = runner()
    made.begin(job(1))

    made.close()

    assert not made.busy
    assert made.room == 8


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_answers_in_channels_is_bound_in_the_last_of_them(stream: bool) -> None:
    made = runner(tiny.CHATML + "{% if tools %}{{ tools | tojson }}{% endif %}{# <|channel|> #}")
    look = {"type": "function", "function": {"name": "look"}}

    bound = answer(made, response_format={"type": "regex", "pattern": "[0-9]{4}x"}, stream=stream)
    called = answer(made, tools=TOOLS, tool_choice=look, max_tokens=80, stream=stream)

    assert bound.text.endswith("x")
    assert [call.function.name for call in called.choices[0].message.tool_calls or ()] == ["look"]


def test_a_form_that_cannot_be_forced_is_refused() -> None:
    made = runner(WITH_TOOLS + "{# <function= #}")

    with pytest.raises(UnsupportedParameter, match="tool_choice: .*cannot be forced; leave it at auto"):
        made.begin(job(tools=TOOLS, tool_choice="required"))
    named = runner(WITH_TOOLS + "{# [ARGS] #}")
    with pytest.raises(UnsupportedParameter, match="name one tool"):
        named.begin(job(tools=TOOLS, tool_choice="required"))


def test_an_answer_is_read_by_what_the_tokenizer_says_of_answers() -> None:
    model, tokenizer = llama()
    describing = copy.deepcopy(tokenizer)
    describing.response_template = {
        "start_anchor": "<|im_start|>assistant\n",
        "fields": {"content": {"content": "text"}, "thinking": {"open": "<think>", "close": "</think>"}},
    }
    info = {"model_name": "llama", "model": model, "tokenizer": describing}

    said = answer(runner_of({**info, "chat_template": tiny.CHATML}, batch_size=2))
    thought = answer(runner_of({**info, "chat_template": tiny.CHATML + "<think>"}, batch_size=2))

    assert said.text == tokenizer.decode(plain_ids())
    assert thought.choices[0].message.reasoning_content
    assert not thought.text
