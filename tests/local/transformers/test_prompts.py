"""Messages as the models read them: by their own templates, by named ones, by files, and by none at all."""

from __future__ import annotations

import warnings
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modelwrap.errors import BadRequest, ConfigError, ModelwrapWarning, UnsupportedParameter
from modelwrap.local.transformers.entries import HOOKS
from modelwrap.local.transformers.hooks import ModelParts
from modelwrap.local.transformers.prompts import Prompts, encoded, ids_of

pytest.importorskip("torch")

import torch
import transformers

from tests.local.transformers import tiny

pytestmark = pytest.mark.xdist_group("torch")

LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
HELLO = [{"role": "user", "content": "Hello"}]
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJ"
    "RU5ErkJggg=="
)
SEEN = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PIXEL}}, {"type": "text", "text": "?"}]}

WITH_TOOLS = (
    "{% for m in messages %}[{{ m.role }}{% if m.name %} {{ m.name }}{% endif %}] {{ m.content }}"
    "{% for c in m.tool_calls or [] %}<call {{ c.function.name }} {{ c.function.arguments.city }}>{% endfor %}"
    "{% endfor %}{% if tools %}{{ tools | tojson }}{% endif %}[assistant] "
)
ARGUMENTS_AS_TEXT = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name + c.function.arguments }}{% endfor %}{% endfor %}"
)


def prompts(template: str | None = tiny.CHATML, *, model: Any = None, **info: Any) -> Prompts:
    given = {"model_name": "mine", "model": model or object(), "tokenizer": tiny.tokenizer(template), **info}
    return Prompts(ModelParts.of(given))


def test_the_models_own_template_writes_the_prompt() -> None:
    made = prompts().write(HELLO)

    assert made.text == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    assert not made.goes_on


def test_a_mark_that_the_template_wrote_is_not_written_again() -> None:
    with_begin = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"
    tokenizer = tiny._with_end(eos_token="</s>", pad_token="<pad>", bos_token="<s>")
    tokenizer.chat_template = with_begin
    written = prompts(tokenizer=tokenizer)

    ids = written.encode(written.write(HELLO)).ids

    assert ids == tokenizer.encode("<s>Hello", add_special_tokens=False)


def test_a_last_message_of_the_assistant_is_gone_on_with() -> None:
    made = prompts().write([*HELLO, {"role": "assistant", "content": "Good"}])

    assert made.text.endswith("<|im_start|>assistant\nGood")
    assert (made.goes_on, made.begun) == (True, "Good")


def test_an_empty_last_message_is_one_to_be_written() -> None:
    assert prompts().write([*HELLO, {"role": "assistant", "content": ""}]).text == prompts().write(HELLO).text


def test_texts_in_parts_are_one_text_for_a_template_that_takes_texts() -> None:
    content = ["Hel", {"type": "text", "text": "lo"}]

    assert prompts().write([{"role": "user", "content": content}]).text == prompts().write(HELLO).text


def test_a_template_that_takes_parts_only_gets_parts() -> None:
    template = "{% for m in messages %}{% for p in m.content %}{{ '(' + p.text + ')' }}{% endfor %}{% endfor %}"

    assert prompts(template).write(HELLO).text == "(Hello)"


def test_a_developer_is_the_system_where_the_template_knows_none() -> None:
    messages = [{"role": "developer", "content": "Be brief."}, *HELLO]

    assert prompts().write(messages).text.startswith("<|im_start|>system\nBe brief.")
    assert (
        "developer: Be"
        in prompts("{% for m in messages %}{{ m.role }}: {{ m.content }}{# developer #}{% endfor %}")
        .write(messages)
        .text
    )


def test_a_template_that_refuses_says_why() -> None:
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}x"

    with pytest.raises(BadRequest, match="refuses them: System role not supported") as caught:
        prompts(template).write([{"role": "system", "content": "Be brief."}, *HELLO])

    assert caught.value.sent is False


def test_a_template_that_passes_over_a_system_message_is_noticed() -> None:
    template = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"

    with pytest.raises(BadRequest, match="no place for a system message"):
        prompts(template).write([{"role": "system", "content": "Be brief."}, *HELLO])


