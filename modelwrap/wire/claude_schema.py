"""JSON schemas as Claude's structured outputs and strict tools take them; what they do not take is said in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"},
)
_ALWAYS = ("type", "enum", "const", "anyOf", "allOf", "title", "description")
_BY_TYPE = {
    "object": ("properties", "required"),
    "array": ("items", "minItems"),
    "string": ("format",),
}
_DEFINITIONS = ("$defs", "definitions")
_MEANINGLESS = ("$schema", "$id", "$comment", "examples", "deprecated", "readOnly", "writeOnly")


class ClaudeSchema:
    """Hold a schema as Claude takes it, and what became of the rest."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._told: set[str] = set()
        self.loose = ""
        """What it allows that Claude's way of saying it would forbid; empty where there is nothing of the kind."""
        self.written: dict[str, Any] = self._write(schema)
        if _is_circular(schema):
            self.loose = "values nested without an end"

    @property
    def told(self) -> str:
        """Name the constraints that are only said in descriptions now."""
        return ", ".join(sorted(self._told))

    def _write(self, schema: Any) -> Any:
        if not isinstance(schema, Mapping):
            return schema
        rest = {name: value for name, value in schema.items() if name not in _MEANINGLESS}
        written: dict[str, Any] = {}
        for name in _DEFINITIONS:
            if isinstance(rest.get(name), Mapping):
                written[name] = {key: self._write(item) for key, item in rest.pop(name).items()}
        if "$ref" in rest:
            # Nothing may stand beside a reference.
            written["$ref"] = rest.pop("$ref")
            self._told |= rest.keys() - {"title", "description", "default"}
            return written
        self._keep(rest, written)
        self._say(rest, written)
        return written

    def _keep(self, rest: dict[str, Any], written: dict[str, Any]) -> None:
        kinds = rest.get("type")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if "oneOf" in rest and "anyOf" not in rest:
            rest["anyOf"] = rest.pop("oneOf")
        if any(name in rest and _is_taken(name, rest[name]) for name in ("enum", "const")):
            # The values say what they are; a type beside them may be at odds with a null among them.
            rest.pop("type", None)
        by_type = (name for kind in kinds if isinstance(kind, str) for name in _BY_TYPE.get(kind, ()))
        for name in (*_ALWAYS, *by_type):
            if name in rest and _is_taken(name, rest[name]):
                written[name] = self._inner(name, rest.pop(name))
        if "object" in kinds and "type" in written:
            self._close(rest, written)

    def _close(self, rest: dict[str, Any], written: dict[str, Any]) -> None:
        written.setdefault("properties", {})
        others = rest.pop("additionalProperties", True)
        if isinstance(others, Mapping) or (others and not written["properties"]):
            self.loose = "objects with keys of any name"
        written["additionalProperties"] = False

    def _inner(self, name: str, value: Any) -> Any:
        if name in ("anyOf", "allOf") and isinstance(value, list):
            return [self._write(item) for item in value]
        if name == "properties" and isinstance(value, Mapping):
            return {key: self._write(item) for key, item in value.items()}
        return self._write(value) if name == "items" else value

    def _say(self, rest: dict[str, Any], written: dict[str, Any]) -> None:
        """Say in the description what the schema may not say."""
        if not rest:
            return
        self._told |= rest.keys() - {"default"}
        words = "{" + ", ".join(f"{name}: {value}" for name, value in rest.items()) + "}"
        said = written.get("description")
        written["description"] = f"{said}\n\n{words}" if said else words


def _is_taken(name: str, value: Any) -> bool:
    if name == "format":
        return value in _FORMATS
    if name == "enum":
        return isinstance(value, list) and value != [] and not any(isinstance(item, (dict, list)) for item in value)
    if name == "const":
        return not isinstance(value, (dict, list))
    return name != "minItems" or value in (0, 1)


def _is_circular(schema: Mapping[str, Any]) -> bool:
    """Tell whether a reference leads, over any others, to where it stands."""
    definitions: dict[str, Any] = {"#": {name: value for name, value in schema.items() if name not in _DEFINITIONS}}
    for group in _DEFINITIONS:
        if isinstance(schema.get(group), Mapping):
            definitions |= {f"#/{group}/{name}": value for name, value in schema[group].items()}
    leads_to = {name: set(_references(value)) & definitions.keys() for name, value in definitions.items()}
    while ends := {name for name, targets in leads_to.items() if not targets}:
        leads_to = {name: targets - ends for name, targets in leads_to.items() if name not in ends}
    return bool(leads_to)


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from _references(item)
