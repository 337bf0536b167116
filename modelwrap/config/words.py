"""What pydantic finds wrong, in the words of somebody who writes JSON; values are never repeated."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from modelwrap.config.fields import CallArgs, ClientArgs, ModelConfig
from modelwrap.jsonc import Path
from modelwrap.suggestions import nearest

# Parameters of calls, which people write beside `generate_args` instead of in it.
_PARAMETERS = """
audio extra_body extra_headers extra_query frequency_penalty function_call functions logit_bias logprobs
max_completion_tokens max_new_tokens max_tokens metadata modalities n parallel_tool_calls prediction
presence_penalty prompt_cache_key reasoning_effort response_format safety_identifier seed service_tier size stop
store stream_options temperature tool_choice tools top_k top_logprobs top_p user verbosity web_search_options
"""
PARAMETERS = frozenset(_PARAMETERS.split())

_WORDS = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be an object {{ … }}",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "list_type": "must be a list [ … ]",
    "literal_error": "must be {expected}",
    "missing": "is missing",
    "model_type": "must be an object {{ … }}",
    "string_too_short": "must not be empty",
    "string_type": "must be a string",
    "value_error": "{error}",
}
_KINDS = {str: "a string", bool: "true or false", int: "a number", float: "a number", dict: "an object", list: "a list"}


def mistake_in_words(details: ErrorDetails, data: Any) -> str:
    """Word an error of validation; of the wrong value only its kind is told."""
    template = _WORDS.get(details["type"])
    if template is None:
        return details["msg"]
    message = template.format(**details.get("ctx", {}))
    kind = _KINDS.get(type(_value_at(data, details["loc"])), "")
    wrong_kind = details["type"].endswith(("_type", "_parsing"))
    return f"{message}, not {kind}" if wrong_kind and kind and kind not in message else message


def unknown_key(path: Path, config_class: type[ModelConfig]) -> str:
    name = str(path[-1])
    part = part_at(CallArgs, path[1:-1]) if path[0] == "generate_args" else part_at(config_class, path[:-1])
    known = list(part.model_fields) if part else []
    if len(path) == 1 and name in ClientArgs.model_fields:
        return "belongs in client_args"
    if len(path) == 1 and name in PARAMETERS:
        return "belongs in generate_args"
    if path[:-1] == ("client_args",) and name in config_class.model_fields:
        return "belongs at the top level, beside client_args"
    if path[:-1] == ("client_args",) and name in PARAMETERS:
        return "belongs in generate_args"
    if meant := nearest(name, known):
        return f'unknown key; did you mean "{meant}"?'
    return f"unknown key; known are {', '.join(known)}"


def hint_for_missing(path: Path) -> str:
    return ", the name that get_model takes" if path == ("config_name",) else ""


def part_at(part: type[BaseModel] | None, path: Path) -> type[BaseModel] | None:
    """Find the class of the object that stands at a path."""
    for key in path:
        field_info = part.model_fields.get(str(key)) if part else None
        part = _part_in(field_info.annotation) if field_info else None
    return part


def _part_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((part for argument in get_args(annotation) if (part := _part_in(argument))), None)


def _value_at(value: Any, path: Path) -> Any:
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return None
    return value
