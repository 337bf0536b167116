from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

PROJECT: dict[str, Any] = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
EXTRAS = {
    "all",
    "anthropic",
    "azure",
    "bedrock",
    "cli",
    "dev",
    "fast",
    "fuzz",
    "llama-cpp",
    "modelscope",
    "openai",
    "transformers",
    "vertex",
}
TARGETS = [*PROJECT["scripts"].values(), *PROJECT["entry-points"]["pytest11"].values()]


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_installed_by_name_is_there(target: str) -> None:
    module, _, name = target.partition(":")

    found = import_module(module)

    assert not name or callable(getattr(found, name))


def test_no_extra_promises_what_is_not_built() -> None:
    assert set(PROJECT["optional-dependencies"]) == EXTRAS
