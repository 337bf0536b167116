"""Models of objects in hand, of model_entrypoint.py, and of what plugins registered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import modelwrap
from modelwrap import registry
from modelwrap.cli import main
from modelwrap.errors import ConfigError, WouldDeadlock
from modelwrap.local.transformers import entries
from modelwrap.local.transformers.loading import Checkpoint, load
from tests.local.transformers import tiny

pytestmark = [pytest.mark.xdist_group("torch"), pytest.mark.timeout(60)]

GREEDY = {"max_tokens": 6, "temperature": 0}


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(entries, "_entries", {})
    modelwrap.clear()
    yield
    modelwrap.clear()


def parts(family: str = "llama") -> dict[str, Any]:
    loaded = load(Checkpoint(family, str(getattr(tiny, family)())), "cpu")
    return {"model": loaded.model, "tokenizer": loaded.tokenizer, "processor": loaded.processor}


def from_config(family: str = "llama", **config: Any) -> modelwrap.Model:
    named = {"config_name": "loaded", "model_type": "transformers", "model": str(getattr(tiny, family)())}
    return modelwrap.load({**named, **config})["loaded"]


def test_objects_in_hand_answer_as_their_files_do() -> None:
    held = modelwrap.from_transformers(**parts(), name="held")

    reply = modelwrap.get_model("held")("Name three rivers.", **GREEDY)

    assert modelwrap.get_model("held") is held
    assert reply.text == from_config()("Name three rivers.", **GREEDY).text
    assert reply.meta.config_name == "held"


def test_a_tokenizer_may_live_inside_its_processor() -> None:
    held = parts("llava")
    model = modelwrap.from_transformers(model=held["model"], processor=held["processor"], name="sees")

    reply = model("Name three rivers.", **GREEDY)

    assert reply.text == from_config("llava")("Name three rivers.", **GREEDY).text


def test_a_dict_or_an_object_of_hooks_is_taken_as_it_is() -> None:
    class Info:
        model_name = "mine"

        def __init__(self) -> None:
            held = parts()
            self.model, self.tokenizer = held["model"], held["tokenizer"]

        def decode(self, ids: Any, **named: Any) -> str:
            return f"<{len(ids)}>"

    of_object = modelwrap.from_transformers(Info())
    of_dict = modelwrap.from_transformers({"model_name": "dict", **parts()}, name="other")

    assert "<" in of_object("Hi", **GREEDY).text
    assert of_object.name == "mine"
    assert of_dict("Hi", **GREEDY).model == "dict"


def test_hooks_may_lie_over_a_model_that_is_loaded() -> None:
    seen: list[Any] = []

    def apply_chat_template(messages: Any, **named: Any) -> str:
        seen.append(messages)
        return "Name three rivers."

    model = modelwrap.from_transformers(model=tiny.llama(), apply_chat_template=apply_chat_template, name="hooked")

    model("anything", **GREEDY)

    assert seen[0][0]["content"] == "anything"
    assert model.live.config.model_type == "llama"  # type: ignore[attr-defined] # of this type of model


def test_the_same_objects_twice_are_nothing_and_others_an_error() -> None:
    held = parts()
    first = modelwrap.from_transformers(**held, name="held")

    again = modelwrap.from_transformers(**held, name="held")
    with pytest.raises(ConfigError, match="'held' stands for something else already.*replace=True"):
        modelwrap.from_transformers(**parts(), name="held")
    with pytest.raises(ConfigError, match="'held' stands for something else already"):
        modelwrap.from_transformers(**held, name="held", batch_size=2)
    replaced = modelwrap.from_transformers(**parts(), name="held", replace=True)

    assert again is first
    assert replaced is not first
    assert modelwrap.get_model("held") is replaced


def test_what_is_no_hook_is_a_key_of_the_config() -> None:
    with pytest.raises(ConfigError, match='batch_sise: unknown key; did you mean "batch_size"'):
        modelwrap.from_transformers(**parts(), name="held", batch_sise=2)
    with pytest.raises(ConfigError, match="there is no model=… among what was given"):
        modelwrap.from_transformers(tokenizer=parts()["tokenizer"], name="held")
    with pytest.raises(ConfigError, match="give model=… and tokenizer=…"):
        modelwrap.from_transformers(name="held")


def test_an_object_is_in_one_place() -> None:
    held: Any = modelwrap.from_transformers(**parts(), name="held")

    with pytest.raises(ConfigError, match="a model object is in one place"):
        held.add_replica("cpu")
    with pytest.raises(ConfigError, match="devices: a model object is in one place"):
        modelwrap.from_transformers(**parts(), name="two", devices=["cpu", "cpu"])
    with pytest.raises(ConfigError, match="worker: objects in hand are in this process"):
        modelwrap.from_transformers(**parts(), name="apart", worker="process")


ENTRYPOINT = """
from modelwrap.local.transformers.loading import Checkpoint, load

