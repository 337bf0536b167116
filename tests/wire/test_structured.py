"""Pydantic classes as strict schemas."""

from __future__ import annotations

import copy
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from types import MappingProxyType
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from pydantic import AnyUrl, BaseModel, ConfigDict, Field, RootModel

from modelwrap.errors import BadRequest, InvalidResponse
from modelwrap.types import Change, ChatReply
from modelwrap.wire.structured import check_answer, response_format_of, strict_schema


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Wheel(BaseModel):
    """A round thing."""

    size: float = Field(gt=0, le=100, multiple_of=0.5)


class Car(BaseModel):
    name: str = Field(min_length=1, max_length=20, description="How it is called")
    colour: Colour = Colour.RED
    wheels: list[Wheel] = Field(min_length=3, max_length=6)
    spare: Wheel | None = None
    front: Wheel = Field(description="The one to steer with")
    plate: str = Field(pattern=r"^[A-Z]+$", default="A")


class Node(BaseModel):
    value: int
    children: list[Node] = []
    parent: Node | None = Field(None, description="Up")


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Pet(BaseModel):
    animal: Annotated[Cat | Dog, Field(discriminator="kind")]


def schema_of(kind: Any) -> dict[str, Any]:
    schema: dict[str, Any] = response_format_of(kind)[0]["json_schema"]["schema"]
    return schema


def objects_in(schema: Any) -> list[dict[str, Any]]:
    if isinstance(schema, list):
        return [found for item in schema for found in objects_in(item)]
    if not isinstance(schema, dict):
        return []
    own = [schema] if schema.get("type") == "object" else []
    return own + [found for item in schema.values() for found in objects_in(item)]


def test_a_dict_goes_through_untouched() -> None:
    given = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"default": 1}}}

    assert response_format_of(given) == (given, None)
    assert response_format_of(given)[0] is given
    assert response_format_of(MappingProxyType({"type": "json_object"})) == ({"type": "json_object"}, None)


def test_a_class_becomes_a_strict_schema_with_its_name() -> None:
    wire, kind = response_format_of(Car)

    assert kind is Car
    assert wire["type"] == "json_schema"
    assert wire["json_schema"]["name"] == "Car"
    assert wire["json_schema"]["strict"] is True


@pytest.mark.parametrize("kind", [Car, Node, Pet])
def test_every_object_is_closed_and_every_property_required(kind: type[BaseModel]) -> None:
    schema = schema_of(kind)

    jsonschema.Draft202012Validator.check_schema(schema)
    assert objects_in(schema)
    for found in objects_in(schema):
        assert found["additionalProperties"] is False
        assert found["required"] == list(found["properties"])


def test_constraints_that_strict_mode_has_stay_and_others_are_said_in_words() -> None:
    schema = schema_of(Car)
    properties = schema["properties"]

    assert properties["name"] == {
        "title": "Name",
        "type": "string",
        "description": "How it is called (minLength 1, maxLength 20)",
    }
    assert properties["wheels"]["minItems"] == 3
    assert properties["wheels"]["maxItems"] == 6
    assert properties["plate"] == {"title": "Plate", "type": "string", "pattern": "^[A-Z]+$"}
    assert schema["$defs"]["Wheel"]["properties"]["size"] == {
        "title": "Size",
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 100,
        "multipleOf": 0.5,
    }


def test_a_reference_stands_alone_or_its_target_in_its_place() -> None:
    properties = schema_of(Car)["properties"]

    assert properties["spare"]["anyOf"] == [{"$ref": "#/$defs/Wheel"}, {"type": "null"}]
    assert "default" not in properties["spare"]
    assert properties["colour"] == {"$ref": "#/$defs/Colour"} or properties["colour"]["enum"] == ["red", "blue"]
    assert "$ref" not in properties["front"]
    assert properties["front"]["description"] == "The one to steer with"
    assert properties["front"]["required"] == ["size"]


def test_formats_and_patterns_that_strict_mode_lacks_are_said_in_words() -> None:
    class Page(BaseModel):
        url: AnyUrl
        price: Decimal

    schema = schema_of(Page)

    assert schema["properties"]["url"]["description"].endswith("format uri")
    assert "format" not in schema["properties"]["url"]
    assert "(?!" not in str([item.get("pattern") for item in schema["properties"]["price"]["anyOf"]])


