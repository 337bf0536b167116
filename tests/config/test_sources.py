from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from modelwrap.config import Entry, Problems, read
from modelwrap.errors import ConfigError


def entries(model_configs: Any) -> list[Entry]:
    problems = Problems()
    found = read(model_configs, problems)
    problems.raise_any()
    return found


def names(model_configs: Any) -> list[str]:
    return [entry.data["config_name"] for entry in entries(model_configs)]


def mistakes_of(model_configs: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        entries(model_configs)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b.json").write_text('{"models": [{"config_name": "b1"}, {"config_name": "b2"}], "$schema": "x"}')
    (tmp_path / "a.json").write_text('// one\n{"config_name": "a"}')
    (tmp_path / ".hidden.json").write_text("oops")
    (tmp_path / "configs.schema.json").write_text('{"$defs": {}}')
    (tmp_path / "notes.txt").write_text("oops")
    return tmp_path


def test_configs_come_from_every_form(folder: Path) -> None:
    assert names(None) == []
    assert names({"config_name": "x"}) == ["x"]
    assert names({"models": [{"config_name": "x"}, {"config_name": "y"}]}) == ["x", "y"]
    assert names({"models": {"config_name": "x"}}) == ["x"]
    assert names({"models": ({"config_name": "x"},)}) == ["x"]
    assert names([{"config_name": "x"}, [{"config_name": "y"}]]) == ["x", "y"]
    assert names(folder / "a.json") == ["a"]
    assert names(str(folder / "b.json")) == ["b1", "b2"]
    assert names(folder) == ["a", "b1", "b2"]
    assert names([folder / "b.json", {"config_name": "x"}, None, str(folder / "a.json")]) == ["b1", "b2", "x", "a"]


def test_a_list_in_a_file_is_a_list_of_configs(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text('[{"config_name": "x"}, {"config_name": "y"},]')

    assert names(tmp_path / "list.json") == ["x", "y"]


def test_what_stands_beside_a_list_of_models_is_named(tmp_path: Path) -> None:
    (tmp_path / "extra.json").write_text('{"version": 1, "models": [{"config_name": "x"}], "$schema": "s"}')

    message = mistakes_of([tmp_path / "extra.json", {"models": [], "defaults": {}, 3: 4}])

    assert f'{tmp_path}/extra.json:1:2: version: unknown key; beside "models" only "$schema" may stand' in message
    assert 'model_configs[1]: defaults: unknown key; beside "models" only "$schema" may stand' in message
    assert "model_configs[1]: [3]: unknown key" in message


def test_a_config_may_have_a_key_named_models() -> None:
    assert names({"config_name": "x", "models": ["a", "b"]}) == ["x"]


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x.json").write_text('{"config_name": "x"}')

    assert names("~/x.json") == ["x"]


def test_an_entry_knows_where_its_keys_stand(tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    path.write_text('{"models": [\n  {"config_name": "x",\n   "client_args": {"timeout": 3}}\n]}')

    (entry,) = entries(path)

    assert entry.place() == f"{path}:2:3"
    assert entry.place(("client_args", "timeout")) == f"{path}:3:31"
    assert entry.place(("client_args", "timeout"), key=True) == f"{path}:3:20"
    assert entry.place(("client_args", "timeout", "idle")) == f"{path}:3:31"
    assert entry.mistake(("client_args",), "is odd") == f"{path}:3:19: models[0].client_args: is odd"


def test_an_entry_in_python_is_known_by_its_index_and_name() -> None:
    _, entry, single = entries([{"config_name": "x"}, {"models": [{"name": "y"}]}, {}])

    assert entry.mistake(("client_args", "timeout"), "is odd") == (
        'model_configs[1].models[0] "y": client_args.timeout: is odd'
    )
    assert single.mistake((), "is odd") == "model_configs[2]: is odd"


def test_a_key_in_python_may_be_none() -> None:
    (entry,) = entries({None: 1})

    assert entry.mistake(("None",), "is odd") == "model_configs: None: is odd"


def test_mistakes_of_all_sources_are_told_together(folder: Path) -> None:
    (folder / "c.json").write_text("[3]")
    (folder / "d.json").write_text("{'a': 1}")

    message = mistakes_of([folder, 5, {"models": 3}, {"models": [None]}])

    assert message.splitlines()[:2] == [
        "5 mistakes in the model configs:",
        f"  {folder}/c.json:1:2: [0]: a config must be an object {{ … }}",
    ]
    assert f"  {folder}/d.json:1:2: a key stands in double quotes, not in single ones" in message
    assert "  model_configs[1]: must be a path, a dict or a list of these, not int" in message
    assert "  model_configs[2].models: there must be a config { … } here, or a list of them [ … ]" in message
    assert "  model_configs[3].models[0]: a config must be an object { … }" in message


def test_a_missing_file_is_answered_with_one_like_it(folder: Path) -> None:
    assert f"did you mean {folder}/a.json?" in mistakes_of(folder / "A.jsn")
    assert "the folder does not exist either" in mistakes_of(folder / "nowhere" / "a.json")
    assert "there is no such file (looked for from" in mistakes_of("zzz/../no such thing")
    (folder / "gone.json").symlink_to(folder / "gone for good")
    assert f"did you mean {folder}/gone.json" not in mistakes_of(folder / "gone.json")


def test_what_is_no_config_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "large.json").write_bytes(b" " * (8 * 1024 * 1024 + 1))
    os.mkfifo(tmp_path / "pipe.json")

    assert "no *.json file is in this folder" in mistakes_of(tmp_path / "empty")
    assert "larger than 8 MB" in mistakes_of(tmp_path / "large.json")
    assert "this is no file" in mistakes_of(tmp_path / "pipe.json")
    assert "NUL" in mistakes_of("a\0b")
    assert "a path must be text" in mistakes_of(_BytesPath())
    assert "model_configs: the path is empty" in mistakes_of("")
    assert "~nobody-here/a.json: Could not determine home directory" in mistakes_of("~nobody-here/a.json")
    assert "this is JSON, not the path of a file" in mistakes_of('{"config_name": "x"}')
    assert "cannot be read: File name too long" in mistakes_of("x" * 300)


def test_a_list_that_holds_itself_is_refused() -> None:
    given: list[Any] = []
    given.append(given)

    assert mistakes_of(given) == "model_configs: this is nested more than 64 deep"


def test_a_file_that_cannot_be_read_does_not_hide_the_others(folder: Path) -> None:
    (folder / "a-loop.json").symlink_to(folder / "a-loop.json")
    (folder / "c.json").write_text("[3]")

    message = mistakes_of(folder)

    assert f"{folder}/a-loop.json: cannot be read: Too many levels of symbolic links" in message
    assert f"{folder}/c.json:1:2" in message


class _BytesPath:
    def __fspath__(self) -> bytes:
        return b"models.json"
