"""Models whose owners bring functions of their own: any subset of them, alone or several at once, and whole entries."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
import transformers

from modelwrap.errors import BadRequest, ConfigError, ContextTooLong, ServerFailed, UnsupportedParameter
from modelwrap.local.transformers.hook_runner import EntryRunner, HookRunner
from modelwrap.local.transformers.runner import ChatRunner, runner_of
from modelwrap.local.work import Failed
from tests.local.transformers import tiny
from tests.local.transformers.chatting import HELLO, answer, job, llama, plain_text, reply_of, run

pytestmark = pytest.mark.xdist_group("torch")


def hooked(batch_size: int = 8, **info: Any) -> Any:
    model, tokenizer = llama()
    given = {"model_name": "mine", "model": model, "tokenizer": tokenizer, **info}
    return runner_of(given, batch_size=batch_size)


def own_generate(**named: Any) -> Any:
    return llama()[0].generate(**named, pad_token_id=0)


# Which hooks there are.


def test_without_hooks_batches_are_made_here() -> None:
    made = hooked()

    assert isinstance(made, ChatRunner)
    assert made.room == 8


@pytest.mark.parametrize("batchable, room", [(False, 1), (True, 8)])
def test_who_generates_or_encodes_computes_one_chat_unless_it_can_more(batchable: bool, room: int) -> None:
    generating = hooked(generate=own_generate, batchable=batchable)
    encoding = hooked(encode=lambda text, **_: llama()[1](text, add_special_tokens=False), batchable=batchable)

    assert isinstance(generating, HookRunner)
    assert isinstance(encoding, ChatRunner)
    assert generating.room == encoding.room == room
    assert answer(encoding).text == plain_text()


def test_a_hook_without_a_place_for_a_mask_generates_of_tokens_alone() -> None:
    def generate(input_ids: Any, max_new_tokens: int) -> Any:
        return own_generate(input_ids=input_ids, max_new_tokens=max_new_tokens)

    assert answer(hooked(generate=generate)).text == plain_text()


@pytest.mark.parametrize("hook", ["apply_chat_template", "encode", "generate"])
def test_a_hook_that_gives_nothing_is_said(hook: str) -> None:
    hooks = {"generate": own_generate, hook: lambda *_, **__: None}
    runner = hooked(**hooks)

    with pytest.raises((TypeError, AssertionError), match="a hook gave None in place of tokens"):
        answer(runner)


@pytest.mark.parametrize("given", [3, b"abc", {1, 2}, {"foo": [[1]]}, [1.5], [["a"]], torch.tensor(3), object()])
@pytest.mark.parametrize("hook", ["apply_chat_template", "encode", "generate"])
def test_what_is_no_token_is_not_taken_for_some(hook: str, given: Any) -> None:
    hooks = {"generate": own_generate, hook: lambda *_, **__: given}
    runner = hooked(**hooks)

    with pytest.raises((TypeError, KeyError, AssertionError), match=r"a hook gave .* in place of|input_ids"):
        answer(runner)


@pytest.mark.parametrize("given", [None, 3, b"abc", [], [None]])
def test_what_is_no_text_is_not_taken_for_one(given: Any) -> None:
    runner = hooked(decode=lambda *_, **__: given)

    with pytest.raises(AssertionError, match=r"decode gave .* in place of a text"):
        answer(runner)


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": object()},
        {"model": transformers.LlamaForCausalLM},
        {"model": torch.nn.Linear(1, 1)},
        {"tokenizer": "gpt2"},
        {"tokenizer": object()},
        {"end_of_text": 1.5},
        {"end_of_text": [object()]},
    ],
)
def test_objects_of_the_wrong_kind_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="model_info: .*(generate hook|must be|no tokenizer)"):
        hooked(**wrong)


def test_a_model_without_the_part_that_writes_is_named() -> None:
    with pytest.raises(ConfigError, match="a LlamaModel has no part that writes text; load it by AutoModelForCausalLM"):
        hooked(model=llama()[0].model)


def test_a_module_of_ones_own_is_called_whatever_it_is_set_up_with() -> None:
    class Own(torch.nn.Module):
        config = SimpleNamespace(size=3)

        def generate(self, **named: Any) -> Any:
            return own_generate(**named)

    assert answer(hooked(model=Own().eval())).text == plain_text()


@pytest.mark.parametrize("stream", [False, True])
def test_a_hook_generates_what_plain_generate_does(stream: bool) -> None:
    reply = answer(hooked(generate=own_generate), stream=stream)

    assert reply.text == plain_text()
    assert reply.usage.prompt_tokens == len(
        llama()[1].apply_chat_template(HELLO, add_generation_prompt=True)["input_ids"]
    )


@pytest.mark.parametrize(
    "form",
    [
        lambda output, size: output,
        lambda output, size: output[0],
        lambda output, size: output[:, size:],
        lambda output, size: output.tolist(),
        lambda output, size: output[0, size:].tolist(),
        lambda output, size: SimpleNamespace(sequences=output),
        lambda output, size: {"sequences": output},
        lambda output, size: llama()[1].decode(output[0, size:], skip_special_tokens=True),
        lambda output, size: [llama()[1].decode(output[0, size:], skip_special_tokens=True)],
    ],
)
def test_what_generate_gives_may_have_any_form(form: Any) -> None:
    def generate(**named: Any) -> Any:
        return form(own_generate(**named), named["input_ids"].shape[1])

    reply = answer(hooked(generate=generate))

    assert reply.text == plain_text()
    assert reply.usage.completion_tokens


def test_parameters_go_to_generate_as_it_names_them() -> None:
    seen: dict[str, Any] = {}

    def generate(**named: Any) -> Any:
        seen.update(named)
        return own_generate(**{name: value for name, value in named.items() if name != "mood"})

    asked = {"temperature": 0.7, "top_p": 0.9, "top_k": 5, "repetition_penalty": 1.2, "logit_bias": {"300": 5}}
    answer(hooked(generate=generate, generate_kwargs={"mood": "calm", "num_beams": 1}), max_tokens=4, **asked)

    seen.pop("input_ids"), seen.pop("attention_mask")
    assert seen == {
        "max_new_tokens": 4,
        "do_sample": True,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 5,
        "repetition_penalty": 1.2,
        "sequence_bias": {(300,): 5.0},
        "mood": "calm",
        "num_beams": 1,
    }


@pytest.mark.parametrize(
    "parameters",
    [
        {"logprobs": True},
        {"presence_penalty": 1},
        {"response_format": {"type": "json_object"}},
        {"tools": [{"type": "function", "function": {"name": "a"}}], "tool_choice": "required"},
    ],
)
def test_what_generate_cannot_be_told_is_refused_by_name(parameters: dict[str, Any]) -> None:
    made = hooked(generate=own_generate, chat_template=tiny.CHATML + "{{ tools }} <tool_call>")

    with pytest.raises(UnsupportedParameter) as caught:
        made.begin(job(**parameters))

    assert list(parameters)[-1] in str(caught.value)
    assert not made.busy


def test_a_function_that_takes_less_is_not_given_more() -> None:
    def generate(input_ids: Any, attention_mask: Any) -> str:
        return "As always."

    made = hooked(generate=generate)

    assert answer(made, max_tokens=None).text == "As always."
    for refused in ({"temperature": 0.5}, {"max_tokens": 5}):
        with pytest.raises(UnsupportedParameter, match=next(iter(refused))):
            made.begin(job(**refused))


def test_settings_that_only_generate_follows_are_followed_by_it() -> None:
    made = hooked(generate_kwargs={"num_beams": 3, "pad_token_id": 0})

    assert isinstance(made, HookRunner)
    assert answer(made).text == plain_text(num_beams=3)


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_a_model_with_an_encoder_generates_what_it_would(family: str) -> None:
    folder = getattr(tiny, family)()
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    info = {"model_name": family, "model": model, "tokenizer": tokenizer, "chat_template": "bare"}
    plain = model.generate(**tokenizer("Name three rivers.", return_tensors="pt"), max_new_tokens=12, num_beams=2)[0]

    made = runner_of({**info, "generate_kwargs": {"num_beams": 2}}, batch_size=2)

    assert isinstance(made, HookRunner)
    assert answer(made).text == tokenizer.decode(plain, skip_special_tokens=True)


def test_settings_that_are_followed_here_leave_the_batches_here() -> None:
    made = hooked(generate_kwargs={"max_new_tokens": 3})

    assert isinstance(made, ChatRunner)
    assert answer(made, max_tokens=None, ignore_eos=True).usage.completion_tokens == 3


def test_a_seed_makes_chance_repeat_itself_and_leaves_that_of_others() -> None:
    made = hooked(generate=own_generate)
    torch.manual_seed(1)
    expected = torch.rand(1)

    torch.manual_seed(1)
    texts = [answer(made, temperature=1.5, seed=seed).text for seed in (5, 5, 6)]

    assert texts[0] == texts[1] != texts[2]
    assert torch.rand(1) == expected


def test_stops_cut_what_generate_gives() -> None:
    text = plain_text()

    reply = answer(hooked(generate=own_generate), stop=text[3:5])

    assert (reply.text, reply.choices[0].finish_reason) == (text[: text.index(text[3:5])], "stop")


def test_a_length_in_the_hooks_holds_where_a_call_has_none() -> None:
    reply = answer(hooked(generate=own_generate, generate_kwargs={"max_new_tokens": 3}), max_tokens=None)

    assert reply.usage.completion_tokens <= 3


def test_a_prompt_without_room_is_refused() -> None:
    made = hooked(generate=own_generate)

    events = run(made, job(messages=[{"role": "user", "content": "ab " * 400}]))[1]

    assert isinstance(events[-1], Failed)
    assert isinstance(events[-1].error, ContextTooLong)


def test_a_decode_hook_makes_the_whole_text() -> None:
    seen = []

    def decode(ids: Any, **named: Any) -> str:
        seen.append((ids, named))
        return f"<{llama()[1].decode(ids, skip_special_tokens=True).strip()}>"

    made = hooked(decode=decode)
    assert isinstance(made, ChatRunner)
    assert made.room == 8

    for stream in (False, True):
        assert answer(made, stream=stream).text == f"<{plain_text().strip()}>"
    assert isinstance(seen[0][0], torch.Tensor)
    assert seen[0][1] == {"skip_special_tokens": True}


def test_stops_end_an_answer_whose_text_a_hook_makes() -> None:
    text = plain_text()

    reply = answer(hooked(decode=lambda ids, **_: llama()[1].decode(ids, skip_special_tokens=True)), stop=text[3:5])

    assert reply.text == text[: text.index(text[3:5])]
    assert reply.usage.completion_tokens < 12


def test_what_the_librarys_decode_is_told_reaches_it() -> None:
    reply = answer(hooked(decode_kwargs={"skip_special_tokens": False}))

    assert "<row_3_col_2>" in reply.text


# Several at once.


def test_chats_that_are_alike_are_generated_together() -> None:
    sizes = []

    def generate(**named: Any) -> Any:
        sizes.append(len(named["input_ids"]))
        return own_generate(**named)

    questions = [[{"role": "user", "content": "a" * length}] for length in (1, 6, 11)]
    jobs = [job(n, question) for n, question in enumerate(questions)]
    odd = [job(7, temperature=0.5), job(8, temperature=0.5, seed=1)]

    events = run(hooked(generate=generate, batchable=True), *jobs, *odd)

    assert sizes == [3, 1, 1]
    assert [reply_of(events[n]).text for n in range(3)] == [plain_text(question) for question in questions]


def test_a_chat_that_breaks_its_batch_fails_alone() -> None:
    sizes = []

    def generate(**named: Any) -> Any:
        sizes.append(len(named["input_ids"]))
        if any("POISON" in llama()[1].decode(row) for row in named["input_ids"]):
            raise torch.OutOfMemoryError("no more memory")
        return own_generate(**named)

    words = ["a", "b", "POISON", "d"]
    jobs = [job(n, [{"role": "user", "content": word}]) for n, word in enumerate(words)]

    events = run(hooked(generate=generate, batchable=True), *jobs)

    assert sizes == [4, 2, 2, 1, 1]
    failed = events[2][-1]
    assert isinstance(failed, Failed)
    assert "OutOfMemoryError: no more memory" in str(failed.error)
    assert [reply_of(events[n]).text for n in (0, 1, 3)] == [
        plain_text([{"role": "user", "content": word}]) for word in "abd"
    ]


def test_a_cancelled_chat_is_not_generated() -> None:
    made = hooked(generate=own_generate)
    made.begin(job())

    made.cancel(1)

    assert not made.busy
    assert made.step() == []
    made.close()


# Models that the library does not know.


class Echo:
    """Be no model of torch at all."""

    def generate(self, text: str, max_new_tokens: int) -> str:
        return f"{text} ({max_new_tokens})"


def test_a_model_of_ones_own_needs_no_tokenizer() -> None:
    hooks = {
        "apply_chat_template": lambda messages: messages[-1]["content"],
        "encode": lambda text: text,
        "decode": lambda ids: ids,
    }

    reply = answer(runner_of({"model_name": "echo", "model": Echo(), **hooks}, batch_size=4), max_tokens=7)

    assert reply.text == "Name three rivers. (7)"


def test_usage_is_left_out_where_nobody_can_count_it() -> None:
    text_only = {"apply_chat_template": lambda messages: "Hi", "encode": lambda text: text, "decode": lambda ids: ids}

    uncounted = answer(runner_of({"model_name": "echo", "model": Echo(), **text_only}, batch_size=1))
    uncounted_prompt = answer(hooked(encode=lambda text: text, generate=lambda text, **named: "four words of text"))
    counted = answer(hooked(generate=lambda **named: "four words of text"))

    assert "usage" not in uncounted.model_fields_set | uncounted_prompt.model_fields_set
    assert counted.usage.completion_tokens == len(llama()[1]("four words of text")["input_ids"])
    assert counted.usage.prompt_tokens == answer(hooked()).usage.prompt_tokens


@pytest.mark.parametrize("generates", [False, True])
@pytest.mark.parametrize("token", [-1, 100_000])
def test_a_token_that_the_model_does_not_know_is_named_with_the_hook_that_gave_it(token: int, generates: bool) -> None:
    hooks: dict[str, Any] = {"encode": lambda text, **named: {"input_ids": torch.tensor([[5, token, 6]])}}
    if generates:
        hooks["generate_kwargs"] = {"num_beams": 2}
    made = hooked(**hooks)
    size = len(llama()[1])
    said = f"the hook encode gave the token {token}, and mine has tokens from 0 to {size - 1}"

    with pytest.raises(ServerFailed, match=said):
        reply_of_failed(made)


def test_a_template_that_gives_unknown_tokens_and_a_tokenizer_of_another_model_are_named() -> None:
    template = hooked(apply_chat_template=lambda messages, **named: [5, 100_000])
    tokenizer = copy.deepcopy(llama()[1])
    tokenizer.add_tokens(["rivers"])
    other = hooked(tokenizer=tokenizer)

    with pytest.raises(ServerFailed, match="the hook apply_chat_template gave the token 100000"):
        reply_of_failed(template)
    with pytest.raises(ServerFailed, match="the tokenizer gave the token .*; is it that of another model"):
        reply_of_failed(other)


@pytest.mark.parametrize("token", [-1, 10**9, 10**30])
def test_a_token_that_generate_made_and_nobody_can_read_is_named(token: int) -> None:
    made = hooked(generate=lambda **named: [[token]])

    with pytest.raises(ServerFailed, match=f"generate gave the token {token}, and mine has tokens from 0 to"):
        reply_of_failed(made)


def test_a_generate_of_ones_own_may_be_given_any_tokens() -> None:
    made = hooked(
        encode=lambda text: [5, 100_000],
        generate=lambda ids, **named: [100_000, 7],
        decode=lambda ids, **named: str(ids.tolist()),
    )

    assert answer(made).text == "[100000, 7]"


def reply_of_failed(made: Any) -> None:
    """Compute a chat that fails, and raise why."""
    event = run(made, job())[1][-1]
    assert isinstance(event, Failed)
    raise event.error


def test_a_tokenizer_inside_of_a_processor_serves() -> None:
    processor = SimpleNamespace(tokenizer=llama()[1])

    made = runner_of({"model_name": "mine", "model": llama()[0], "processor": processor}, batch_size=2)

    assert answer(made).text == plain_text()


# Entries.


class Entry:
    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.active = True

    def deactivate(self) -> None:
        self.active = False

    def inference(self, batch: list[Any], temperature: float) -> list[str]:
        self.seen.append((len(batch), temperature))
        return [f"{messages[-1]['content']} at {temperature}" for messages in batch]


def test_an_entry_answers_chats_of_one_temperature_together() -> None:
    entry = Entry()
    made = runner_of(entry, batch_size=8)
    assert isinstance(made, EntryRunner)
    jobs = [job(n, temperature=0.5 if n == 1 else None, max_tokens=None) for n in range(3)]

    events = run(made, *jobs)

    assert entry.seen == [(2, 0.7), (1, 0.5)]
    assert reply_of(events[1]).text == "Name three rivers. at 0.5"
    assert reply_of(events[0]).choices[0].finish_reason == "stop"


def test_an_entry_is_shown_texts_of_users_and_assistants_only() -> None:
    made = runner_of(Entry(), batch_size=8)

    parts = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    assert answer(made, messages=parts, max_tokens=None).text == "ab at 0.7"
    for messages, words in [
        ([{"role": "system", "content": "x"}], "roles user and assistant, not system"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "text only"),
    ]:
        with pytest.raises(BadRequest, match=words):
            made.begin(job(messages=messages, max_tokens=None))
    with pytest.raises(UnsupportedParameter, match="max_tokens"):
        made.begin(job())


@pytest.mark.parametrize(
    "given, said",
    [([], "gave [] for 1 chats"), (None, "gave None for 1 chats"), ([None], "gave None in place of a text")],
)
def test_an_entry_that_gives_no_text_fails_its_chat(given: Any, said: str) -> None:
    entry = SimpleNamespace(inference=lambda batch, temperature: given)

    events = run(runner_of(entry, batch_size=2), job(max_tokens=None))[1]

    assert isinstance(events[-1], Failed)
    assert said in str(events[-1].error)


def test_an_entry_is_let_go_when_its_runner_is_closed() -> None:
    entry = Entry()

    runner_of(entry, batch_size=1).close()

    assert not entry.active
