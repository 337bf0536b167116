from __future__ import annotations

import asyncio
from pathlib import Path

import modelwrap
from modelwrap.testing import FakeModel
from tests.loopback import Loopback, json_answer
from tests.typed import user_script


def test_what_the_type_checker_is_told_is_true() -> None:
    assert user_script.ask(FakeModel(["Oder"])) == "Oder"
    assert user_script.read(FakeModel(["Oder", "never read"])) == "Oder"
    assert asyncio.run(user_script.ask_at_once(FakeModel(["Oder", "Elbe", "never read"]))) == "Oder"
    assert user_script.ask_either_way(FakeModel(["Oder"]), stream=True) == "Oder"
    assert user_script.survive(FakeModel([modelwrap.RateLimited("no", retry_after=2.5)])) == 2.5


def test_replies_that_are_no_chat_are_told_apart(server: Loopback, tmp_path: Path) -> None:
    pixel = {"b64_json": "iVBORw0KGgo="}
    vectors = [{"object": "embedding", "index": place, "embedding": [0.5, place]} for place in range(2)]
    server.script(json_answer({"data": vectors}), json_answer({"created": 1, "data": [pixel]}))
    args = {"base_url": server.base_url}
    models = modelwrap.load(
        [
            {"config_name": "vectors", "model_type": "openai_embedding", "client_args": args},
            {"config_name": "pictures", "model_type": "openai_dall_e", "client_args": args},
        ]
    )

    assert user_script.vectors(models["vectors"]) == [[0.5, 0.0], [0.5, 1.0]]
    assert user_script.saved(models["pictures"], tmp_path) == [tmp_path / "image-1.png"]


def test_a_model_is_typed_by_name() -> None:
    try:
        assert isinstance(user_script.configure("http://localhost:8000/v1"), modelwrap.Model)
    finally:
        modelwrap.clear()
