"""What `make mutate` makes of what mutmut found."""

from __future__ import annotations

import subprocess
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from proof import mutate

ROOT = Path(__file__).parent.parent


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[mutate.Outcome]:
    """Be what mutmut has found, without its running."""
    outcomes: list[mutate.Outcome] = []
    monkeypatch.setattr(mutate, "_outcomes", lambda: iter(outcomes))
    monkeypatch.setattr(mutate.shutil, "rmtree", lambda *_, **__: None)
    monkeypatch.setattr(mutate.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0))
    return outcomes


def outcome(module: str, **counts: int) -> mutate.Outcome:
    return mutate.Outcome(module, Counter(counts), ["a mistake"] * counts.get("survived", 0))


def test_enough_noticed_is_success(found: list[mutate.Outcome], capsys: pytest.CaptureFixture[str]) -> None:
    found += [outcome("a.py", killed=80, timeout=5, survived=15), outcome("b.py", killed=3)]

    code = mutate.main([])

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["a.py", "100", "80", "5", "15", "85.0", "%"] in lines
    assert ["b.py", "3", "3", "0", "0", "100.0", "%"] in lines
    assert lines.count(["a", "mistake"]) == 15
    assert code == 0


def test_too_little_noticed_in_one_module_is_failure(
    found: list[mutate.Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    found += [outcome("a.py", killed=1000), outcome("b.py", killed=84, survived=16)]

    code = mutate.main([])

    assert "84.0 %  less than 85 %" in capsys.readouterr().out
    assert code == 1


def test_what_no_test_touches_is_not_noticed() -> None:
    assert outcome("a.py", **{"no tests": 10}).noticed == 0


def test_nothing_tried_is_failure(found: list[mutate.Outcome]) -> None:
    assert mutate.main([]) == 1


def test_every_module_and_test_that_is_named_is_there() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mutmut"]

    named = [*settings["only_mutate"], *settings["pytest_add_cli_args_test_selection"]]

    assert [path for path in named if not (ROOT / path).is_file()] == []