def test_tools_and_their_calls_go_into_the_template() -> None:
    messages = [
        *HELLO,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"city": "Rome"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "sunny"}]},
    ]

    text = prompts(WITH_TOOLS).write(messages, [LOOK]).text

    assert "[assistant] <call look Rome>[tool look] sunny[{" in text
    assert '"name": "look"' in text


def test_arguments_are_text_where_the_template_wants_text() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"city": "Rome"}'}}
    messages = [*HELLO, {"role": "assistant", "content": "", "tool_calls": [call]}]

    assert prompts(ARGUMENTS_AS_TEXT).write(messages).text.endswith('look{"city": "Rome"}')


def test_arguments_are_not_shown_as_python_prints_them() -> None:
    printing = "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.name }}{{ c.function.arguments }}"
    call = {"id": "c1", "function": {"name": "look", "arguments": '{"city": "Rome"}'}}

    text = prompts(printing + "{% endfor %}{% endfor %}").write([{"role": "assistant", "tool_calls": [call]}]).text

    assert text == 'look{"city": "Rome"}'


@pytest.mark.parametrize(
    "arguments, result", [('{"city": "Rome"}', "none for {'city': 'Rome'}"), ('{"it\'s": 1}', "nothing")]
)
def test_what_looks_as_python_prints_it_and_is_not_is_left_as_it_is(arguments: str, result: str) -> None:
    writing = "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }} "
    writing += "{{ c.function.arguments | tojson }}{% endfor %} {% endfor %}"
    call = {"id": "c1", "function": {"name": "look", "arguments": arguments}}
    messages = [{"role": "assistant", "content": "", "tool_calls": [call]}]
    messages += [{"role": "tool", "tool_call_id": "c1", "content": result}]

    assert prompts(writing).write(messages).text == f"look {arguments} {result} "


def test_a_template_that_cannot_do_without_content_gets_some() -> None:
    adding = "{% for m in messages %}{{ m.content + '!' }}{% for c in m.tool_calls or [] %}{{ c.function.name }}"
    call = {"id": "c1", "function": {"name": "look", "arguments": "{}"}}
    messages = [*HELLO, {"role": "assistant", "content": None, "tool_calls": [call]}]

    assert prompts(adding + "{% endfor %}{% endfor %}").write(messages).text == "Hello!!look"


@pytest.mark.parametrize("template", [tiny.CHATML, None])
def test_tools_are_refused_where_the_template_has_no_place_for_them(template: str | None) -> None:
    with pytest.raises(UnsupportedParameter, match="tools: the chat template"):
        prompts(template, chat_template=None if template else "plain").write(HELLO, [LOOK])


def test_calls_that_a_template_would_pass_over_are_noticed() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}

    with pytest.raises(BadRequest, match="no place for calls of tools"):
        prompts().write([*HELLO, {"role": "assistant", "content": "Let me see.", "tool_calls": [call]}, *HELLO])


def test_images_that_a_processor_has_no_way_with_are_refused() -> None:
    template = "{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}<image><image>"
    made = seeing(chat_template=template)

    with pytest.raises(BadRequest, match="the processor of this model refuses them"):
        made.encode(made.write([SEEN]))


def test_what_a_call_says_to_the_template_reaches_it_or_is_refused() -> None:
    made = prompts(tiny.CHATML + "{% if calm %}calmly{% endif %}")

    assert made.write(HELLO, named={"calm": True}).text.endswith("calmly")
    with pytest.raises(UnsupportedParameter, match="loud: the chat template of this model does not read it"):
        made.write(HELLO, named={"loud": True})


def test_what_hooks_say_to_the_template_reaches_it() -> None:
    made = prompts(tiny.CHATML + "{{ mood }}", apply_chat_template_kwargs={"mood": "calm"})

    assert made.write(HELLO).text.endswith("assistant\ncalm")


