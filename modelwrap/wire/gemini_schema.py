"""JSON schemas as Gemini's structured answers take them; what they do not take is said in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# https://ai.google.dev/api/generate-content#generationconfig, under responseJsonSchema
_TAKEN = frozenset(
    {
        *("$id", "$anchor", "type", "format", "title", "description", "enum", "minItems", "maxItems"),
        *("minimum", "maximum", "required", "propertyOrdering"),
    }
)
_INNER = frozenset({"items", "additionalProperties"})
_INNER_LISTS = frozenset({"anyOf", "oneOf", "prefixItems"})
_INNER_NAMED = frozenset({"properties", "$defs"})
# What asks for nothing goes along: Gemini looks past it.
_NOTES = frozenset({"$schema", "$comment", "default", "examples", "deprecated", "readOnly", "writeOnly"})


class GeminiSchema:
    """Hold a schema as Gemini takes it, and what became of the rest."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._told: set[str] = set()
        self.written: dict[str, Any] = self._write(schema)

    @property
    def told(self) -> str:
        """Name the constraints that are only said in descriptions now."""
        return ", ".join(sorted(self._told))

    def _write(self, schema: Any) -> Any:
        if not isinstance(schema, Mapping):
            return schema
        schema = self._modern(schema)
        if "$ref" in schema:
            # Nothing may stand beside a reference but what begins with a dollar sign.
            self._told |= schema.keys() - {"$ref", "$defs", "title", "description", *_NOTES}
            return {name: self._inner(name, schema[name]) for name in ("$defs", "$ref") if name in schema}
        written = {name: self._inner(name, value) for name, value in schema.items() if self._takes(name, value)}
        left = {name: value for name, value in schema.items() if name not in written}
        if left:
            self._told |= left.keys()
            words = ", ".join(f"{name} {value}" for name, value in left.items())
            said = written.get("description")
            written["description"] = f"{said} ({words})" if said else words
        return written

    def _modern(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Write what has another name, or can be said in other words that mean the same."""
        modern = dict(schema)
        if "definitions" in modern:
            modern["$defs"] = {**modern.pop("definitions"), **modern.get("$defs", {})}
        if isinstance(reference := modern.get("$ref"), str):
            modern["$ref"] = reference.replace("#/definitions/", "#/$defs/", 1)
        if isinstance(modern.get("const"), (str, int, float)) and "enum" not in modern:
            modern["enum"] = [modern.pop("const")]
        every = modern.get("allOf")
        if isinstance(every, list) and len(every) == 1 and isinstance(every[0], Mapping) and "$ref" not in modern:
            modern = {**{name: value for name, value in modern.items() if name != "allOf"}, **every[0]}
        return modern

    def _takes(self, name: str, value: Any) -> bool:
        if name == "enum":
            # https://ai.google.dev/api/generate-content: for strings and numbers.
            return isinstance(value, list) and all(
                isinstance(item, (str, int, float)) and not isinstance(item, bool) for item in value
            )
        return name in _TAKEN or name in _NOTES or name in _INNER or name in _INNER_LISTS or name in _INNER_NAMED

    def _inner(self, name: str, value: Any) -> Any:
        if name in _INNER:
            return self._write(value)
        if name in _INNER_LISTS and isinstance(value, list):
            return [self._write(item) for item in value]
        if name in _INNER_NAMED and isinstance(value, Mapping):
            return {key: self._write(item) for key, item in value.items()}
        return value
