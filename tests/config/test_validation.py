from __future__ import annotations

import os
import traceback
import warnings
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from pydantic import BaseModel

from modelwrap import registry
from modelwrap.config import ModelConfig, Problems, Validated, read, validate
from modelwrap.errors import ConfigError, MissingSecret, ModelwrapWarning, UnknownModelType
from tests.echo import Echo, EchoConfig, echo

pytestmark = pytest.mark.usefixtures("echo_type")

CANARY = "sk-canary-4Y7"


def validated(*configs: Any) -> list[Validated]:
    problems = Problems()
    found = validate(read(list(configs), problems), problems)
    problems.raise_any()
    return found


def config_of(**keys: Any) -> ModelConfig:
    (found,) = validated(echo(**keys))
    return found.config


def mistakes_of(*configs: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        validated(*configs)
    return str(caught.value).splitlines()


def test_a_config_becomes_its_model_types_own() -> None:
    config = config_of(prefix="> ", client_args={"timeout": 5}, generate_args={"temperature": 0})

    assert isinstance(config, EchoConfig)
    assert config.prefix == "> "
    assert config.generate_args == {"temperature": 0}


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31ma", "a\x00", "a\x9b"])
def test_a_name_that_could_move_the_cursor_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="config_name: must not hold control characters"):
        validated(echo(name))


def test_a_name_may_be_written_in_any_script() -> None:
    names = ["модель", "模型 1", "👩‍🔬", "a\u00a0b"]

    found = validated(*map(echo, names))

    assert [one.config.config_name for one in found] == names


def test_names_of_older_files_are_taken() -> None:
    old, both, aliased = validated(
        {"type": "echo", "name": "a", "model_name": "m"},
        {"type": "echo", "model_type": "echo", "name": "b", "config_name": "b"},
        {"model_type": "parrot", "type": "echo", "config_name": "c", "$schema": "configs.json"},
    )

    assert (old.config.config_name, old.config.model_type, old.config.model) == ("a", "echo", "m")
    assert (both.config.config_name, both.config.model) == ("b", "b")
    assert aliased.config.model_type == "echo"


def test_old_and_new_names_that_differ_are_a_mistake() -> None:
    assert mistakes_of({"model_type": "echo", "config_name": "a", "name": "b"}) == [
        'model_configs[0] "a": name: differs from "config_name", which means the same; keep one'
    ]


def test_null_is_not_given() -> None:
    nulls = {"name": None, "type": None, "model": None, "organization": None, "generate_args": None}

    (found,) = validated({**echo(client_args={"base_url": None, "timeout": None}), **nulls})

    assert found.config == config_of()


def test_a_mapping_of_another_class_is_a_config() -> None:
    (found,) = validated(MappingProxyType(echo(generate_args=MappingProxyType({"top_p": 1}))))

    assert found.config == config_of(generate_args={"top_p": 1})


def test_a_config_without_a_bottom_is_one_mistake() -> None:
    endless: dict[str, Any] = {}
    endless["again"] = endless

    (line,) = mistakes_of(echo(generate_args=endless))

    assert line == 'model_configs[0] "parrot": generate_args: this is nested more than 64 deep'


def test_arguments_of_the_call_may_stand_among_its_parameters() -> None:
    config = config_of(
        generate_args={"timeout": {"idle": "5"}, "max_retries": "3", "extra_body": {"a": 1}, "extra_headers": None}
    )

    assert config.generate_args == {
        "timeout": {"idle": 5.0},
        "max_retries": 3,
        "extra_body": {"a": 1},
        "extra_headers": None,
    }


def test_a_budget_is_taken_with_a_warning() -> None:
    with pytest.warns(ModelwrapWarning, match="budget: is not enforced") as caught:
        config = config_of(budget=3)

    assert config == config_of()
    assert caught[0].filename == __file__


def test_a_placeholder_is_taken_with_one_warning() -> None:
    with pytest.warns(ModelwrapWarning) as caught:
        config = config_of(api_key="xxx", organization="xxx")

    (warning,) = caught
    assert config.placeholders
    assert str(warning.message) == (
        'model_configs[0] "parrot": api_key: a placeholder stands here (and in organization), not a key; '
        "calls will be refused until it is replaced"
    )


