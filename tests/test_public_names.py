from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

import modelwrap
from modelwrap import errors


def test_the_public_names_are_these() -> None:
    assert modelwrap.__all__ == sorted({*modelwrap._home_of, "__version__"})
    for name in modelwrap.__all__:
        assert getattr(modelwrap, name) is not None


def test_every_error_is_public() -> None:
    defined = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }

    assert defined <= set(modelwrap.__all__)


def test_type_checkers_see_the_same_names_in_the_same_homes() -> None:
    source = ast.parse(Path(modelwrap.__file__).read_text())
    checked = next(node for node in source.body if isinstance(node, ast.If))

    seen = {
        alias.name: node.module for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }

    assert seen == modelwrap._home_of


def test_names_are_listed_before_they_are_loaded() -> None:
    assert set(modelwrap.__all__) <= set(dir(modelwrap))


def test_a_name_that_is_not_there_is_missed_as_in_any_module() -> None:
    with pytest.raises(AttributeError, match="module 'modelwrap' has no attribute 'initialise'"):
        modelwrap.initialise  # noqa: B018


def test_the_version_stands_in_one_place() -> None:
    root = Path(modelwrap.__file__).parent.parent
    project = tomllib.loads((root / "pyproject.toml").read_text())

    assert re.fullmatch(r"\d+\.\d+\.\d+", modelwrap.__version__)
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "modelwrap/__init__.py"
