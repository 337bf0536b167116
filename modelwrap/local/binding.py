"""What binds an answer of llama.cpp: schemas said as grammars, and a look afterwards at what it passed over."""

from __future__ import annotations

import json
from typing import Any

from modelwrap.errors import InvalidResponse
from modelwrap.types import JSON, ChatChunk


def bound_by_grammar(body: dict[str, Any]) -> dict[str, Any]:
    """Say as a grammar what a schema asks for."""
    import xllamacpp

    schema = _schema_of(body)
    if schema is None:
        return body
    rest = {name: value for name, value in body.items() if name not in ("response_format", "json_schema")}
    return {**rest, "grammar": xllamacpp.json_schema_to_grammar(schema)}


class Witness:
    """Watch an answer, and say at its end whether it is what the request bound it to be.

    llama.cpp goes on without a schema that it cannot read, and does not force a tool on a model.
    """

    def __init__(self, body: dict[str, Any]) -> None:
        self._wants_json = _schema_of(body) is not None
        self._wanted_tool = _forced_tool(body.get("tool_choice"))
        self._said: list[str] = []
        self._called: set[str] = set()
        self._cut = False

    def see(self, chunk: ChatChunk) -> None:
        for choice in chunk.choices:
            self._said.append(choice.delta.content or "")
            for call in choice.delta.tool_calls or ():
                if call.function and call.function.name:
                    self._called.add(call.function.name)
            self._cut = self._cut or choice.finish_reason == "length"

    def check(self) -> None:
        wanted = self._wanted_tool
        if wanted is not None and not (wanted in self._called or (wanted == "" and self._called)):
            raise InvalidResponse(f"tool_choice asked for a call of {wanted or 'a tool'}, and the model made none")
        if self._wants_json and not (self._cut or _is_json("".join(self._said))):
            raise InvalidResponse("the answer does not keep to the schema: is it one that llama.cpp can read?")


def _schema_of(body: dict[str, Any]) -> JSON:
    asked = body.get("response_format")
    if isinstance(asked, dict) and asked.get("type") == "json_schema":
        return asked.get("json_schema", {}).get("schema", {})
    if isinstance(asked, dict) and asked.get("type") == "json_object":
        return asked.get("schema") or {"type": "object"}
    return body.get("json_schema")


def _forced_tool(choice: JSON) -> str | None:
    """Give the name of the tool that must be called; empty for any, None where none must."""
    if choice == "required":
        return ""
    return choice.get("function", {}).get("name", "") if isinstance(choice, dict) else None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
