"""What docs/local-models.md shows in Python runs, with a tiny model in the place of those that it names."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import transformers

import modelwrap
from tests.local.transformers import tiny
from tests.test_docs import ROOT, blocks, run

pytestmark = [pytest.mark.xdist_group("torch"), pytest.mark.timeout(120)]

DOCUMENT = "docs/local-models.md"


@pytest.fixture
def in_their_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    def stand_in(auto_class: Any) -> Any:
        real = auto_class.from_pretrained
        return classmethod(lambda cls, name, **named: real(tiny.llama(), **named))

    for auto_class in (transformers.AutoModelForCausalLM, transformers.AutoTokenizer):
        monkeypatch.setattr(auto_class, "from_pretrained", stand_in(auto_class))
    (tmp_path / "sentence-transformers").mkdir()
    (tmp_path / "sentence-transformers" / "all-MiniLM-L6-v2").symlink_to(tiny.bert())
    monkeypatch.chdir(tmp_path)
    yield
    modelwrap.clear()


@pytest.mark.usefixtures("in_their_place")
def test_what_the_document_shows_in_python_works(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = [block for block in blocks(DOCUMENT) if block.language == "python"]

    for block in shown:
        if block.file_name:
            Path(block.file_name).write_text(block.text, "utf-8")
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run(block, DOCUMENT, names)

    printed = capsys.readouterr().out
    assert (ROOT / DOCUMENT).exists()
    assert len(shown) >= 7
    assert "Is anybody there? (" in printed
