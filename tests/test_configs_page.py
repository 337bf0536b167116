from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path

import pytest

import modelwrap
from tests.stand_in import KEYS

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "configs.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    return tmp_path


def test_the_page_is_what_the_code_says() -> None:
    written = runpy.run_path(str(ROOT / "docs" / "build.py"))["page"]()

    assert PAGE.read_text("utf-8") == written, "docs/configs.md is stale: run make docs"


@pytest.mark.parametrize(
    "key",
    [
        "client_args.azure_endpoint",
        "client_args.credential",
        "client_args.vertexai",
        "client_args.dtype",
        "poll.url",
        "poll.interval",
        "post_args.params",
    ],
)
def test_the_keys_of_objects_are_told_once(key: str) -> None:
    assert PAGE.read_text("utf-8").count(f"\n| `{key}` |") == 1


def test_no_model_in_this_process_is_said_to_have_an_endpoint() -> None:
    page = PAGE.read_text("utf-8")
    (section,) = re.findall(r"^### `transformers`\n(.*?)^#", page, re.MULTILINE | re.DOTALL)

    assert "`client_args.dtype`" in section
    assert "`client_args.base_url`" not in section


def test_the_table_of_presets_is_what_the_data_say() -> None:
    text = (ROOT / "docs" / "presets.md").read_text("utf-8")

    assert runpy.run_path(str(ROOT / "docs" / "build.py"))["with_presets"](text) == text, "stale: run make docs"


def test_the_table_of_errors_is_what_the_classes_say() -> None:
    text = (ROOT / "docs" / "calls.md").read_text("utf-8")

    assert runpy.run_path(str(ROOT / "docs" / "build.py"))["with_errors"](text) == text, "stale: run make docs"


def test_the_forms_that_the_page_shows_load(here: Path) -> None:
    shutil.copytree(ROOT / "model_configs", here / "model_configs")
    (code,) = blocks("python")
    names: dict[str, object] = {}

    try:
        exec(code, names)
    finally:
        modelwrap.clear()

    assert names["model"].name == "gpt"


def test_the_file_that_the_page_shows_loads(here: Path) -> None:
    (text,) = blocks("json")
    (here / "models.json").write_text(text)

    models = modelwrap.load("models.json")

    assert list(models) == ["gpt"]
    assert models["gpt"].timeouts.idle == 30
