"""Replicas on a processor leave each other room: the threads of torch are divided among them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

import modelwrap
from modelwrap.local.transformers import threads
from modelwrap.local.transformers.threads import Threads
from tests.local.transformers import tiny

pytestmark = [pytest.mark.xdist_group("torch"), pytest.mark.timeout(60)]


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be a machine on which torch takes eight threads."""
    before = torch.get_num_threads()
    monkeypatch.setattr(threads, "_all", lambda: 8)
    yield
    torch.set_num_threads(before)


def taken(*shares: tuple[str, ...], device: str = "cpu", fixed: int = 0) -> list[int]:
    """Give with how many threads a replica computes that is told of one set of replicas after the other."""

    def told() -> list[int]:
        torch.set_num_threads(8)
        mine = Threads(device, fixed)
        found = []
        for devices in shares:
            mine.share(devices)
            found.append(torch.get_num_threads())
        mine.give_back()
        return [*found, torch.get_num_threads()]

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(told).result()


@pytest.mark.usefixtures("cores")
def test_replicas_on_a_processor_share_its_cores_as_they_come_and_go() -> None:
    pair, crowd = ("cpu", "cpu"), ("cpu",) * 9

    assert taken(("cpu",), pair, (*pair, "cpu"), crowd, pair, ("cpu",)) == [8, 4, 2, 1, 4, 8, 8]
    assert taken(("cuda:0", "cpu", "cuda:1", "cpu")) == [4, 8]
    assert taken(("cuda:0", "cuda:0"), device="cuda:0") == [8, 8]


@pytest.mark.usefixtures("cores")
def test_a_config_may_say_how_many_threads_each_takes() -> None:
    assert taken(("cpu",), ("cpu", "cpu"), fixed=3) == [3, 3, 8]


@pytest.mark.parametrize(
    "config, wanted", [({"devices": ["cpu", "cpu"]}, 4), ({"devices": ["cpu"], "n_threads": 3}, 3)]
)
@pytest.mark.parametrize("model_type", ["transformers", "transformers_embedding"])
@pytest.mark.usefixtures("cores")
def test_a_model_computes_with_the_threads_of_its_share(model_type: str, config: dict[str, Any], wanted: int) -> None:
    chat = model_type == "transformers"
    folder = tiny.llama() if chat else tiny.bert()
    named = {"model_type": model_type, "config_name": "shared", "model": str(folder)}
    model: Any = modelwrap.load({**named, **config})["shared"]
    seen: list[int] = []
    parameters = {"max_tokens": 2} if chat else {}

    model.load()
    for live in model.model._builder._live:
        live().register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    with ThreadPoolExecutor(4) as callers:
        list(callers.map(lambda _: model("Hi", **parameters), range(4)))
    model.close()

    assert set(seen) == {wanted}
    with ThreadPoolExecutor(1) as afterwards:
        assert afterwards.submit(torch.get_num_threads).result() == 8
