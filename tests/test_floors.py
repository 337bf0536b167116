"""The rules of the house that a machine can hold: floors, and a reason beside every exception to a rule."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "modelwrap"


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--config", folder / "pyproject.toml", "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(PACKAGE, tmp_path / "modelwrap", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def plant(folder: Path, path: str, line: str) -> None:
    module = folder / "modelwrap" / path
    module.write_text((module.read_text() if module.exists() else "") + f"\n{line}\n")


@pytest.mark.parametrize(
    "path, line, broken",
    [
        ("types.py", "from modelwrap.models import base", "Imports go down the floors"),
        ("wire/http.py", "from modelwrap.runtime import base", "Imports go down the floors"),
        ("stray.py", "from modelwrap import types", "stray"),
        ("models/base.py", "import asyncio", "Only the runtime and local models know loops and threads"),
        ("wire/http.py", "import httpx2", "Only the runtime knows the HTTP client"),
        ("models/base.py", "import tenacity", "Only the policies know tenacity"),
        ("models/base.py", "import openai", "No vendor's SDK is imported"),
    ],
)
def test_an_import_that_breaks_a_floor_fails_the_build(copy: Path, path: str, line: str, broken: str) -> None:
    plant(copy, path, line)

    result = lint_imports(copy)

    assert result.returncode != 0
    assert broken in result.stdout


def test_the_package_stands_on_its_floors(copy: Path) -> None:
    result = lint_imports(copy)

    assert result.returncode == 0, result.stdout


def lines_with(pattern: str) -> Iterator[tuple[str, str]]:
    """Give each line of the package that matches, with the comment that stands right above it."""
    for module in sorted(PACKAGE.rglob("*.py")):
        text = module.read_text("utf-8")
        cleaning = cleaning_up(text)
        lines = ["", *text.splitlines()]
        for number, line in enumerate(lines):
            if re.search(pattern, line) and number not in cleaning:
                above = lines[number - 1].strip()
                yield f"{module.relative_to(ROOT)}:{number}", f"{above if above.startswith('#') else ''} {line}"


def cleaning_up(text: str) -> set[int]:
    """Find the handlers that put something in order and raise again: they swallow nothing."""
    handlers = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ExceptHandler))
    return {handler.lineno for handler in handlers if ast.unparse(handler.body[-1]) == "raise"}


def reason(text: str) -> str:
    """Leave of a line's comments what is neither code nor a directive."""
    comments = " ".join(re.findall(r"#([^#]*)", text))
    return re.sub(
        r"(type: ignore(\[[\w, -]*\])?|noqa(: ?[A-Z0-9, ]+)?|pragma: no cover|pragma: no branch)", "", comments
    ).strip(" -–—:,;")


@pytest.mark.parametrize(
    "pattern, most",
    [
        (r"#\s*type: ignore", 20),
        (r"#\s*pragma: no (cover|branch)", 10),
        (r"#\s*noqa", 20),
        (r"^\s*except\b.*\b(Base)?Exception\b", 30),
    ],
    ids=["type-ignore", "no-cover", "noqa", "broad-except"],
)
def test_every_exception_to_a_rule_has_its_reason_beside_it(pattern: str, most: int) -> None:
    found = list(lines_with(pattern))

    bare = [place for place, text in found if not reason(text)]

    assert bare == []
    assert len(found) <= most


def test_a_directive_alone_is_no_reason() -> None:
    assert not reason("    value = f()  # type: ignore[arg-type]")
    assert not reason("    except Exception:")
    assert reason("    value = f()  # type: ignore[arg-type]  # the stubs are older than the function")
    assert reason("# whatever a plugin raises is reported as its own     except Exception:")