@pytest.mark.parametrize(
    "name, text, ends",
    [
        ("chatml", "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n", ("<|im_end|>", "<|im_start|>user")),
        ("plain", "User: Hello\n\nAssistant:", ("\nUser:", "\nSystem:")),
        ("bare", "Hello", ()),
        ("llama3", None, ("<|eot_id|>", "<|start_header_id|>user<|end_header_id|>")),
        ("vicuna", "USER: Hello\nASSISTANT:", ("</s>", "USER:")),
    ],
)
def test_a_template_goes_by_its_name(name: str, text: str | None, ends: tuple[str, ...]) -> None:
    made = prompts(None, chat_template=name)

    assert text is None or made.write(HELLO).text == text
    assert made.template.ends == ends
    assert not made.template.writes_specials


@pytest.mark.parametrize("name", ["chatml", "plain", "llama2", "vicuna"])
def test_a_named_template_leaves_a_last_answer_open(name: str) -> None:
    made = prompts(None, chat_template=name).write([*HELLO, {"role": "assistant", "content": "Good"}])

    assert made.text.endswith("Good")


def test_a_template_comes_from_a_file_or_from_the_config(tmp_path: Path) -> None:
    text = "{% for m in messages %}<{{ m.content }}>{% endfor %}"
    file = tmp_path / "mine.jinja"
    file.write_text(text, "utf-8")

    assert prompts(chat_template=str(file)).write(HELLO).text == "<Hello>"
    assert prompts(chat_template=text).write(HELLO).text == "<Hello>"


@pytest.mark.parametrize(
    "given", [{"chat_template": "short"}, {"apply_chat_template_kwargs": {"chat_template": "short"}}]
)
def test_one_of_several_templates_of_a_model_goes_by_its_name(given: dict[str, Any]) -> None:
    several: Any = {"default": tiny.CHATML, "short": "{{ style }}: {{ messages[0].content }}"}

    made = prompts(several, **given)

    assert made.write(HELLO, (), {"style": "So"}).text == "So: Hello"
    assert made.template.source == several["short"]
    with pytest.raises(UnsupportedParameter, match="sty: the chat template"):
        made.write(HELLO, (), {"sty": "So"})


def test_a_template_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match="chat_template: 'chatlm' is neither.*did you mean 'chatml'"):
        prompts(chat_template="chatlm")


def test_a_model_without_template_gets_a_plain_one_with_a_warning() -> None:
    with pytest.warns(ModelwrapWarning, match="mine has no chat template.*`User: …`"):
        made = prompts(None)

    assert made.write(HELLO).text == "User: Hello\n\nAssistant:"


def test_a_tokenizer_that_writes_by_its_own_code_needs_no_template() -> None:
    class Own(transformers.PreTrainedTokenizerFast):  # type: ignore[misc] # its package is not looked into
        def apply_chat_template(self, messages: list[Any], **_: Any) -> str:
            return "".join(f"<{message['content']}>" for message in messages)

    tokenizer = Own(tokenizer_object=tiny.tokenizer(None).backend_tokenizer)

    assert prompts(None, tokenizer=tokenizer).write(HELLO).text == "<Hello>"


def test_a_model_that_turns_text_into_text_gets_the_words_and_the_end_that_it_wants() -> None:
    tokenizer = tiny._with_end(eos_token="</s>", pad_token="<pad>", bos_token="<pad>")
    model = SimpleNamespace(config=SimpleNamespace(is_encoder_decoder=True))
    with pytest.warns(ModelwrapWarning, match="the words of the conversation"):
        made = prompts(None, tokenizer=tokenizer, model=model)

    ids = made.encode(made.write(HELLO)).ids

    assert tokenizer.decode(ids) == "Hello</s>"


@pytest.mark.parametrize("ending, thinks", [("<think>\n", True), ("", False), ("<think>\n\n</think>\n\n", False)])
def test_a_template_that_begins_a_thought_is_noticed(ending: str, thinks: bool) -> None:
    assert prompts(tiny.CHATML + ending).write(HELLO).thinks is thinks


def test_a_thought_that_is_gone_on_with_is_noticed() -> None:
    assert prompts().write([*HELLO, {"role": "assistant", "content": "<think>So"}]).thinks
    assert not prompts().write([*HELLO, {"role": "assistant", "content": "<think>So</think>Yes"}]).thinks


