from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelwrap.wire.json_schema import mistake

CYCLE = {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}
TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "value": {"type": "string"},
            },
            "required": ["value"],
        }
    },
    "$ref": "#/$defs/node",
}


@pytest.mark.parametrize(
    "value, schema, expected",
    [
        (7, {"type": "string"}, "7 is no string"),
        (True, {"type": "integer"}, "True is no integer"),
        (1.0, {"type": "integer"}, None),
        (None, {"type": ["string", "null"]}, None),
        (3, {"type": ["string", "null"]}, "3 is no string or null"),
        ("x", {"enum": ["a", "b"]}, "'x' is none of ['a', 'b']"),
        (True, {"enum": [1]}, "True is none of [1]"),
        (2, {"const": 1}, "2 is not 1"),
        ("ab", {"minLength": 3}, "'ab' is shorter than 3"),
        ("abcd", {"maxLength": 3}, "'abcd' is longer than 3"),
        (1, {"minimum": 2}, "1 is less than 2"),
        (3, {"maximum": 2}, "3 is more than 2"),
        (2, {"exclusiveMinimum": 2}, "2 is not above 2"),
        (2, {"exclusiveMaximum": 2}, "2 is not below 2"),
        (5, {"multipleOf": 2}, "5 is no multiple of 2"),
        (0.3, {"multipleOf": 0.1}, None),
        (float("inf"), {"multipleOf": 2}, None),
        ("b7", {"pattern": "^a"}, "'b7' does not fit the pattern ^a"),
        ("b7", {"pattern": "(["}, None),
        ([1], {"minItems": 2}, "[1] is fewer than 2 items"),
        ([1, 1.0], {"uniqueItems": True}, "1.0 stands there twice"),
        ([1, True], {"uniqueItems": True}, None),
        ([1, "a"], {"items": {"type": "integer"}}, "[1]: 'a' is no integer"),
        ([1, "a", 2], {"prefixItems": [{"type": "integer"}], "items": False}, "[1]: nothing may stand here"),
        ([1, 2], {"contains": {"const": 3}}, "0 of its items are of the kind that it is to contain"),
        ({}, {"required": ["a"]}, "a is missing"),
        ({"a": {"b": 1}}, {"properties": {"a": {"required": ["c"]}}}, "a: c is missing"),
        ({"a": 1}, {"additionalProperties": False}, "a: nothing may stand here"),
        ({"a": "x"}, {"additionalProperties": {"type": "integer"}}, "a: 'x' is no integer"),
        ({"x1": 1}, {"patternProperties": {"^x": {"type": "string"}}}, "x1: 1 is no string"),
        ({"x1": 1}, {"patternProperties": {"^x": True}, "additionalProperties": False}, None),
        ({"Ab": 1}, {"propertyNames": {"pattern": "^[a-z]+$"}}, "'Ab' does not fit the pattern ^[a-z]+$"),
        ({"a": 1}, {"dependentRequired": {"a": ["b"]}}, "b is missing"),
        ({}, {"minProperties": 1}, "{} is fewer than 1 keys"),
        (1, {"anyOf": [{"type": "string"}]}, "1 is no string"),
        (1, {"anyOf": [{"type": "string"}, {"type": "null"}]}, "1 is of none of the kinds"),
        (1, {"oneOf": [{"type": "integer"}, {"minimum": 0}]}, "1 is of 2 of the kinds of which it is to be one"),
        (1, {"allOf": [{"type": "integer"}, {"minimum": 5}]}, "1 is less than 5"),
        (1, {"not": {"type": "integer"}}, "1 is what it must not be"),
        (1, {"if": {"type": "integer"}, "then": {"minimum": 5}}, "1 is less than 5"),
        ("a", {"if": {"type": "integer"}, "then": False, "else": {"minLength": 2}}, "'a' is shorter than 2"),
        ({"value": "a", "next": {"value": 1}}, TREE, "next: {'value': 1} is of none of the kinds"),
        ({"value": 1}, TREE, "value: 1 is no string"),
        ({"value": "a", "next": None}, TREE, None),
        (1, CYCLE, None),
        (1, {"$ref": "https://example.com/schema"}, None),
        (1, {"$ref": "#/$defs/nowhere"}, None),
        (1, {"anyOf": [{"type": "integer"}], "$ref": "#/anyOf/²"}, None),
        ("x", {"$defs": {"a/b": {"type": "null"}}, "$ref": "#/$defs/a~1b"}, "'x' is no null"),
        (1, False, "nothing may stand here"),
        (1, True, None),
        ("2020", {"format": "date"}, None),
        (1, {"type": "unheard", "minimum": "x", "required": 3, "properties": [], "enum": {}}, None),
    ],
)
def test_what_does_not_keep_to_a_schema_is_named_with_its_place(value: Any, schema: Any, expected: str | None) -> None:
    assert mistake(value, schema) == expected


values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "ab", "b1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=5,
)
kinds = st.sampled_from(["object", "array", "string", "integer", "number", "boolean", "null"])
names = st.lists(st.sampled_from(["a", "b", "c"]), unique=True, max_size=2)


def keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(inner, min_size=1, max_size=2)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": kinds | st.lists(kinds, min_size=1, max_size=2, unique=True),
            "enum": st.lists(values, min_size=1, max_size=2),
            "const": values,
            "minimum": st.integers(-2, 2),
            "exclusiveMaximum": st.integers(-2, 2),
            "multipleOf": st.integers(1, 3),
            "minLength": st.integers(0, 2),
            "maxItems": st.integers(0, 2),
            "minProperties": st.integers(0, 2),
            "uniqueItems": st.booleans(),
            "pattern": st.sampled_from(["^a", "1$", "."]),
            "properties": st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "[bc]"]), inner, max_size=1),
            "additionalProperties": inner,
            "propertyNames": inner,
            "required": names,
            "dependentRequired": st.dictionaries(st.sampled_from(["a", "b"]), names, max_size=1),
            "items": inner,
            "prefixItems": some,
            "contains": inner,
            "maxContains": st.integers(1, 2),
            "anyOf": some,
            "oneOf": some,
            "allOf": some,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "$ref": st.just("#/$defs/a"),
        },
    )


schemas = st.recursive(st.booleans() | st.builds(dict), keywords, max_leaves=6)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=values, schema=keywords(schemas), named=st.sampled_from([True, {"type": "integer"}, {"minLength": 1}]))
def test_it_judges_as_jsonschema_does(value: Any, schema: dict[str, Any], named: Any) -> None:
    schema = {**schema, "$defs": {"a": named}}

    expected = jsonschema.Draft202012Validator(schema).is_valid(value)

    assert (mistake(value, schema) is None) == expected
