from __future__ import annotations

import pickle
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from modelwrap import registry
from modelwrap.errors import ConfigError
from modelwrap.plugins import load_plugin

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


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "shout.py"
    path.write_text(PLUGIN)
    return path


def test_a_plugin_is_a_file_that_registers_and_runs_once(plugin: Path) -> None:
    module = load_plugin(plugin)

    assert load_plugin(str(plugin)) is module
    assert load_plugin(module) is module
    assert registry.resolve("shout") is module.Shout
    assert pickle.loads(pickle.dumps(module.Shout)) is module.Shout


def test_threads_that_load_one_plugin_wait_until_it_has_run(plugin: Path) -> None:
    plugin.write_text(f"import time\ntime.sleep(0.1)\n{PLUGIN}")
    found: list[type] = []

    def load() -> None:
        load_plugin(plugin)
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
    outer.write_text(f"from modelwrap.plugins import load_plugin\nload_plugin({str(plugin)!r})\n")

    load_plugin(outer)

    assert registry.is_registered("shout")


@pytest.mark.parametrize("given", [3, None, b"shout.py", "no\0name.py", "~nobody-of-this-name/shout.py"])
def test_what_can_be_no_path_is_no_plugin(given: Any) -> None:
    with pytest.raises(ConfigError, match="plugin is|a path must be|home directory"):
        load_plugin(given)


def test_a_plugin_that_fails_is_named_and_forgotten(plugin: Path) -> None:
    before = set(sys.modules)
    plugin.write_text("1 / 0")

    with pytest.raises(ConfigError, match=r"shout\.py: ZeroDivisionError: division by zero") as caught:
        load_plugin(plugin)

    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert not any("shout" in name for name in set(sys.modules) - before)


def test_a_plugin_that_stops_the_program_stops_it(plugin: Path) -> None:
    plugin.write_text("raise SystemExit(3)")

    with pytest.raises(SystemExit):
        load_plugin(plugin)


@pytest.mark.parametrize("name", ["missing.py", "notes.txt", "."])
def test_what_is_no_python_file_is_no_plugin(name: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")

    with pytest.raises(ConfigError, match="there is no such Python file"):
        load_plugin(tmp_path / name)


def test_a_module_is_taken_as_a_plugin() -> None:
    module = ModuleType("mine")

    assert load_plugin(module) is module


def test_a_link_to_itself_and_a_name_too_long_are_no_plugin(tmp_path: Path) -> None:
    (tmp_path / "loop.py").symlink_to(tmp_path / "loop.py")

    for given in (tmp_path / "loop.py", f"{'a' * 5000}.py"):
        with pytest.raises(ConfigError, match="there is no such Python file"):
            load_plugin(given)