# Images.


def seeing(**info: Any) -> Prompts:
    processor = transformers.AutoProcessor.from_pretrained(tiny.llava())
    return Prompts(ModelParts.of({"model_name": "seeing", "model": object(), "processor": processor, **info}))


def test_images_go_through_the_processor_that_holds_the_tokenizer() -> None:
    made = seeing()

    prompt = made.write([SEEN])
    read = made.encode(prompt)

    assert prompt.text == "<|im_start|>user\n<image>?<|im_end|>\n<|im_start|>assistant\n"
    assert len(prompt.images) == 1
    assert list(read.inputs) == ["pixel_values"]
    assert read.inputs["pixel_values"].shape[0] == 1
    assert len(read.ids) > len(made.encode(made.write([{"role": "user", "content": "?"}])).ids)


def test_text_goes_through_the_same_processor_alone() -> None:
    made = seeing()

    read = made.encode(made.write(HELLO))

    assert read.inputs == {}
    assert read.ids == tiny.tokenizer()("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n")["input_ids"]


@pytest.mark.parametrize(
    "part, words",
    [
        ({"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}, "the image is not here"),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            "audio: this model is told text and images only",
        ),
        ({"type": "text"}, "text: must be a text"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}, "cannot be read"),
        (7, "is neither text nor a part"),
    ],
)
def test_a_part_that_cannot_be_told_is_refused_by_its_place(part: Any, words: str) -> None:
    with pytest.raises(BadRequest, match=r"messages\[0\].content\[1\]") as caught:
        seeing().write([{"role": "user", "content": [{"type": "text", "text": "See:"}, part]}])

    assert words in str(caught.value)


def test_a_model_of_text_refuses_images() -> None:
    with pytest.raises(BadRequest, match=r"messages\[0\].content\[0\]: this model takes no images"):
        prompts().write([SEEN])


# Hooks.


def test_a_hook_writes_the_prompt_and_gets_no_more_than_it_takes() -> None:
    def write(messages: list[Any], add_generation_prompt: bool) -> str:
        return f"{len(messages)} {add_generation_prompt}"

    made = prompts(None, apply_chat_template=write)

    assert made.write(HELLO).text == "1 True"
    with pytest.raises(UnsupportedParameter, match="tools"):
        made.write(HELLO, [LOOK])


def test_a_hook_that_gives_tokens_has_them_read_as_they_are() -> None:
    made = prompts(None, apply_chat_template=lambda messages, **_: torch.tensor([[5, 6, 7]]))

    assert made.encode(made.write(HELLO)).ids == [5, 6, 7]


def test_a_hook_sees_images() -> None:
    def write(messages: list[Any], **_: Any) -> str:
        return str(messages[0]["content"][0]["image"].size)

    made = prompts(apply_chat_template=write)

    assert made.write([SEEN]).text == "(1, 1)"


def test_a_hook_encodes_with_its_defaults() -> None:
    seen: dict[str, Any] = {}

    def encode(text: str, **named: Any) -> Any:
        seen.update(named, text=text)
        return {"input_ids": torch.tensor([[1, 2]]), "attention_mask": torch.ones(1, 2), "extra": torch.zeros(1, 3)}

    made = prompts(encode=encode, encode_kwargs={"mood": "calm"})

    read = made.encode(made.write(HELLO))

    assert seen == {"text": made.write(HELLO).text, "return_tensors": "pt", "mood": "calm"}
    assert (read.ids, list(read.inputs)) == ([1, 2], ["extra"])


def test_what_was_filled_up_is_no_part_of_a_prompt() -> None:
    read = encoded({"input_ids": [[0, 0, 5, 6]], "attention_mask": [[0, 0, 1, 1]], "token_type_ids": [[0, 0, 0, 0]]})

    assert (read.ids, read.inputs) == ([5, 6], {})


def test_several_prompts_in_place_of_one_are_refused() -> None:
    with pytest.raises(BadRequest, match="2 came back"):
        ids_of([[1], [2]])


