from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

import modelwrap
from modelwrap import errors, testing
from modelwrap.types import ChangeKind, Meta


def test_the_public_names_are_these() -> None:
    assert modelwrap.__all__ == sorted({*modelwrap._home_of, "__version__"})
    for name in modelwrap.__all__:
        assert getattr(modelwrap, name) is not None


def test_every_public_name_is_documented() -> None:
    root = Path(modelwrap.__file__).parent.parent
    pages = [root / "README.md", *root.glob("docs/*.md"), *root.glob("docs/providers/*.md")]
    text = "\n".join(page.read_text("utf-8") for page in pages)
    # Nothing raises it before one name stands for several endpoints.
    told_later = {"AllEndpointsFailed"}

    names = {*modelwrap.__all__, *testing.__all__} - told_later

    assert {name for name in names if not re.search(rf"\b{name}\b", text)} == set()


def test_all_that_a_reply_and_an_error_know_is_documented() -> None:
    page = (Path(modelwrap.__file__).parent.parent / "docs" / "calls.md").read_text("utf-8")
    told = set(re.findall(r"`(\w+)`", page))

    assert {field.name for field in fields(Meta)} | {"attempts"} <= told
    assert {field.name for field in fields(modelwrap.TokenUsage)} | {"total"} <= told
    assert set(get_args(ChangeKind)) <= told
    assert vars(modelwrap.CallError("")).keys() <= told


def test_every_error_says_what_it_stands_for() -> None:
    for name in vars(errors):
        error = getattr(errors, name)
        if isinstance(error, type) and error.__module__ == errors.__name__:
            assert error.__doc__, name


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
