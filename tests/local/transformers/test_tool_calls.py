"""Calls of tools in the forms that models write them, whole and in pieces, and what is asked for when one is forced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelwrap.local.transformers.answers import (
    AnswerReader,
    ForcedReader,
    PlainReader,
    Said,
    TemplateReader,
    reader_of,
)
from modelwrap.local.transformers.tool_calls import forced_schema, form_of, tools_of
from modelwrap.wire.json_schema import mistake

CASES = Path(__file__).parent / "calls"
TOOLS = json.loads((CASES / "tools.json").read_text("utf-8"))
NAMES = sorted(path.stem for path in CASES.glob("*.json") if path.stem != "tools")


def read(reader: AnswerReader, pieces: list[str]) -> Said:
    said = Said()
    for piece in pieces:
        said += reader.feed(piece)
    return said + reader.finish()


def read_case(name: str) -> dict[str, Any]:
    case: dict[str, Any] = json.loads((CASES / f"{name}.json").read_text("utf-8"))
    return case


def check(said: Said, case: dict[str, Any]) -> None:
    assert [[call.name, json.loads(call.arguments)] for call in said.calls] == case["calls"]
    assert (said.content, said.reasoning) == (case["content"], case["reasoning"])


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_is_read_whole(name: str) -> None:
    case = read_case(name)

    said = read(reader_of(case["template"], TOOLS), [case["text"]])

    check(said, case)


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_is_read_letter_by_letter(name: str) -> None:
    case = read_case(name)

    said = read(reader_of(case["template"], TOOLS), list(case["text"]))

    check(said, case)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(("tags", "mistral", "any"))])
def test_no_mark_of_a_call_is_told_before_it_is_known_to_be_none(name: str) -> None:
    case = read_case(name)
    reader = reader_of(case["template"], TOOLS)

    told = "".join(reader.feed(letter).content for letter in case["text"])

    assert case["content"].startswith(told)


@settings(max_examples=300, deadline=None)
@given(
    template=st.sampled_from(["<tool_call>", "[TOOL_CALLS]", "<|python_tag|>", "<|channel|>", "tools", "<arg_key>"]),
    pieces=st.lists(
        st.sampled_from(
            ["<tool_call>", "</tool_call>", "[TOOL_CALLS]", "{", "}", "[", '"name"', ":", '"stop"', " ", "\n", "text"]
        ),
        max_size=12,
    ),
)
def test_text_that_calls_nothing_comes_out_as_it_went_in(template: str, pieces: list[str]) -> None:
    said = read(reader_of(template, TOOLS), pieces)

    assert said.calls or said.content == "".join(pieces)


@pytest.mark.parametrize(
    "template, text",
    [
        ("<tool_call>", "<tool_call>" * 4000),
        ("<tool_call>", "<tool_call>" + " " * 50_000),
        ("<function=", "<tool_call><function=a" + "<parameter=x>" * 4000),
        ("<arg_key>", "<tool_call>get_weather" + "<arg_key>k</arg_key>" * 4000 + "<"),
        ("[TOOL_CALLS]", "[TOOL_CALLS]a{" * 4000),
        ("<｜tool▁call▁begin｜>", "<｜tool▁call▁begin｜>a\n```json\n" * 4000),
        ("<|tool_call_begin|>", "<|tool_call_begin|>a" * 4000),
        ("<|tool_call>", "<|tool_call>call:a{" * 4000),
        ("<|python_tag|>", "<|python_tag|>" + "f(" * 20_000),
        ("<|python_tag|>", '{"a":' * 20_000),
        ("<|channel|>", "<|" * 20_000),
    ],
)
def test_a_model_that_repeats_itself_is_read_at_once(template: str, text: str) -> None:
    said = read(reader_of(template, TOOLS), [text[place : place + 4] for place in range(0, len(text), 4)])

    assert said.calls or said.content == text


def test_each_call_has_an_id_that_every_template_takes() -> None:
    case = read_case("tags_several")

    said = read(reader_of(case["template"], TOOLS), [case["text"]])

    ids = [call.id for call in said.calls]
    assert len(set(ids)) == 2
    assert all(len(made) == 9 and made.isalnum() for made in ids)


@pytest.mark.parametrize(
    "template, text",
    [
        ("<tool_call>", '<tool_call>{"name": "stop", "arguments": {"why": "\\ud83d"}}</tool_call>'),
        ("[func_name1(", '[stop(why="\\ud83d")]'),
    ],
)
def test_half_a_character_in_arguments_stays_what_can_be_sent(template: str, text: str) -> None:
    said = read(reader_of(template, TOOLS), [text])

    (call,) = said.calls
    assert call.arguments.encode() == b'{"why": "\\ud83d"}'


def test_a_name_that_is_no_unicode_calls_nothing() -> None:
    text = '<tool_call>{"name": "\\ud83d"}</tool_call>'

    assert read(reader_of("<tool_call>", TOOLS), [text]) == Said(text)


@pytest.mark.parametrize(
    "begin, end",
    [("[THINK]", "[/THINK]"), ("<seed:think>", "</seed:think>"), ("<|START_THINKING|>", "<|END_THINKING|>")],
)
def test_a_thought_in_marks_of_its_own_is_told_apart(begin: str, end: str) -> None:
    text = f"\n{begin}Hm, so{end}\nYes. {end}"

    for pieces in ([text], list(text)):
        reader = reader_of(f"{begin}{end}", {})
        assert {begin, end} <= set(reader.marks)
        assert read(reader, pieces) == Said(f"\nYes. {end}", "Hm, so")


def test_a_thought_is_told_while_it_comes() -> None:
    reader = reader_of("<tool_call>", TOOLS, "<think>")

    told = [reader.feed(text) for text in ("Hm", ", so", "</thi", "nk>", "Well", " <tool", "_call", "s>!")]

    assert told == [*map(Said, ("<think>Hm", ", so", "", "</think>", "Well", "", "", " <tool_calls>!"))]


def test_without_tools_marks_are_text() -> None:
    text = read_case("tags")["text"]

    said = read(reader_of("<tool_call>", {}), [text])

    assert said == Said(text)


def test_what_the_prompt_began_is_told_with_the_first_piece() -> None:
    reader = PlainReader("<think>")

    assert [reader.feed("so"), reader.feed("!")] == [Said("<think>so"), Said("!")]


def test_a_forced_call_is_asked_for_by_the_schemas_of_all_tools() -> None:
    place = {"$ref": "#/$defs/Place"}
    defined = {"properties": {"to": place}, "required": ["to"], "$defs": {"Place": {"type": "string"}}}
    other = {"properties": {"to": place}, "required": ["to"], "$defs": {"Place": {"type": "integer"}}}
    form = form_of("<tool_call>")

    schema = forced_schema(form, {"go": {"type": "object", **defined}, "count": {"type": "object", **other}})

    assert form.opening == "<tool_call>\n"
    assert mistake({"name": "go", "arguments": {"to": "Rome"}}, schema) is None
    assert mistake({"name": "count", "arguments": {"to": 3}}, schema) is None
    assert mistake({"name": "count", "arguments": {"to": "Rome"}}, schema)
    assert mistake({"name": "stay", "arguments": {}}, schema)


@pytest.mark.parametrize(
    "template, opening",
    [
        ("[TOOL_CALLS]", "[TOOL_CALLS] ["),
        ("[TOOL_CALLS] [ARGS]", "[TOOL_CALLS]{}[ARGS]"),
        ("<｜tool▁call▁begin｜>", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{}<｜tool▁sep｜>"),
        (
            "<｜tool▁call▁begin｜> ```json",
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>{}\n```json\n",
        ),
        ("<tool_call> <function=", None),
        ("<tool_call> <arg_key>", None),
        ("anything", ""),
    ],
)
def test_what_begins_a_call_is_told_by_the_template(template: str, opening: str | None) -> None:
    assert form_of(template).opening == opening


def test_a_form_that_names_the_tool_first_asks_for_its_arguments() -> None:
    form = form_of("[TOOL_CALLS] … [ARGS]")

    schema = forced_schema(form, {"get_weather": TOOLS["get_weather"]})

    assert form.names_first
    assert schema == {**TOOLS["get_weather"], "additionalProperties": False}


@pytest.mark.parametrize(
    "name, text, calls, content",
    [
        (None, '{"name": "stop", "arguments": {}}', [("stop", "{}")], ""),
        (None, '{"name": "stop", "parameters": {"a": 1}}', [("stop", '{"a": 1}')], ""),
        ("stop", '{"a": "é"}', [("stop", '{"a": "é"}')], ""),
        (None, '{"name": "stop", "argu', [], '{"name": "stop", "argu'),
        ("stop", '{"a": ', [], '{"a": '),
    ],
)
def test_a_forced_call_is_read(name: str | None, text: str, calls: list[tuple[str, str]], content: str) -> None:
    said = read(ForcedReader(name), [text[:5], text[5:]])

    assert [(call.name, call.arguments) for call in said.calls] == calls
    assert said.content == content


def test_tools_without_parameters_take_an_object() -> None:
    tools = [{"type": "function", "function": {"name": "stop"}}]

    assert tools_of(tools) == {"stop": {"type": "object"}}


DESCRIPTION = {
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "thinking": {"open": "<think>", "close": "</think>", "content": "text"},
        "tool_calls": {
            "open": "<call>",
            "close": "</call>",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"content": "text"},
    },
}


def described(prompt: str) -> AnswerReader:
    pytest.importorskip("transformers")
    from tests.local.transformers.tokenizers_of_kinds import byte_level

    tokenizer = byte_level()
    return TemplateReader(tokenizer.get_response_parser(DESCRIPTION, prefix=prompt, tools=None))


@pytest.mark.parametrize("letters", [False, True])
def test_an_answer_is_read_by_the_models_own_description(letters: bool) -> None:
    text = '<think>They ask.</think>Look. <call>{"name": "stop", "arguments": {"a": 1}}</call>'

    said = read(described("<|im_start|>assistant\n"), list(text) if letters else [text])

    assert [(call.name, call.arguments) for call in said.calls] == [("stop", '{"a": 1}')]
    assert (said.content.strip(), said.reasoning) == ("Look.", "They ask.")


def test_what_the_prompt_began_counts_for_the_models_own_description() -> None:
    said = read(described("<|im_start|>assistant\n<think>"), ["They ask.</think>", "Four."])

    assert (said.content, said.reasoning) == ("Four.", "They ask.")


@pytest.mark.parametrize("text", ['A <call>{"name": </call> B', 'A <call>{"name": "st', "A <call>[1]</call> B"])
def test_a_broken_call_of_a_described_form_is_text(text: str) -> None:
    said = read(described("<|im_start|>assistant\n"), [text])

    assert not said.calls
    assert said.content.startswith("A ")
    assert '{"name": ' in said.content or "[1]" in said.content
