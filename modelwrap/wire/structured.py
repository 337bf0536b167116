"""Structured answers: pydantic classes as the JSON schemas of OpenAI's strict mode, and answers held to them."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeAlias

from pydantic import BaseModel, PydanticUserError

from modelwrap.errors import BadRequest, InvalidResponse
from modelwrap.types import Change, ChatReply
from modelwrap.wire import body as bodies
from modelwrap.wire.json_schema import mistake

Schema: TypeAlias = dict[str, Any]

# https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
_STRICT_FORMATS = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"),
)
_TOLD_IN_WORDS = (
    *("minLength", "maxLength", "uniqueItems", "minProperties", "maxProperties", "contains", "minContains"),
    *("maxContains", "propertyNames", "contentEncoding", "contentMediaType"),
)
_MEANINGLESS = ("default", "examples", "example", "discriminator", "deprecated", "readOnly", "writeOnly")
_NEVER_STRICT = ("prefixItems", "patternProperties", "not", "if", "then", "else", "dependentRequired", "allOf")
_TYPED_BY = ("type", "$ref", "anyOf", "enum", "const")


def response_format_of(
    value: Any, changes: list[Change] | None = None, *, strict: bool = True
) -> tuple[dict[str, Any], type[BaseModel] | None]:
    """Give the wire's `response_format` for a dict or a pydantic class, and the class to parse the answer with.

    A class whose schema strict mode cannot hold (free-form dicts, tuples, Any) goes out with `strict: false`, which is
    reported in `changes`; the answer is validated by the class either way. Without `strict` it is the class's own.
    """
    if isinstance(value, Mapping):
        return value if isinstance(value, dict) else dict(value), None
    if not (isinstance(value, type) and issubclass(value, BaseModel)) or value is BaseModel:
        raise BadRequest(
            f"response_format: give a dict or a pydantic class, not {type(value).__name__}",
            sent=False,
        )
    schema, loose = _schema_of(value) if strict else (_opened(_plain_schema(value)), "")
    if loose and changes is not None:
        changes.append(Change("converted", "response_format", f"not strict, because strict mode has no {loose}"))
    name = re.sub(r"[^a-zA-Z0-9_-]+", "_", value.__name__).strip("_")[:64] or "answer"
    wire = {"name": name, "schema": copy.deepcopy(schema), "strict": strict and not loose}
    return {"type": "json_schema", "json_schema": wire}, value


def wanted_schema(response_format: Any) -> Schema | None:
    """Give the schema that an answer is asked to keep to; None where it is not asked to keep to one."""
    if not isinstance(response_format, Mapping) or response_format.get("type") != "json_schema":
        return None
    asked = response_format.get("json_schema")
    schema = asked.get("schema") if isinstance(asked, Mapping) else None
    return dict(schema) if isinstance(schema, Mapping) else {}


def strict_schema(schema: Schema) -> tuple[Schema, str]:
    """Rewrite a JSON schema for strict mode; the word says what in it strict mode cannot hold, if anything."""
    writer = _StrictWriter(schema)
    return writer.root(), writer.loose


@lru_cache(maxsize=256)
def _schema_of(kind: type[BaseModel]) -> tuple[Schema, str]:
    plain = _opened(_plain_schema(kind))
    strict, loose = strict_schema(plain)
    if strict.get("type") != "object":
        raise BadRequest(
            f"response_format: the top of {kind.__name__} is no object; put it into a field of a class", sent=False
        )
    return (plain, loose) if loose else (strict, "")


def _plain_schema(kind: type[BaseModel]) -> Schema:
    try:
        return kind.model_json_schema()
    except PydanticUserError as error:
        raise BadRequest(f"response_format: {kind.__name__} has no JSON schema: {error.message}", sent=False) from error


def _opened(schema: Schema) -> Schema:
    """Put the object itself at the top, where a class that refers to itself has a `$ref`."""
    if "$ref" not in schema:
        return schema
    definitions = schema["$defs"]
    return {**definitions[_name_in(schema["$ref"])], "$defs": definitions}


def _name_in(reference: str) -> str:
    return reference.removeprefix("#/$defs/")


class _StrictWriter:
    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._definitions: Schema = schema.get("$defs") or {}
        self.loose = ""

    def root(self) -> Schema:
        written = self._write({key: value for key, value in self._schema.items() if key != "$defs"}, ())
        if self._definitions:
            written["$defs"] = {name: self._write(item, ()) for name, item in self._definitions.items()}
        return written

    def _write(self, schema: Any, inlined: tuple[str, ...]) -> Schema:
        if not isinstance(schema, dict):
            self._cannot("schemas that are no object")
            return {}
        if "$ref" in schema and len(schema) > 1:
            return self._inline(schema, inlined)
        written = {key: value for key, value in schema.items() if key not in _MEANINGLESS}
        self._flatten_unions(written)
        for keyword in _NEVER_STRICT:
            if keyword in written:
                self._cannot(keyword)
        self._say_in_words(written)
        if not any(key in written for key in _TYPED_BY):
            self._cannot("values of any type")
        if "anyOf" in written:
            written["anyOf"] = [self._write(item, inlined) for item in written["anyOf"]]
        if "items" in written:
            written["items"] = self._write(written["items"], inlined)
        elif written.get("type") == "array":
            self._cannot("lists of anything")
        if written.get("type") == "object":
            self._close(written, inlined)
        return written

    def _close(self, written: Schema, inlined: tuple[str, ...]) -> None:
        properties = written.get("properties", {})
        more = written.get("additionalProperties", "properties" not in written)
        # A class that allows extra keys can be asked for without them; a dict without keys cannot.
        if isinstance(more, dict) or (more and not properties):
            self._cannot("free-form dicts")
        written["properties"] = {name: self._write(item, inlined) for name, item in properties.items()}
        written["required"] = list(written["properties"])
        written["additionalProperties"] = False

    def _inline(self, schema: Schema, inlined: tuple[str, ...]) -> Schema:
        # Nothing may stand beside a `$ref`; where the definitions go round in circles, what stood there is let go.
        reference = schema["$ref"]
        if reference in inlined:
            return {"$ref": reference}
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return self._write({**self._target(reference), **beside}, (*inlined, reference))

    def _target(self, reference: str) -> Schema:
        target: Schema = self._definitions[_name_in(reference)]
        return target

    def _flatten_unions(self, written: Schema) -> None:
        if "oneOf" in written and "anyOf" not in written:
            written["anyOf"] = written.pop("oneOf")
        if len(written.get("allOf", ())) == 1:
            only = written.pop("allOf")[0]
            written.update({**(self._target(only["$ref"]) if "$ref" in only else only), **written})

    def _say_in_words(self, written: Schema) -> None:
        told = [f"{keyword} {written.pop(keyword)}" for keyword in _TOLD_IN_WORDS if keyword in written]
        if written.get("format") not in (None, *_STRICT_FORMATS):
            told.append(f"format {written.pop('format')}")
        if re.search(r"\(\?[=!<]", written.get("pattern", "")):
            told.append(f"pattern {written.pop('pattern')}")
        if told:
            said = written.get("description")
            written["description"] = f"{said} ({', '.join(told)})" if said else ", ".join(told)

    def _cannot(self, what: str) -> None:
        self.loose = self.loose or what


# Answers.


def check_answer(reply: ChatReply, response_format: Any) -> None:
    """Hold a finished answer to what was asked; `InvalidResponse` carries the reply and says where it does not fit.

    One that was cut, refused or that calls a tool was not to be finished, and is not judged.
    """
    schema = wanted_schema(response_format)
    kind = response_format.get("type") if isinstance(response_format, Mapping) else None
    if (schema is None and kind != "json_object") or not reply.choices or reply.choices[0].finish_reason != "stop":
        return
    try:
        value = bodies.loads(reply.text.encode("utf-8", "surrogatepass"))
    except InvalidResponse as error:
        raise InvalidResponse(f"the answer is not what was asked for: {error.message}", partial=reply) from None
    wrong = mistake(value, {"type": "object"} if schema is None else schema)
    if wrong is not None:
        raise InvalidResponse(f"the answer does not keep to the schema: {wrong}", body=reply.text, partial=reply)
