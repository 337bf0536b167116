from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from modelwrap import registry
from modelwrap.config.schema import config_schema
from tests.echo import echo


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    from tests.echo import Echo

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_targets", dict(registry._targets))
        patch.setattr(registry, "_aliases", dict(registry._aliases))
        registry.register("echo", Echo, aliases=["parrot"])
        schema = config_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize(
    "document",
    [
        echo(),
        [],
        [echo(), {"model_type": "openai", "config_name": "gpt", "api_key": "${OPENAI_API_KEY}"}],
        {"models": [echo()], "$schema": "configs.schema.json"},
        {"type": "parrot", "name": "a", "model_name": "b", "budget": 3},
        echo(prefix="> ", client_args={"timeout": 3, "verify": "ca.pem"}, generate_args={"top_p": 1}),
        echo(client_args={"timeout": {"idle": 3}, "max_retries": "${RETRIES:-3}"}, stream="${STREAM:-false}"),
    ],
)
def test_a_config_in_order_fits_the_schema(document: Any, validator: Draft202012Validator) -> None:
    assert [error.message for error in validator.iter_errors(document)] == []


@pytest.mark.parametrize(
    "document",
    [
        3,
        [3],
        {},
        {"config_name": "x"},
        {"model_type": "echo"},
        {"model_type": "ecoh", "config_name": "x"},
        {"models": [echo()], "more": 1},
        echo(prefx="> "),
        echo(client_args={"timeot": 3}),
        echo(client_args={"timeout": -1}),
        echo(client_args={"timeout": {"idle": -1}}),
        echo(client_args={"max_retries": "three"}),
        echo(unsupported="ignore"),
        {"model_type": "openai", "config_name": "gpt", "prefix": "> "},
    ],
)
def test_a_mistake_does_not_fit_the_schema(document: Any, validator: Draft202012Validator) -> None:
    assert not validator.is_valid(document)


def test_every_key_is_described(validator: Draft202012Validator) -> None:
    definitions = validator.schema["$defs"]

    undescribed = [
        f"{name}.{key}"
        for name, definition in definitions.items()
        if name.startswith("model_type.")
        for key, field in definition["properties"].items()
        if "description" not in field and key != "$schema"
    ]

    assert undescribed == []
