from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import modelwrap
from modelwrap.errors import ConfigError, UnknownModel
from modelwrap.testing import FakeModel, use_fake

CONFIG = {"config_name": "gpt", "model_type": "openai", "api_key": "k" * 20}


@pytest.fixture(autouse=True)
def nothing_loaded() -> Iterator[None]:
    modelwrap.clear()
    yield
    modelwrap.clear()


def test_a_fake_stands_under_its_name_while_the_block_lasts() -> None:
    with use_fake("gpt", ["Hello"]) as model:
        reply = modelwrap.get_model("gpt")("Hi")

    assert reply.text == "Hello"
    assert reply.meta.config_name == "gpt"
    assert model.calls[0].messages == "Hi"
    with pytest.raises(UnknownModel, match="init"):
        modelwrap.get_model("gpt")


def test_a_fake_stands_before_a_model_of_a_config() -> None:
    modelwrap.init(CONFIG)
    real = modelwrap.get_model("gpt")

    with use_fake("gpt", FakeModel("Hello")) as model:
        models = modelwrap.init(CONFIG)
        found = modelwrap.get_model("gpt")
        listed = (list(models), len(models), "gpt" in models)

    assert found is model
    assert listed == (["gpt"], 1, True)
    assert modelwrap.get_model("gpt") is real


def test_fakes_of_one_name_nest_and_those_of_others_stay() -> None:
    with use_fake("a", "outer"), use_fake("b", "other"):
        with use_fake("a", "inner"):
            inner = modelwrap.get_model("a")("Hi").text
        texts = [modelwrap.get_model(name)("Hi").text for name in "ab"]

    assert inner == "inner"
    assert texts == ["outer", "other"]


def test_fakes_of_one_name_may_end_in_any_order() -> None:
    first, second = use_fake("gpt", "first"), use_fake("gpt", "second")

    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    left = modelwrap.get_model("gpt")("Hi").text
    second.__exit__(None, None, None)

    assert left == "second"
    with pytest.raises(UnknownModel):
        modelwrap.get_model("gpt")


def test_functions_of_both_colours_are_decorated() -> None:
    @use_fake("gpt", ["Hello"])
    def plain() -> str:
        return modelwrap.get_model("gpt")("Hi").text

    @use_fake("gpt", ["Hello"])
    async def concurrent() -> str:
        return (await modelwrap.get_model("gpt").acall("Hi")).text

    assert [plain(), plain(), asyncio.run(concurrent())] == ["Hello"] * 3


def test_a_fake_is_named_like_any_model_and_has_no_config() -> None:
    with use_fake("worker", ["Hello"]):
        models = modelwrap.init()
        with pytest.raises(UnknownModel, match="did you mean 'worker'"):
            modelwrap.get_model("wroker")
        with pytest.raises(UnknownModel):
            models.config("worker")

        assert repr(models) == "<Models 'worker'>"


def test_of_a_fake_alone_there_is_no_config() -> None:
    with use_fake("gpt", "Hello"):
        models = modelwrap.init()

        with pytest.raises(UnknownModel, match="^'gpt' is a stand-in, which has no config$"):
            models.config("gpt")


@pytest.mark.parametrize("name", ["", 3, None, ["Hello"]])
def test_a_name_that_no_model_can_have_is_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match="the name of a model is a text, not"):
        use_fake(name, "gpt")
