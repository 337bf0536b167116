from __future__ import annotations

import asyncio

import modelwrap
from modelwrap.testing import FakeModel
from tests.typed import user_script


def test_what_the_type_checker_is_told_is_true() -> None:
    assert user_script.ask(FakeModel(["Oder"])) == "Oder"
    assert user_script.read(FakeModel(["Oder", "never read"])) == "Oder"
    assert asyncio.run(user_script.ask_at_once(FakeModel(["Oder", "Elbe", "never read"]))) == "Oder"
    assert user_script.ask_either_way(FakeModel(["Oder"]), stream=True) == "Oder"
    assert user_script.survive(FakeModel([modelwrap.RateLimited("no", retry_after=2.5)])) == 2.5


def test_a_model_is_typed_by_name() -> None:
    try:
        assert isinstance(user_script.configure("http://localhost:8000/v1"), modelwrap.Model)
    finally:
        modelwrap.clear()