loaded = load(Checkpoint("entry", {folder!r}), "cpu")
model_info = {{"model_name": "entry", "model": loaded.model, "tokenizer": loaded.tokenizer}}
"""


def test_the_entrypoint_in_the_working_folder_is_found_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model_entrypoint.py").write_text(ENTRYPOINT.format(folder=str(tiny.llama())))
    monkeypatch.chdir(tmp_path)

    model = modelwrap.from_entrypoint()

    assert model("Name three rivers.", **GREEDY).text == from_config()("Name three rivers.", **GREEDY).text
    assert modelwrap.get_model("entry") is model
    assert modelwrap.from_entrypoint() is model


def test_a_variable_names_another_entrypoint_and_the_command_line_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "elsewhere.py"
    path.write_text(ENTRYPOINT.format(folder=str(tiny.llama())))
    monkeypatch.setenv("ENTRYPOINT", str(path))

    code = main(["chat", "--entrypoint", "Name three rivers.", "-p", "max_tokens=6", "-p", "temperature=0"])

    assert code == 0
    assert capsys.readouterr().out.strip() == from_config()("Name three rivers.", **GREEDY).text.strip()


def test_an_entrypoint_that_is_missing_or_sets_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.py").write_text("")

    with pytest.raises(ConfigError, match=r"model_entrypoint\.py: there is no such Python file"):
        modelwrap.from_entrypoint()
    with pytest.raises(ConfigError, match="sets no model_info"):
        modelwrap.from_entrypoint(tmp_path / "empty.py")


class Parrot:
    """Be an entry class as Model Server has them."""

    devices: ClassVar[list[str]] = []

    def __init__(self, prefix: str, mark: str = "!") -> None:
        self.prefix, self.mark = prefix, mark

    def activate(self, device: str) -> None:
        self.devices.append(device)

    def deactivate(self) -> None:
        self.devices.append("gone")

    def inference(self, batch: list[list[dict[str, str]]], temperature: float) -> list[str]:
        return [f"{self.prefix}{messages[-1]['content']}{self.mark}" for messages in batch]


@pytest.fixture
def parrot() -> type[Parrot]:
    Parrot.devices = []
    modelwrap.register_entry("parrot", Parrot)
    return Parrot


def entry_config(**config: Any) -> modelwrap.Model:
    named = {"config_name": "bird", "model_type": "transformers", "entry": "parrot", "entry_args": ["say "]}
    return modelwrap.load({**named, **config})["bird"]


def test_a_config_names_a_class_that_was_registered(parrot: type[Parrot]) -> None:
    model = entry_config(devices=["cpu"])

    replies = [model("hello").text, model("you", temperature=0.1).text]
    model.close()

    assert replies == ["say hello!", "say you!"]
    assert parrot.devices == ["cpu", "gone"]


@pytest.mark.parametrize("answers", [1, 2])
def test_what_nobody_counted_is_not_told_as_counted(parrot: type[Parrot], answers: int) -> None:
    model = entry_config()

    reply = model("hello", n=answers)
    with model.stream("hello", n=answers) as stream:
        streamed = stream.reply
    unasked = model.stream("hello", stream_options={"include_usage": False}).reply

    for told in (reply, streamed):
        assert told.meta.usage is None
        assert "usage" not in told.model_fields_set
        assert [str(change) for change in told.meta.changes] == [
            "usage: defaulted, nobody counted its tokens, so its zeros say nothing"
        ]
    assert (unasked.meta.usage, unasked.meta.changes) == (None, ())


def test_many_tasks_wait_for_a_model_without_a_thread_each() -> None:
    loads, go_on = threading.Event(), threading.Event()

    class Slow:
        def activate(self, device: str) -> None:
            loads.set()
            go_on.wait(10)

        def inference(self, batch: list[Any], temperature: float) -> list[str]:
            return ["done"] * len(batch)

    async def main() -> list[str]:
        tasks = [asyncio.create_task(model.acall("Hi")) for _ in range(60)]
        await asyncio.to_thread(loads.wait, 10)
        for task in tasks[:20]:
            task.cancel()
        await asyncio.wait_for(asyncio.to_thread(lambda: None), 5)
        go_on.set()
        return [reply.text for reply in await asyncio.gather(*tasks[20:])]

    modelwrap.register_entry("slow", Slow)
    model = entry_config(entry="slow", entry_args=[])

    answers = asyncio.run(main())
    model.close()

    assert answers == ["done"] * 40


def test_an_entry_is_told_the_name_of_a_device(parrot: type[Parrot]) -> None:
    model: Any = entry_config()

    model.load()
    model.close()

    assert parrot.devices[0] in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("as_dict", [True, False])
def test_a_hook_that_is_misspelt_is_answered_with_the_one_meant(as_dict: bool) -> None:
    given = {**parts(), "apply_chat_templat": str}

    with pytest.raises(ConfigError, match="unknown name 'apply_chat_templat'; did you mean 'apply_chat_template'"):
        modelwrap.from_transformers(given) if as_dict else modelwrap.from_transformers(**given, name="misspelt")


@pytest.mark.parametrize(
    "said", [{"client_args": {"dtype": "bfloat16"}}, {"devices": ["cuda:0"]}, {"hub": "modelscope"}]
)
def test_what_says_how_weights_are_loaded_is_refused_for_a_model_that_is(said: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="says how weights are loaded, and a model object is loaded already"):
        modelwrap.from_transformers(**parts(), name="loaded", **said)


def test_a_model_in_training_is_warned_of() -> None:
    held = parts()
    model: Any = modelwrap.from_transformers(**held, name="trains", batching="off")
    held["model"].train()

    with pytest.warns(modelwrap.ModelwrapWarning, match=r"is in training mode, .* its eval\(\) ends that"):
        model.load()


def test_there_is_nothing_to_fetch_for_what_brings_its_own(parrot: type[Parrot]) -> None:
    entry: Any = entry_config()
    held: Any = modelwrap.from_transformers(**parts(), name="held")

    assert entry.fetch() == held.fetch() == []


def test_arguments_of_an_entry_may_be_named(parrot: type[Parrot]) -> None:
    model = entry_config(entry_args={"prefix": "", "mark": "?"})

    text = model("hello").text
    model.close()

    assert text == "hello?"


def test_an_entry_that_cannot_be_made_says_why(parrot: type[Parrot]) -> None:
    model = entry_config(entry_args=[1, 2, 3])

    with pytest.raises(ConfigError, match="entry 'parrot': TypeError"):
        model("hello")


def test_a_function_may_give_hooks_for_a_device(tmp_path: Path) -> None:
    asked: list[str] = []

    def make(family: str, device: str) -> dict[str, Any]:
        asked.append(device)
        return {"model_name": "made", **parts(family)}

    modelwrap.register_entry("made", make)
    config = {"config_name": "x", "model_type": "transformers", "entry": "made", "entry_args": ["llama"]}
    model = modelwrap.load({**config, "devices": ["cpu"]})["x"]

    text = model("Name three rivers.", **GREEDY).text
    model.close()

    assert text == from_config()("Name three rivers.", **GREEDY).text
    assert asked == ["cpu"]


def test_a_name_that_nobody_registered_is_answered_with_those_that_are(parrot: type[Parrot]) -> None:
    model = entry_config(entry="parot")

    with pytest.raises(ConfigError, match="nothing is registered as 'parot'; did you mean 'parrot'"):
        model("hello")
    with pytest.raises(ConfigError, match="entry 'parrot' is registered already"):
        modelwrap.register_entry("parrot", dict)


def test_where_nothing_is_registered_it_is_said_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "_entries", {})

    with pytest.raises(ConfigError, match=r"nothing is registered as 'bird'; a plugin registers it: --plugin FILE\.py"):
        entries.entry("bird")


def test_a_plugin_registers_what_a_config_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = tmp_path / "bird.py"
    plugin.write_text(
        "import modelwrap\n"
        "class Echo:\n"
        "    def inference(self, batch, temperature):\n"
        "        return [messages[-1]['content'] for messages in batch]\n"
        "modelwrap.register_entry('echo', Echo)\n"
    )
    config = {"config_name": "x", "model_type": "transformers", "entry": "echo"}

    model = modelwrap.load(config, plugins=[plugin])["x"]

    assert model("hello").text == "hello"
    model.close()
    assert "echo" not in registry.names()


@pytest.mark.timeout(30)
@pytest.mark.parametrize("batching", ["auto", "off"])
@pytest.mark.parametrize("colour", ["blocking", "async"])
def test_entries_that_load_one_another_are_told_so_by_name(batching: str, colour: str) -> None:
    models: dict[str, modelwrap.Model] = {}

    def entry_that_asks(other: str) -> type:
        class Asking:
            def activate(self, device: str) -> None:
                if colour == "async":
                    asyncio.run(models[other].acall("Are you there?"))
                else:
                    models[other]("Are you there?")

            def inference(self, batch: list[Any], temperature: float) -> list[str]:
                return ["yes"] * len(batch)

        return Asking

    for name, other in (("egg", "hen"), ("hen", "egg")):
        modelwrap.register_entry(name, entry_that_asks(other), replace=True)
    config = {"model_type": "transformers", "batching": batching}
    models |= modelwrap.load([{**config, "config_name": name, "entry": name} for name in ("egg", "hen")])

    with pytest.raises(WouldDeadlock, match="hen|egg"):
        models["egg"]("Who was first?")

    for model in models.values():
        model.close()
