from __future__ import annotations

import pickle
import sys
import threading
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from modelwrap import registry
from modelwrap.errors import ConfigError, UnknownModelType
from tests.echo import Echo

pytestmark = pytest.mark.usefixtures("echo_type")

PLUGIN = """
import modelwrap
from modelwrap.config import ModelConfig

class Shout:
    Config = ModelConfig

    @classmethod
    def from_config(cls, config):
        return cls()

modelwrap.register("shout", Shout)
"""


class Other(Echo):
    pass


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "shout.py"
    path.write_text(PLUGIN)
    return path


def test_a_class_is_found_by_its_name_and_aliases() -> None:
    assert registry.resolve("echo") is Echo
    assert registry.resolve("parrot") is Echo
    assert registry.canonical("parrot") == "echo"
    assert registry.aliases_of("echo") == ["parrot"]
    assert "echo" in registry.names()
    assert "parrot" not in registry.names()
    assert "parrot" in registry.names(aliases=True)


def test_a_dotted_path_is_imported_when_it_is_asked_for() -> None:
    registry.register("late", "tests.echo:Echo")
    registry.register("never", "no_such_package:Echo")
    registry.register("nothing", "tests.echo:Nothing")
    registry.register("no_class", "tests.echo:echo")

    assert registry.resolve("late") is Echo
    for name, words in [
        ("never", "should be no_such_package:Echo, which cannot be imported: No module named"),
        ("nothing", "should be tests.echo:Nothing, which cannot be imported"),
        ("no_class", "its class needs a classmethod from_config"),
    ]:
        with pytest.raises(ConfigError, match=words):
            registry.resolve(name)


@pytest.mark.parametrize("target", ["tests.echo", "tests.echo:", "a:b:c", 5, object, Echo.from_config])
def test_a_target_that_makes_no_models_is_refused(target: object) -> None:
    with pytest.raises(ConfigError):
        registry.register("wrong", target)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        registry.register("", Echo)


def test_a_name_is_taken_once_unless_it_is_replaced() -> None:
    registry.register("echo", Echo)
    with pytest.raises(ConfigError, match=r"'echo' is registered already; register\(…, replace=True\)"):
        registry.register("echo", Other)
    with pytest.raises(ConfigError, match="'parrot' is registered already"):
        registry.register("other", Other, aliases=["parrot"])

    registry.register("parrot", Other, replace=True)

    assert registry.resolve("parrot") is Other
    assert registry.resolve("echo") is Echo


def test_an_unknown_type_is_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(UnknownModelType) as caught:
        registry.resolve("opneai")

    assert str(caught.value).startswith(
        "there is no model type 'opneai'; did you mean 'openai'? known are azure_openai, azure_openai_dall_e,"
    )


@pytest.mark.parametrize(
    "name, canonical",
    [
        ("openai_chat", "openai"),
        ("OpenAIChatWrapper", "openai"),
        ("OpenAIDALLEWrapper", "openai_dall_e"),
        ("post_api_dalle", "post_api_dall_e"),
        ("PostAPIModelWrapperBase", "post_api"),
    ],
)
def test_names_of_older_files_are_aliases(name: str, canonical: str) -> None:
    assert registry.canonical(name) == canonical


def test_other_packages_bring_types_by_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    found = EntryPoints([EntryPoint("foreign", "tests.echo:Echo", registry.ENTRY_POINTS)])
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: found)

    assert registry.resolve("foreign") is Echo
    assert "foreign" in registry.names()


def test_a_plugin_is_a_file_that_registers_and_runs_once(plugin: Path) -> None:
    module = registry.load_plugin(plugin)

    assert registry.load_plugin(str(plugin)) is module
    assert registry.load_plugin(module) is module
    assert registry.resolve("shout") is module.Shout
    assert pickle.loads(pickle.dumps(module.Shout)) is module.Shout


def test_threads_that_load_one_plugin_wait_until_it_has_run(plugin: Path) -> None:
    plugin.write_text(f"import time\ntime.sleep(0.1)\n{PLUGIN}")
    found: list[type] = []

    def load() -> None:
        registry.load_plugin(plugin)
        found.append(registry.resolve("shout"))

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 4
    assert len(set(found)) == 1


def test_a_plugin_may_load_another(plugin: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer.py"
    outer.write_text(f"from modelwrap import registry\nregistry.load_plugin({str(plugin)!r})\n")

    registry.load_plugin(outer)

    assert registry.is_registered("shout")


@pytest.mark.parametrize("given", [3, None, b"shout.py", "no\0name.py", "~nobody-of-this-name/shout.py"])
def test_what_can_be_no_path_is_no_plugin(given: Any) -> None:
    with pytest.raises(ConfigError, match="plugin is|a path must be|home directory"):
        registry.load_plugin(given)


def test_aliases_are_no_single_text() -> None:
    with pytest.raises(ConfigError, match=r"aliases are a list, as in aliases=\['parrots'\]"):
        registry.register("late", Echo, aliases="parrots")


def test_a_plugin_that_fails_is_named_and_forgotten(plugin: Path) -> None:
    before = set(sys.modules)
    plugin.write_text("1 / 0")

    with pytest.raises(ConfigError, match=r"shout\.py: ZeroDivisionError: division by zero") as caught:
        registry.load_plugin(plugin)

    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert not any("shout" in name for name in set(sys.modules) - before)


def test_a_plugin_that_stops_the_program_stops_it(plugin: Path) -> None:
    plugin.write_text("raise SystemExit(3)")

    with pytest.raises(SystemExit):
        registry.load_plugin(plugin)


@pytest.mark.parametrize("name", ["missing.py", "notes.txt", "."])
def test_what_is_no_python_file_is_no_plugin(name: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")

    with pytest.raises(ConfigError, match="there is no such Python file"):
        registry.load_plugin(tmp_path / name)


def test_a_module_is_taken_as_a_plugin() -> None:
    module = ModuleType("mine")

    assert registry.load_plugin(module) is module