def test_a_class_that_holds_itself_has_the_object_at_the_top() -> None:
    schema = schema_of(Node)

    assert schema["type"] == "object"
    assert schema["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}


def test_references_that_go_round_in_circles_end() -> None:
    looping = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A", "description": "first"}},
        "$defs": {"A": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A", "description": "again"}}}},
    }

    schema, loose = strict_schema(looping)

    assert not loose
    assert schema["properties"]["a"]["properties"]["a"] == {"$ref": "#/$defs/A"}


def test_a_union_with_a_discriminator_becomes_a_plain_one() -> None:
    animal = schema_of(Pet)["properties"]["animal"]

    assert animal["anyOf"] == [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]
    assert "oneOf" not in animal
    assert "discriminator" not in animal


def test_a_lone_all_of_is_merged() -> None:
    given = {
        "type": "object",
        "properties": {
            "a": {"allOf": [{"$ref": "#/$defs/A"}], "description": "b"},
            "c": {"allOf": [{"type": "string"}]},
        },
        "$defs": {"A": {"type": "string", "description": "a"}},
    }

    schema, loose = strict_schema(given)

    assert not loose
    assert schema["properties"] == {"a": {"type": "string", "description": "b"}, "c": {"type": "string"}}


def test_patterns_that_look_around_are_said_in_words() -> None:
    schema, loose = strict_schema({"type": "object", "properties": {"a": {"type": "string", "pattern": "^(?!x)y"}}})

    assert not loose
    assert schema["properties"]["a"] == {"type": "string", "description": "pattern ^(?!x)y"}


def test_a_schema_that_is_only_true_cannot_be_strict() -> None:
    schema, loose = strict_schema({"type": "object", "properties": {"a": True}})

    assert loose == "schemas that are no object"
    assert schema["properties"] == {"a": {}}


class WithDict(BaseModel):
    more: dict[str, int]


class WithAny(BaseModel):
    more: Any


class WithTuple(BaseModel):
    more: tuple[int, str]


class WithList(BaseModel):
    more: list  # type: ignore[type-arg]  # a list of anything is the case


@pytest.mark.parametrize(
    "kind, word",
    [(WithDict, "free-form dicts"), (WithAny, "any type"), (WithTuple, "prefixItems"), (WithList, "any type")],
)
def test_what_strict_mode_cannot_hold_goes_out_loose_and_is_reported(kind: type[BaseModel], word: str) -> None:
    changes: list[Change] = []

    wire, parsed_as = response_format_of(kind, changes)

    assert parsed_as is kind
    assert wire["json_schema"]["strict"] is False
    assert wire["json_schema"]["schema"] == kind.model_json_schema()
    assert [change.what for change in changes] == ["response_format"]
    assert word in changes[0].detail


def test_a_class_that_allows_more_keys_is_asked_for_without_them() -> None:
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        name: str

    wire, _ = response_format_of(Open)

    assert wire["json_schema"]["strict"] is True
    assert wire["json_schema"]["schema"]["additionalProperties"] is False


def test_an_empty_class_is_strict() -> None:
    class Nothing(BaseModel):
        pass

    assert schema_of(Nothing)["properties"] == {}


def test_the_name_has_only_letters_that_the_wire_takes() -> None:
    class Box(BaseModel):
        pass

    Box.__name__ = "Box[größer, " + "x" * 80

    assert response_format_of(Box)[0]["json_schema"]["name"] == ("Box_gr_er_" + "x" * 80)[:64]


def test_a_top_that_is_no_object_says_what_to_do() -> None:
    with pytest.raises(BadRequest, match="put it into a field of a class"):
        response_format_of(RootModel[list[int]])


class Hook(BaseModel):
    run: Callable[[], None]


class Unfinished(BaseModel):
    part: NeverDefined  # type: ignore[name-defined]  # noqa: F821 - what a typing mistake leaves behind


@pytest.mark.parametrize(
    "kind, words",
    [
        (Hook, "Hook has no JSON schema: Cannot generate a JsonSchema for core_schema.CallableSchema$"),
        (Unfinished, "Unfinished has no JSON schema: `Unfinished` is not fully defined; you should define"),
    ],
)
def test_a_class_without_a_schema_is_refused_in_words(kind: type[BaseModel], words: str) -> None:
    with pytest.raises(BadRequest, match=f"response_format: {words}"):
        response_format_of(kind)


@pytest.mark.parametrize("value", ["json_object", 7, Car.__name__, int, Wheel(size=1), BaseModel])
def test_other_values_are_refused_by_name(value: Any) -> None:
    with pytest.raises(BadRequest, match="response_format: give a dict or a pydantic class") as caught:
        response_format_of(value)

    assert not caught.value.sent


def test_what_is_given_out_can_be_changed_without_harm() -> None:
    before = copy.deepcopy(schema_of(Car))

    schema_of(Car)["properties"].clear()

    assert schema_of(Car) == before
    assert Car.model_json_schema()["properties"]


def test_without_strict_mode_a_class_goes_out_as_its_own_schema() -> None:
    class Named(BaseModel):
        name: str = Field("x", min_length=1)

    written, kind = response_format_of(Named, strict=False)

    assert kind is Named
    assert written["json_schema"]["schema"] == Named.model_json_schema()
    assert written["json_schema"]["strict"] is False


NAMES = {"type": "json_schema", "json_schema": {"name": "names", "schema": {"type": "array", "maxItems": 1}}}


def answer(text: str, finish_reason: str = "stop") -> ChatReply:
    message = {"role": "assistant", "content": text}
    return ChatReply.model_validate({"choices": [{"message": message, "finish_reason": finish_reason}]})


@pytest.mark.parametrize(
    "text, asked",
    [
        ('["a"]', NAMES),
        ("{}", {"type": "json_object"}),
        ("anything", {"type": "text"}),
        ("anything", None),
        ("7", {"type": "json_schema", "json_schema": {"name": "anything"}}),
    ],
)
def test_an_answer_that_is_what_was_asked_for_passes(text: str, asked: Any) -> None:
    check_answer(answer(text), asked)


@pytest.mark.parametrize(
    "text, asked, words",
    [
        ('["a", "b"]', NAMES, "does not keep to the schema: ['a', 'b'] is more than 1 items"),
        ("Here: []", NAMES, "is not what was asked for: the answer is not JSON"),
        ("[]", {"type": "json_object"}, "does not keep to the schema: [] is no object"),
    ],
)
def test_an_answer_that_is_not_what_was_asked_for_is_an_error_that_carries_it(
    text: str, asked: Any, words: str
) -> None:
    reply = answer(text)

    with pytest.raises(InvalidResponse) as caught:
        check_answer(reply, asked)

    assert words in caught.value.message
    assert caught.value.partial is reply


@pytest.mark.parametrize("finish_reason", ["length", "content_filter", "tool_calls"])
def test_an_answer_that_was_not_to_be_finished_is_not_judged(finish_reason: str) -> None:
    check_answer(answer('["a', finish_reason), NAMES)
