from __future__ import annotations

import asyncio
import copy
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import modelwrap
from modelwrap.errors import ConfigError, MissingSecret, UnknownModel
from modelwrap.factory import load_ready
from modelwrap.policies.base import Wrapper
from tests.colours import Colour
from tests.echo import Echo, EchoConfig, echo


@pytest.fixture(autouse=True)
def _empty_process(echo_type: None) -> Any:
    modelwrap.clear()
    yield
    modelwrap.clear()


def inner(model: modelwrap.Model) -> Echo:
    assert isinstance(model, Wrapper)
    assert isinstance(model.model, Echo)
    return model.model


def test_a_loaded_model_answers(colour: Colour) -> None:
    models = modelwrap.load([echo(prefix="> "), echo("other")])

    reply = colour.call(models["parrot"], "Hi")

    assert reply.text == "> Hi"
    assert reply.meta.config_name == "parrot"


def test_models_are_a_mapping_that_names_what_was_meant() -> None:
    models = modelwrap.load([echo(), echo("gpt", model="gpt-4o"), echo("gpt-long", model="gpt-4o")])

    assert list(models) == ["parrot", "gpt", "gpt-long"]
    assert len(models) == 3
    assert "gpt-4o" not in models
    assert models.get("gpt-4o") is None
    assert models.config("gpt").model == "gpt-4o"
    assert repr(models) == "<Models 'parrot', 'gpt', 'gpt-long'>"
    with pytest.raises(UnknownModel) as caught:
        models["Parot"]
    assert str(caught.value) == (
        "there is no model 'Parot'; did you mean 'parrot'? loaded are 'parrot', 'gpt', 'gpt-long'"
    )
    with pytest.raises(KeyError) as by_model:
        models["gpt-4o"]
    assert type(by_model.value) is UnknownModel
    assert str(by_model.value) == (
        "'gpt-4o' is not a config_name but a model; the configs for it are 'gpt', 'gpt-long'"
    )
    with pytest.raises(UnknownModel):
        models.config("nobody")


def test_load_leaves_the_process_as_it_was() -> None:
    modelwrap.load(echo())

    with pytest.raises(UnknownModel, match=r"no models are loaded; call modelwrap\.init\(model_configs=…\) first"):
        modelwrap.get_model("parrot")


def test_init_adds_to_what_is_there() -> None:
    modelwrap.init(echo())
    models = modelwrap.init(model_configs=[echo("other")])

    assert list(models) == ["parrot", "other"]
    assert list(modelwrap.init()) == ["parrot", "other"]
    assert modelwrap.get_model("other") is models["other"]


def test_equal_content_under_a_name_is_nothing_new() -> None:
    modelwrap.init([echo(), {"type": "parrot", "name": "parrot"}])
    model = modelwrap.get_model("parrot")

    modelwrap.init(echo(model="parrot"))

    assert modelwrap.get_model("parrot") is model


