from __future__ import annotations

import stat
from pathlib import Path

import pytest

from modelwrap.errors import ConfigError
from modelwrap.paths import at_home, replace_file


def test_a_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert at_home("~/models.json") == tmp_path / "models.json"
    assert at_home(Path("models.json")) == Path("models.json")


@pytest.mark.parametrize("given", [b"models.json", "a\0b", "~nobody-of-this-name/models.json"])
def test_what_can_be_no_path_is_a_mistake(given: str | bytes) -> None:
    with pytest.raises(ConfigError):
        at_home(given)


def test_a_file_is_replaced_whole_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    path.write_text("old")
    path.chmod(0o640)

    replace_file(path, "new\r\nlines\n")

    assert path.read_bytes() == b"new\r\nlines\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_replaced_stays_and_leaves_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "models.json"
    path.write_text("old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))

    with pytest.raises(OSError, match="No space left"):
        replace_file(path, "new")

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