@pytest.mark.parametrize(
    "info, words",
    [
        ({"model": object()}, "model_info: model_name is missing"),
        ({"model_name": "a", "model": None}, "model_info: model is missing"),
        ({"model_name": "a", "model": 1, "tokenizer": 1, "enocde": print}, "'enocde'; did you mean 'encode'"),
        ({"model_name": "a", "model": 1, "tokenizer": 1, "encode": "text"}, "encode must be a function, not str"),
        ({"model_name": "a", "model": 1, "tokenizer": 1, "decode_kwargs": 3}, "decode_kwargs must be an object"),
        ({"model_name": "./nowhere", "model": 1}, "has neither tokenizer nor processor, and './nowhere' names none"),
    ],
)
def test_a_mistake_in_hooks_is_named(info: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ModelParts.of(info)

    assert words in str(caught.value)


def test_every_name_of_a_hook_has_a_part() -> None:
    assert {part.name for part in fields(ModelParts)} == HOOKS


def test_hooks_come_as_an_object_too() -> None:
    class Info:
        model_name = "mine"
        model = object()
        tokenizer = tiny.tokenizer()

        def encode(self, text: str) -> list[int]:
            return [len(text)]

    parts = ModelParts.of(Info())

    assert parts.encode is not None
    assert parts.encode("abc") == [3]


def test_the_librarys_own_functions_are_no_hooks() -> None:
    tokenizer = tiny.tokenizer()
    given = {"encode": tokenizer, "decode": tokenizer.decode, "apply_chat_template": tokenizer.apply_chat_template}

    parts = ModelParts.of({"model_name": "mine", "model": object(), "tokenizer": tokenizer, **given})

    assert (parts.encode, parts.decode, parts.apply_chat_template) == (None, None, None)


def test_a_tokenizer_under_the_name_of_a_processor_is_one() -> None:
    tokenizer = tiny.tokenizer()

    parts = ModelParts.of({"model_name": "mine", "model": object(), "processor": tokenizer})

    assert (parts.processor, parts.tokenizer) == (None, tokenizer)
    assert not parts.sees


def test_who_brings_every_hook_needs_no_tokenizer() -> None:
    hooks = {"encode": list, "decode": str, "apply_chat_template": str}

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parts = ModelParts.of({"model_name": "nowhere", "model": object(), **hooks})

    assert parts.tokenizer is None


def test_a_template_that_is_no_jinja_is_a_mistake_in_the_config() -> None:
    with pytest.raises(ConfigError, match="chat_template: is no Jinja: line 2: "):
        prompts("{{ messages }}\n{% if %}").write(HELLO)


@pytest.mark.parametrize("role", ["user", "system", "tool"])
def test_a_message_without_a_content_is_refused(role: str) -> None:
    with pytest.raises(BadRequest, match=r"messages\[0\]\.content: is missing"):
        prompts().write([{"role": role, "content": None}])


def test_half_a_character_in_arguments_goes_back_as_the_model_wrote_it() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"city": "\\ud83d"}'}}
    made = prompts(ARGUMENTS_AS_TEXT)

    prompt = made.write([*HELLO, {"role": "assistant", "content": "", "tool_calls": [call]}])

    assert prompt.text.endswith('look{"city": "\\ud83d"}')
    assert made.encode(prompt).ids


def test_a_tool_that_is_no_unicode_is_refused() -> None:
    broken = {**LOOK, "function": {**LOOK["function"], "description": "\ud83d"}}

    with pytest.raises(BadRequest, match="tools: holds half of a surrogate pair"):
        prompts(WITH_TOOLS).write(HELLO, [broken])


def test_a_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"messages\[0\]\.content\[0\]: holds half of a surrogate pair"):
        prompts().write([{"role": "user", "content": "\ud800"}])


def test_arguments_of_the_encoder_go_over_those_that_are_chosen_here() -> None:
    made = prompts(encode_kwargs={"add_special_tokens": False, "truncation": True, "max_length": 3})

    assert len(made.encode(made.write(HELLO)).ids) == 3
