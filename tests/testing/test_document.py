"""What docs/testing.md shows is followed as a reader would, with loopback in the provider's place."""

from __future__ import annotations

import doctest
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import modelwrap
from modelwrap.testing import fake, installing
from modelwrap.testing.faults import server as faults
from tests.loopback import Answer, Asked, Loopback, json_answer

pytest_plugins = ["pytester"]

DOCUMENT = Path(__file__).parents[2] / "docs" / "testing.md"
BLOCK = re.compile(r"^```(?:python|json)\n(?:#|//) (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ANY_BLOCK = re.compile(r"^```(python|json)$", re.MULTILINE)


def answer(asked: Asked) -> Answer:
    message = {"role": "assistant", "content": "It is 5."}
    if asked.body["messages"][-1]["role"] == "user":
        function = {"name": "add", "arguments": '{"a": 2, "b": 3}'}
        message = {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "function": function}]}
    body = {"id": "r", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    return json_answer(body)


@pytest.fixture
def folder(pytester: pytest.Pytester, server: Loopback, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.Pytester]:
    server.script(answer)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    pytester.syspathinsert()
    for name, text in BLOCK.findall(DOCUMENT.read_text("utf-8")):
        (pytester.path / name).write_text(text, "utf-8")
    modelwrap.clear()
    yield pytester
    modelwrap.clear()


def test_every_block_is_a_file_that_is_run() -> None:
    text = DOCUMENT.read_text("utf-8")

    names = [name for name, _ in BLOCK.findall(text)]

    assert len(names) == len(set(names)) == len(ANY_BLOCK.findall(text))
    assert {name for name in names if not name.startswith("test_")} == {
        "agent.py", "models.json", "make_recording.py", "conftest.py",
    }  # fmt: skip


def test_what_the_document_shows_works(folder: pytest.Pytester, server: Loopback) -> None:
    options = ["-p", "modelwrap.testing.fixtures", "-p", "no:cacheprovider", "-W", "error"]

    runpy.run_path(str(folder.path / "make_recording.py"))
    recorded = folder.runpytest_inprocess(*options, "--modelwrap-record", "test_with_fixtures.py")
    asked = len(server.asked)
    played = folder.runpytest_inprocess(*options)

    recorded.assert_outcomes(passed=2)
    played.assert_outcomes(passed=12)
    assert asked == len(server.asked) == 4


def test_the_table_of_faults_is_what_the_code_says() -> None:
    build = runpy.run_path(str(DOCUMENT.parent / "build.py"))
    text = DOCUMENT.read_text("utf-8")

    assert build["with_faults"](text) == text, "docs/testing.md is stale: run make docs"


@pytest.mark.parametrize("module", [fake, faults, installing], ids=lambda module: module.__name__)
def test_what_the_docstrings_show_works(module: ModuleType) -> None:
    result = doctest.testmod(module)

    assert result.attempted > 0
    assert result.failed == 0