@pytest.mark.parametrize(
    "keys, mistake",
    [
        ({"temperature": 0.5}, "temperature: belongs in generate_args"),
        ({"max_tokens": 5}, "max_tokens: belongs in generate_args"),
        ({"base_url": "x"}, "base_url: belongs in client_args"),
        ({"timeout": 5}, "timeout: belongs in client_args"),
        ({"client_args": {"api_key": "x"}}, "client_args.api_key: belongs at the top level, beside client_args"),
        ({"client_args": {"temperature": 1}}, "client_args.temperature: belongs in generate_args"),
        ({"client_args": {"timeot": 1}}, 'client_args.timeot: unknown key; did you mean "timeout"?'),
        ({"client_args": []}, "client_args: must be an object { … }, not a list"),
        ({"client_args": {"default_headers": 1}}, "client_args.default_headers: must be an object of header names"),
        ({"client_args": {"default_headers": {"a": 1}}}, "client_args.default_headers.a: must be a string"),
        ({"client_args": {"default_query": {"api_key": "1"}}}, "client_args.default_query.api_key: a credential does"),
        ({"client_args": {"default_query": {"a": 1}}}, "client_args.default_query.a: must be a string, not a number"),
        ({"client_args": {"base_url": ["a"]}}, "client_args.base_url: must be a string, not a list"),
        ({"client_args": {"base_url": ""}}, "client_args.base_url: must not be empty"),
        ({"client_args": {"http": "curl"}}, "client_args.http: must be 'auto', 'httpx2' or 'aiohttp'"),
        ({"client_args": {"max_retries": 1.5}}, "client_args.max_retries: must be a whole number"),
        ({"client_args": {"max_retries": -1}}, "client_args.max_retries: must be at least 0"),
        ({"client_args": {"max_retries": True}}, "client_args.max_retries: must be a number, not true or false"),
        ({"client_args": {"timeout": "soon"}}, "client_args.timeout.total: must be a number"),
        ({"client_args": {"timeout": {"conect": 1}}}, 'timeout.conect: unknown key; did you mean "connect"?'),
        ({"client_args": {"proxy": "host"}}, "client_args.proxy: must begin with http://"),
        ({"client_args": {"verify": "no.pem"}}, "client_args.verify: there is no file no.pem"),
        ({"generate_args": {"api_key": "x"}}, "generate_args.api_key: belongs at the top level, not among the"),
        ({"generate_args": {"base_url": "x"}}, "generate_args.base_url: belongs in client_args, not among the"),
        ({"generate_args": {"messages": []}}, "generate_args.messages: belongs in each call, not among the"),
        ({"generate_args": {"extra_headers": {"a": 1}}}, "generate_args.extra_headers.a: must be a string"),
        ({"generate_args": {"extra_body": 1}}, "generate_args.extra_body: must be an object { … }, not a number"),
        ({"generate_args": {"timeout": "soon"}}, "generate_args.timeout.total: must be a number"),
        ({"generate_args": {"timeout": {"idel": 1}}}, 'generate_args.timeout.idel: unknown key; did you mean "idle"?'),
        ({"generate_args": {"max_retries": -1}}, "generate_args.max_retries: must be at least 0"),
        ({"generate_args": {5: 6}}, "generate_args[5].[key]: must be a string"),
        ({"generate_args": [1]}, "generate_args: must be an object { … }, not a list"),
        ({"stream": "maybe"}, "stream: must be true or false, not a string"),
        ({"unsupported": "ignore"}, "unsupported: must be 'error', 'warn' or 'drop'"),
        ({"api_key": 5}, "api_key: must be a string"),
        ({"prefx": "> "}, 'prefx: unknown key; did you mean "prefix"?'),
        ({"transport": "sdk"}, "transport: unknown key; known are config_name, model_type, model"),
        ({"zzz": 1}, "zzz: unknown key; known are config_name, model_type, model"),
        ({"prefix": 1}, "prefix: must be a string, not a number"),
        ({"model": "${UTTERLY_UNKNOWN}"}, "model: ${UTTERLY_UNKNOWN} is not set"),
        ({1: 2}, "[1]: "),
    ],
)
def test_a_mistake_is_named_in_plain_words(keys: dict[str, Any], mistake: str) -> None:
    (line,) = mistakes_of({**echo(), **keys})

    assert line.startswith('model_configs[0] "parrot": ')
    assert mistake in line
    assert "Input should" not in line


def test_what_is_missing_is_named() -> None:
    assert mistakes_of({"model_type": "echo"}) == [
        "model_configs[0]: config_name is missing, the name that get_model takes"
    ]
    (line,) = mistakes_of({"config_name": "x", "api_url": "http://localhost/llm/"})
    assert line.startswith('model_configs[0] "x": model_type is missing; known are azure_openai, azure_openai_dall_e, ')
    assert line.endswith('with an api_url it is "post_api"')
    assert mistakes_of({"config_name": "x", "model_type": 5}) == ['model_configs[0] "x": model_type: must be a string']