def test_other_content_under_a_name_is_an_error_that_names_both_places(tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    path.write_text('[\n {"model_type": "echo", "config_name": "parrot"}]')
    modelwrap.init(path)

    with pytest.raises(ConfigError) as caught:
        modelwrap.init([echo("new"), echo(prefix="> ")])

    assert str(caught.value) == (
        f"model_configs[1] \"parrot\": config_name: 'parrot' stands for something else already, at {path}:2:40"
        "; init(…, replace=True) puts this in its place"
    )
    assert list(modelwrap.init()) == ["parrot"]


def test_one_name_for_two_things_in_one_load_is_an_error_even_when_replacing() -> None:
    with pytest.raises(ConfigError, match="config_name: 'parrot' stands for something else already, at model_confi"):
        modelwrap.init([echo(), echo(prefix="> ")], replace=True)


def test_a_name_is_replaced_where_that_is_asked_for() -> None:
    modelwrap.init([echo(), echo("other")])
    old, other = modelwrap.get_model("parrot"), modelwrap.get_model("other")

    modelwrap.init([echo(prefix="> "), echo("other")], replace=True)

    assert modelwrap.get_model("parrot")("Hi").text == "> Hi"
    assert modelwrap.get_model("other") is other
    assert (inner(old).closed, inner(other).closed) == (1, 0)


def test_an_error_leaves_everything_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ECHO_API_KEY", raising=False)
    made: list[Echo] = []
    monkeypatch.setattr(Echo, "from_config", lambda config: made.append(Echo(config)) or made[-1])
    modelwrap.init(echo("first"))

    with pytest.raises(MissingSecret):
        modelwrap.init([echo("second"), echo("third", needs_key=True)])

    assert list(modelwrap.init()) == ["first"]
    assert [(model.name, model.closed) for model in made] == [("first", 0), ("second", 1)]


def test_mistakes_in_reading_and_in_making_are_told_together_with_their_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ECHO_API_KEY", raising=False)
    path = tmp_path / "models.json"
    path.write_text(
        '[{"model_type": "echo", "config_name": "a", "needs_key": true},\n'
        ' {"model_type": "echo", "config_name": "b", "zzz": 1}]'
    )

    with pytest.raises(ConfigError) as caught:
        modelwrap.load([path, "missing.json"])

    lines = [line.partition(";")[0].strip() for line in str(caught.value).splitlines()[1:]]
    assert [line.partition(" (looked")[0] for line in lines] == [
        "missing.json: there is no such file",
        f"{path}:2:45: [1].zzz: unknown key",
        f"{path}:1:2: [0].api_key: no api_key, and ECHO_API_KEY is not set",
    ]


def test_an_error_in_making_points_at_the_key_that_it_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(config: Any) -> Echo:
        raise ConfigError("client_args.base_url: is not mine")

    monkeypatch.setattr(Echo, "from_config", refuse)
    path = tmp_path / "models.json"
    path.write_text('{"model_type": "echo", "config_name": "a",\n "client_args": {"base_url": "x"}}')

    with pytest.raises(ConfigError) as caught:
        modelwrap.load(path)

    assert str(caught.value) == f"{path}:2:30: client_args.base_url: is not mine"


def test_models_that_are_ready_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    keyless = {"model_type": "openai", "config_name": "fast", "model": "m", "preset": "groq"}
    made = []
    begin = Echo.__init__

    def count(model: Echo, config: EchoConfig) -> None:
        made.append(config.config_name)
        begin(model, config)

    monkeypatch.setattr(Echo, "__init__", count)

    models, unready = load_ready([echo(), keyless, echo("other"), echo()])

    assert made == list(models) == ["parrot", "other"]
    assert [one.name for one in unready] == ["fast"]


def test_nothing_stays_open_of_configs_with_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    monkeypatch.setattr(Echo, "close", lambda model: closed.append(model.name))

    with pytest.raises(ConfigError, match="'parrot' stands for something else already, at [^;]*$"):
        load_ready([echo(), echo(prefix="> "), echo("other")])

    assert sorted(closed) == ["other", "parrot"]


def test_plugins_bring_model_types(tmp_path: Path) -> None:
    plugin = tmp_path / "shout.py"
    plugin.write_text(
        "import modelwrap\nfrom tests.echo import Echo\nclass Shout(Echo): pass\nmodelwrap.register('shout', Shout)\n"
    )
    config = {"model_type": "shout", "config_name": "loud"}

    assert modelwrap.load(config, plugins=[plugin])["loud"]("Hi").text == "Hi"
    assert "loud" in modelwrap.init(config, plugins=str(plugin))
    assert "loud" in modelwrap.init(config, plugins=plugin)


def test_a_model_may_call_init_while_it_is_made() -> None:
    class Pair(Echo):
        @classmethod
        def from_config(cls, config: EchoConfig) -> Pair:
            modelwrap.init(echo("partner"))
            return cls(config)

    modelwrap.register("pair", Pair)

    modelwrap.init(echo("whole", model_type="pair"))

    assert set(modelwrap.init()) == {"whole", "partner"}


def test_a_class_that_makes_no_model_is_named() -> None:
    class Wrong(Echo):
        @classmethod
        def from_config(cls, config: EchoConfig) -> Any:
            return config

    modelwrap.register("wrong", Wrong)

    with pytest.raises(ConfigError, match=r'"parrot": model_type: the class of \'wrong\' made EchoConfig of a config'):
        modelwrap.load(echo(model_type="wrong"))


def test_a_copied_agent_keeps_its_model() -> None:
    model = modelwrap.load(echo())["parrot"]
    agent = {"model": model, "memory": ["Hi"]}

    copied = copy.deepcopy(agent)

    assert copied["model"] is model
    assert copied["memory"] is not agent["memory"]


def test_closing_reaches_every_model() -> None:
    with modelwrap.load([echo(), echo("other")]) as models:
        parrots = [inner(model) for model in models.values()]

    async def close_all() -> None:
        async with models:
            pass

    asyncio.run(close_all())
    assert [parrot.closed for parrot in parrots] == [2, 2]


def test_clear_forgets_and_frees() -> None:
    modelwrap.init(echo())
    parrot = inner(modelwrap.get_model("parrot"))

    modelwrap.clear()

    assert parrot.closed == 1
    assert len(modelwrap.init()) == 0


def test_threads_may_add_at_the_same_time() -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda index: modelwrap.init([echo(f"m{index}"), echo("shared")]), range(100)))

    assert set(modelwrap.init()) == {"shared", *(f"m{index}" for index in range(100))}
    assert modelwrap.get_model("shared") is modelwrap.get_model("shared")


@pytest.mark.parametrize(
    "config, unread",
    [
        ({"model_type": "claude", "organization": "org"}, ["organization"]),
        ({"model_type": "claude", "client_args": {"project": "p"}}, ["client_args.project"]),
        (
            {"model_type": "gemini", "organization": "org", "client_args": {"project": "p"}},
            ["organization", "client_args.project"],
        ),
        ({"model_type": "gemini", "client_args": {"project": "p", "vertexai": True}}, []),
        ({"model_type": "gemini_embedding", "organization": "org"}, ["organization"]),
        ({"model_type": "openai", "organization": "org", "client_args": {"project": "p"}}, []),
        ({"model_type": "llama_cpp", "organization": "org"}, ["organization", "api_key"]),
        ({"model_type": "transformers", "api_key": "EMPTY"}, []),
    ],
)
def test_keys_that_a_model_type_has_no_use_for_are_warned_of(config: dict[str, Any], unread: list[str]) -> None:
    given = {"config_name": "it", "model": "m", "api_key": "k" * 20, **config}

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        modelwrap.load(given)

    assert [str(warning.message) for warning in caught] == [
        f'model_configs "it": {key}: is not read by this model type; take it out' for key in unread
    ]
