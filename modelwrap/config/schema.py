"""The JSON Schema of config files, with which editors complete and check them."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from modelwrap import registry
from modelwrap.config.fields import ModelConfig
from modelwrap.config.sources import OLD_NAMES
from modelwrap.config.validation import config_class_of

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_VARIABLE = {"type": "string", "pattern": r"\$\{"}


class _Schema(GenerateJsonSchema):
    """Let `${VARIABLE}` stand wherever a number or a flag may, and call keys by their names."""

    def get_title_from_name(self, name: str) -> str:
        return name

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        return {"anyOf": [super().int_schema(schema), _VARIABLE]}

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        return {"anyOf": [super().float_schema(schema), _VARIABLE]}

    def bool_schema(self, schema: core_schema.BoolSchema) -> JsonSchemaValue:
        return {"anyOf": [super().bool_schema(schema), _VARIABLE]}

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        return {"anyOf": [super().literal_schema(schema), _VARIABLE]}


def config_schema() -> dict[str, Any]:
    """Give the schema of a file: one config, a list of them, or `{"models": [...]}`, of every known model type."""
    config: JsonSchemaValue = {"$ref": "#/$defs/config"}
    definitions: dict[str, Any] = {
        "config": _any_config(registry.names()),
        "configs": {"type": "array", "items": config},
        "collection": {
            "type": "object",
            "properties": {"models": {"$ref": "#/$defs/configs"}, "$schema": {"type": "string"}},
            "additionalProperties": False,
        },
    }
    for name in registry.names():
        definitions.update(_definitions(name, config_class_of(registry.resolve(name))))
    return {
        "$schema": DIALECT,
        "title": "Model configs",
        "if": {"type": "array"},
        "then": {"$ref": "#/$defs/configs"},
        "else": {"if": {"required": ["models"]}, "then": {"$ref": "#/$defs/collection"}, "else": config},
        "$defs": definitions,
    }


def _any_config(names: list[str]) -> JsonSchemaValue:
    """Choose the definition by the model type, which may stand under its old name."""
    return {
        "type": "object",
        "anyOf": [{"required": ["model_type"]}, {"required": ["type"]}],
        "properties": {key: {"enum": registry.names(aliases=True)} for key in ("model_type", "type")},
        "allOf": [
            {
                "if": {"anyOf": [_says("model_type", name), _says("type", name)]},
                "then": {"$ref": f"#/$defs/{_definition(name)}"},
            }
            for name in names
        ],
    }


def _says(key: str, name: str) -> JsonSchemaValue:
    return {"required": [key], "properties": {key: {"enum": [name, *registry.aliases_of(name)]}}}


def _definitions(name: str, config_class: type[ModelConfig]) -> dict[str, JsonSchemaValue]:
    """Give a config class's own definition, and those of the objects inside it."""
    prefix = _definition(name)
    schema = config_class.model_json_schema(ref_template=f"#/$defs/{prefix}.{{model}}", schema_generator=_Schema)
    inner = {f"{prefix}.{part}": definition for part, definition in schema.pop("$defs", {}).items()}
    properties = schema["properties"]
    for key, old in OLD_NAMES.items():
        properties.setdefault(old, {**properties[key], "title": old, "deprecated": True})
    properties.setdefault("budget", {"deprecated": True, "description": "Taken from older files; nothing enforces it."})
    properties["$schema"] = {"type": "string"}
    required = schema.pop("required", [])
    schema["allOf"] = [
        {"anyOf": [{"required": [written]} for written in (key, OLD_NAMES.get(key)) if written]} for key in required
    ]
    return {prefix: schema, **inner}


def _definition(name: str) -> str:
    return f"model_type.{name}"
