from __future__ import annotations

import io
from pathlib import Path

import pytest

from modelwrap import cli


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("answer", ["", "n\n", "no\n", "what?\n"])
def test_the_embedded_model_comes_only_to_who_says_yes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MODELWRAP_CONFIG", raising=False)
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setattr("modelwrap.terminal.converse", lambda _: pytest.fail("the offer was not accepted"))

    assert cli.main(["chat"]) == cli.CONFIG_WRONG
