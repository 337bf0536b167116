"""The forms in which families of models write calls of tools, told by their chat templates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from modelwrap.local.transformers.call_texts import (
    Reader,
    Schema,
    Tools,
    between,
    read_any,
    read_deepseek,
    read_gemma,
    read_kimi,
    read_mistral,
    read_tagged,
)
from modelwrap.types import JSON


@dataclass(frozen=True, slots=True)
class Form:
    """Say how a family of models writes its calls."""

    markers: tuple[str, ...]
    """Texts with which calls begin, wherever they stand."""
    read: Reader
    leading: tuple[str, ...] = ()
    """Texts with which an answer begins that may be calls and nothing else."""
    tokens: tuple[str, ...] = ()
    """Further marks inside of calls, which may be special tokens as markers may."""
    opening: str | None = None
    """What stands before the JSON of a call, with `{}` for the name where that is not in it; None where there is no
    JSON, so that no call can be forced."""
    arguments: str = "arguments"
    """What that JSON calls the arguments."""

    @property
    def marks(self) -> tuple[str, ...]:
        return (*self.markers, *self.tokens)

    @property
    def names_first(self) -> bool:
        """Whether the name of a tool stands before the JSON, which is its arguments."""
        return self.opening is not None and "{}" in self.opening


_TAGS = Form(("<tool_call>",), read_tagged, tokens=("</tool_call>",), opening="<tool_call>\n")
_XML = Form(("<tool_call>", "<function="), read_tagged, tokens=("</tool_call>", "</function>"))
_PAIRS = Form(
    ("<tool_call>",), read_tagged, tokens=("</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")
)
_MISTRAL = Form(("[TOOL_CALLS]",), read_mistral, tokens=("[ARGS]", "[CALL_ID]"), opening="[TOOL_CALLS] [")
_MISTRAL_NAMED = replace(_MISTRAL, opening="[TOOL_CALLS]{}[ARGS]")
_DEEPSEEK = Form(
    ("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>"),
    read_deepseek,
    tokens=("<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"),
    opening="<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{}<｜tool▁sep｜>",
)
_DEEPSEEK_FENCED = replace(
    _DEEPSEEK, opening="<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>{}\n```json\n"
)
_KIMI = Form(
    ("<|tool_calls_section_begin|>", "<|tool_call_begin|>"),
    read_kimi,
    tokens=("<|tool_call_argument_begin|>", "<|tool_call_end|>", "<|tool_calls_section_end|>"),
    opening="<|tool_calls_section_begin|><|tool_call_begin|>functions.{}:0<|tool_call_argument_begin|>",
)
_MINIMAX = Form(("<minimax:tool_call>",), read_tagged, tokens=("</minimax:tool_call>",))
_GEMMA = Form(("<|tool_call>",), read_gemma, tokens=('<|"|>', "<tool_call|>"))
_LLAMA = Form(("<|python_tag|>",), between("<|python_tag|>"), leading=("{", "["), opening="", arguments="parameters")
_FUNCTOOLS = Form(("functools[",), between("functools"), opening="functools[")
_BARRED = Form(
    ("<|tool_call|>",), between("<|tool_call|>", "<|/tool_call|>"), tokens=("<|/tool_call|>",), opening="<|tool_call|>["
)
_PYTHON = Form(
    ("<|python_start|>", "```tool_code"),
    between("<|python_start|>", "<|python_end|>", "```tool_code", "```"),
    leading=("[",),
    tokens=("<|python_end|>",),
)
# What most models fall into that were told of tools and of no form.
_ANY = Form(("<tool_call>",), read_any, leading=("{", "["), opening="")

# Read by a reader of its own: what is no call stands in channels as well.
HARMONY = Form(
    (),
    read_any,
    tokens=("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>"),
    opening="<|channel|>commentary to=functions.{} <|constrain|>json<|message|>",
)

# The first of which all marks stand in a template is its form.
_BY_MARK = (
    (("<|channel|>",), HARMONY),
    (("[ARGS]",), _MISTRAL_NAMED),
    (("[TOOL_CALLS]",), _MISTRAL),
    (("<｜tool▁call▁begin｜>", "```json"), _DEEPSEEK_FENCED),
    (("<｜tool▁call▁begin｜>",), _DEEPSEEK),
    (("<|tool_call_begin|>",), _KIMI),
    (("<minimax:tool_call>",), _MINIMAX),
    (("<|tool_call>",), _GEMMA),
    (("<arg_key>",), _PAIRS),
    (("<function=",), _XML),
    (("<tool_call>",), _TAGS),
    (("functools",), _FUNCTOOLS),
    (("<|tool_call|>",), _BARRED),
    (("<|python_start|>",), _PYTHON),
    (("```tool_code",), _PYTHON),
    (("[func_name1(",), _PYTHON),
    (("<|python_tag|>",), _LLAMA),
    (('"parameters": dictionary',), _LLAMA),
)


def tools_of(tools: Iterable[Mapping[str, Any]]) -> dict[str, Schema]:
    """Give the schema of each tool's arguments."""
    functions = [tool["function"] for tool in tools]
    return {function["name"]: function.get("parameters") or {"type": "object"} for function in functions}


def form_of(template: str) -> Form:
    """Tell from a chat template how its model writes calls."""
    return next((form for marks, form in _BY_MARK if all(mark in template for mark in marks)), _ANY)


def forced_schema(form: Form, tools: Tools) -> Schema:
    """Give the schema of what stands behind a form's opening: one call of any of these tools.

    A form that names the tool first takes one tool, and the schema is that of its arguments.
    """
    if form.names_first:
        (schema,) = tools.values()
        return _closed(schema)
    definitions: Schema = {}
    calls = []
    for number, (name, parameters) in enumerate(tools.items()):
        own = {key: value for key, value in parameters.items() if key not in _DEFINITIONS}
        for key in _DEFINITIONS:
            for inner, schema in (parameters.get(key) or {}).items():
                definitions[f"{number}.{inner}"] = _moved(schema, number)
        properties = {"name": {"const": name}, form.arguments: _moved(_closed(own), number)}
        required = ["name", form.arguments]
        calls.append({"type": "object", "properties": properties, "required": required, "additionalProperties": False})
    schema = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return {**schema, "$defs": definitions} if definitions else schema


def _closed(schema: Schema) -> Schema:
    """Let a tool be called with the arguments that it names, unless it says that it takes others."""
    return {"additionalProperties": False, **schema} if "properties" in schema else schema


_DEFINITIONS = ("$defs", "definitions")


def _moved(schema: JSON, number: int) -> JSON:
    """Make the references of a tool's schema lead to where its definitions stand beside those of other tools."""
    if isinstance(schema, list):
        return [_moved(item, number) for item in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {key: _moved(value, number) for key, value in schema.items()}
    reference = moved.get("$ref")
    if isinstance(reference, str):
        moved["$ref"] = re.sub(r"^#/(\$defs|definitions)/", f"#/$defs/{number}.", reference)
    return moved
