"""The short form of `make fuzz`: every seed is read, and a short run of each target finds nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from proof import fuzz
from proof.targets import TARGETS

SCRIPT = Path(fuzz.__file__)
SEEDS = [(target, seed) for target in TARGETS for seed in sorted((fuzz.SEEDS / target).iterdir())]

needs_atheris = pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not here; it is made for Linux")


def test_every_target_has_seeds() -> None:
    assert {target for target, _ in SEEDS} == set(TARGETS) == set(fuzz.NAMES)


@pytest.mark.parametrize("target, seed", SEEDS, ids=lambda value: getattr(value, "name", value))
def test_what_fuzzing_begins_with_is_read_as_promised(target: str, seed: Path) -> None:
    TARGETS[target](seed.read_bytes())


def run(*arguments: str | Path, script: Path = SCRIPT) -> subprocess.CompletedProcess[str]:
    # To measure coverage as well would take ten times as long.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, check=False, env=environment
    )


@needs_atheris
@pytest.mark.timeout(180)
def test_a_short_run_finds_nothing(tmp_path: Path) -> None:
    result = run("--runs", "300", "--folder", tmp_path)

    lines = [line.split() for line in result.stdout.splitlines()]
    assert [(line[0], line[-1]) for line in lines[1:]] == [(target, "nothing") for target in fuzz.NAMES]
    assert all(int(line[1].replace(",", "")) >= 300 for line in lines[1:])
    assert result.returncode == 0


@needs_atheris
@pytest.mark.timeout(180)
def test_a_crash_fails_the_command_and_is_kept(tmp_path: Path) -> None:
    broken = tmp_path / "proof"
    broken.mkdir()
    (broken / "fuzz.py").write_text(SCRIPT.read_text("utf-8"), encoding="utf-8")
    (broken / "targets.py").write_text(
        "def read(data):\n    assert b'?' not in data, 'a question'\n\nTARGETS = {'json': read}\n", encoding="utf-8"
    )
    (broken / "seeds" / "json").mkdir(parents=True)
    (broken / "seeds" / "json" / "one").write_bytes(b"what?")

    result = run("--runs", "1000", "json", script=broken / "fuzz.py")

    assert result.returncode == 1
    assert "a question" in result.stdout
    (kept,) = (tmp_path / "build" / "fuzz" / "crashes").iterdir()
    assert b"?" in kept.read_bytes()
    again = run("--reproduce", kept, "json", script=broken / "fuzz.py")
    assert "AssertionError: a question" in again.stderr


def test_an_input_can_be_given_again() -> None:
    target, seed = SEEDS[0]

    result = run("--reproduce", seed, target)

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{target}: {seed} is read as it should be\n"