def test_all_mistakes_of_a_file_are_told_at_once_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    path.write_text(
        """{"models": [
  {"config_name": "a", "model_type": "echo",
   "temperature": 1,
   "client_args": {"timeot": 3, "max_retries": "x"}},
  {"config_name": "b", "model_type": "ecoh"},
  {"config_name": "c", "model_type": "echo", "model": "${UTTERLY_UNKNOWN}", "zzz": 1},
]}"""
    )

    heading, *lines = mistakes_of(path)
    assert heading == "6 mistakes in the model configs:"
    assert [line.strip().removeprefix(str(path)).partition(";")[0] for line in lines] == [
        ":3:4: models[0].temperature: belongs in generate_args",
        ":4:20: models[0].client_args.timeot: unknown key",
        ":4:48: models[0].client_args.max_retries: must be a whole number, not a string",
        ":5:38: models[1].model_type: there is no model type 'ecoh'",
        ":6:55: models[2].model: ${UTTERLY_UNKNOWN} is not set",
        ":6:77: models[2].zzz: unknown key",
    ]


def test_mistakes_of_one_kind_are_raised_as_that_kind() -> None:
    unset = echo(api_key="${UTTERLY_UNKNOWN}")

    with pytest.raises(UnknownModelType):
        validated({"config_name": "x", "model_type": "ecoh"}, {"config_name": "y", "model_type": "x"})
    with pytest.raises(MissingSecret):
        validated(unset, echo("b", client_args={"default_headers": {"Authorization": "${UTTERLY_UNKNOWN}"}}))
    with pytest.raises(ConfigError) as mixed:
        validated(unset, {"config_name": "x", "model_type": "ecoh"})
    assert type(mixed.value) is ConfigError


@pytest.mark.parametrize(
    "keys",
    [
        {"api_key": [CANARY]},
        {"api_key": CANARY + "\n" + CANARY},
        {"api_key": {"a": CANARY}, "temperature": 1},
        {"client_args": {"proxy": CANARY}},
        {"client_args": {"default_headers": {"Authorization": [CANARY]}}},
        {"client_args": {"api_key": CANARY}},
        {"generate_args": {"api_key": CANARY}},
        {"api_key": CANARY, "zzz": CANARY},
        {"api_key": CANARY, "client_args": {"verify": CANARY}},
    ],
)
def test_an_error_never_shows_a_credential(keys: dict[str, Any]) -> None:
    problems = Problems()
    validate(read(echo(**keys), problems), problems)

    with pytest.raises(ConfigError) as caught:
        problems.raise_any()

    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert CANARY not in str(caught.value)
    assert CANARY not in "".join(line for line in shown.format() if "keys =" not in line).replace(repr(keys), "")


def test_a_config_in_order_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        config_of(api_key=CANARY)


@pytest.mark.parametrize("config_class", [None, dict, BaseModel])
def test_a_model_type_whose_configs_are_none_of_ours_is_named(config_class: Any) -> None:
    registry.register("odd", type("Odd", (Echo,), {"Config": config_class}))

    (mistake,) = mistakes_of(echo(model_type="odd"))

    assert mistake.endswith("model_type: Odd.Config must be a subclass of modelwrap.config.ModelConfig")


def test_half_of_a_surrogate_pair_is_a_mistake_also_where_a_variable_brought_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BROKEN", os.fsdecode(b"\xff"))

    mistakes = mistakes_of(echo(prefix="${BROKEN}", modle="x", model="\ud800"))

    assert [line.rpartition(": ")[2] for line in mistakes[1:3]] == [
        "holds half of a surrogate pair, which is no character"
    ] * 2
    assert any('did you mean "model"' in line for line in mistakes)


@pytest.mark.parametrize(
    "keys",
    [
        {"client_args": {"default_headers": {1: "a"}}},
        {"client_args": {"default_query": {1: "a"}}},
        {"client_args": {"verify": "a" * 5000}},
        {"generate_args": {"extra_headers": {None: "a"}}},
        {"generate_args": {"extra_query": {1: []}}},
        {"model_type": "post_api", "api_url": "http://127.0.0.1", "chat_template": []},
        {"model_type": "post_api", "api_url": "http://127.0.0.1", "json_args": {1: "a"}},
    ],
)
def test_values_of_any_kind_are_refused_in_words(keys: dict[str, Any]) -> None:
    assert mistakes_of(echo(**keys))
