"""From the name of a model to its files on this machine, by way of two hubs and whatever happens on the way."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import modelwrap
from modelwrap.errors import ConfigError, WeightsUnavailable
from modelwrap.local.transformers import hubs
from modelwrap.local.transformers.config import TransformersConfig, TransformersEmbeddingConfig
from tests.local.transformers import tiny
from tests.local.transformers.fake_hubs import COMMIT, FakeHub, HuggingFaceHub, ModelScopeHub
from tests.loopback import Answer, Asked, Loopback, error_answer, json_answer

pytestmark = [pytest.mark.xdist_group("torch"), pytest.mark.timeout(60)]

REPO = "tiny/llama"
ROOT = Path(__file__).parent.parent.parent.parent


class Hub(NamedTuple):
    name: str
    fake: FakeHub


@pytest.fixture(params=["huggingface", "modelscope"])
def hub(request: pytest.FixtureRequest, server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Be a hub that its own library finds by its own variable."""
    fake: FakeHub
    if request.param == "huggingface":
        fake = HuggingFaceHub(tiny.llama(), REPO)
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.port}")
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    else:
        pytest.importorskip("modelscope_hub")
        fake = ModelScopeHub(tiny.llama(), REPO)
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", f"http://127.0.0.1:{server.port}")
        monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "hub"))
    server.script(fake)
    return Hub(request.param, fake)


def config(model: str, hub: str = "huggingface", **client_args: Any) -> TransformersConfig:
    return TransformersConfig.model_validate(
        {"config_name": "x", "model_type": "transformers", "model": model, "hub": hub, "client_args": client_args}
    )


def names_in(folder: Path) -> set[str]:
    """Name what is in a folder beside the files of locks."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {path.relative_to(folder).as_posix() for path in paths}


def test_fetches_a_repository_and_finds_it_afterwards(hub: Hub, server: Loopback) -> None:
    wanted = config(REPO, hub.name)
    before = hubs.place_of(wanted).find()

    folder = hubs.fetched(wanted)
    asked = len(server.asked)
    again = hubs.fetched(wanted)

    assert before is None
    assert again == folder
    assert len(server.asked) == asked
    assert {name: (folder / name).read_bytes() for name in names_in(folder)} == hub.fake.files


def test_goes_on_where_a_download_broke_off(hub: Hub) -> None:
    hub.fake.breaking = {"model.safetensors"}

    folder = hubs.fetched(config(REPO, hub.name))

    began = [start for name, start in hub.fake.sent if name == "model.safetensors"]
    assert began[0] == 0
    assert began[-1] > 0
    assert (folder / "model.safetensors").read_bytes() == hub.fake.files["model.safetensors"]


def test_goes_on_in_another_process_where_one_was_killed(hub: Hub, tmp_path: Path) -> None:
    begun = threading.Event()
    content = hub.fake.content

    def slowly(asked: Asked, name: str, **headers: str) -> Answer:
        answer = content(asked, name, **headers)
        if name == "model.safetensors" and not begun.is_set():
            begun.set()
            half = len(hub.fake.files[name]) // 2
            answer.pieces = [hub.fake.files[name][:half], 30.0]
        return answer

    hub.fake.content = slowly  # type: ignore[method-assign] # as a hub whose line is slow
    fetching = (
        "from modelwrap.local.transformers import hubs\n"
        "from modelwrap.local.transformers.config import TransformersConfig\n"
        f"named = {{'config_name': 'x', 'model_type': 'transformers', 'model': {REPO!r}, 'hub': {hub.name!r}}}\n"
        "hubs.fetched(TransformersConfig(**named))"
    )
    killed = subprocess.Popen([sys.executable, "-c", fetching], cwd=ROOT, stderr=subprocess.DEVNULL)
    assert begun.wait(30)
    deadline = time.monotonic() + 10
    while not _part_of_weights(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.kill()
    killed.wait()

    folder = hubs.fetched(config(REPO, hub.name))

    assert [start for name, start in hub.fake.sent if name == "model.safetensors"][-1] > 0
    assert (folder / "model.safetensors").read_bytes() == hub.fake.files["model.safetensors"]


def _part_of_weights(folder: Path) -> int:
    """Tell how much of the weights has come, under whatever name."""
    return sum(path.stat().st_size for path in folder.rglob("*safetensors*") if path.is_file())


def test_half_a_download_is_no_model_and_is_finished_at_the_next_try(hub: Hub, server: Loopback) -> None:
    weights = hub.fake.files.pop("model.safetensors")
    with pytest.raises(WeightsUnavailable, match="holds no weights in safetensors"):
        hubs.fetched(config(REPO, hub.name))
    hub.fake.files["model.safetensors"] = weights
    half_way = hubs.place_of(config(REPO, hub.name)).find()
    folder = hubs.fetched(config(REPO, hub.name))

    assert half_way is None
    assert (folder / "model.safetensors").read_bytes() == weights


def test_fetches_nothing_but_what_is_loaded(hub: Hub) -> None:
    extra = {"pytorch_model.bin": b"pickle", "onnx/model.onnx": b"x", "code.py": b"import os", "README.md": b"#"}
    hub.fake.files |= extra

    folder = hubs.fetched(config(REPO, hub.name))

    assert names_in(folder) == hub.fake.files.keys() - extra.keys()


def test_weights_in_folders_beside_the_model_are_fetched_where_parts_of_it_may_lie_there(hub: Hub) -> None:
    dense, step = {"2_Dense/model.safetensors": b"dense", "2_Dense/config.json": b"{}"}, "checkpoint-5/x.safetensors"
    modules = [{"path": "2_Dense", "type": "sentence_transformers.models.Dense"}]
    hub.fake.files |= {
        **dense,
        step: b"other",
        "onnx/x.safetensors": b"other",
        "modules.json": json.dumps(modules).encode(),
    }
    embedding = TransformersEmbeddingConfig.model_validate(
        {"config_name": "y", "model_type": "transformers_embedding", "model": REPO, "hub": hub.name}
    )

    chat = names_in(hubs.fetched(config(REPO, hub.name)))
    vectors = names_in(hubs.fetched(embedding))

    assert [name for name in sorted(chat) if name.endswith("s")] == ["model.safetensors"]
    assert dense.keys() <= vectors
    assert "onnx/x.safetensors" not in vectors


def test_of_a_subfolder_only_its_own_weights_are_fetched(hub: Hub) -> None:
    whole = dict(hub.fake.files)
    hub.fake.files |= {f"inner/{name}": content for name, content in whole.items()}
    hub.fake.files["inner/other/model.safetensors"] = b"other"

    folder = hubs.fetched(config(REPO, hub.name, subfolder="inner"))

    assert [name for name in sorted(names_in(folder)) if name.endswith("s")] == ["inner/model.safetensors"]


def test_pickled_weights_are_refused_by_name_and_taken_where_the_config_says_so(hub: Hub) -> None:
    hub.fake.files["pytorch_model.bin"] = hub.fake.files.pop("model.safetensors")

    with pytest.raises(WeightsUnavailable, match=r'"use_safetensors": false in client_args takes those'):
        hubs.fetched(config(REPO, hub.name))


def test_a_token_opens_what_is_not_for_everyone(hub: Hub) -> None:
    hub.fake.token = "secret-token"

    with pytest.raises(WeightsUnavailable, match="not for everyone") as refused:
        hubs.fetched(config(REPO, hub.name))
    folder = hubs.fetched(config(REPO, hub.name, token="secret-token"))

    assert "secret-token" not in f"{refused.value} {config(REPO, token='secret-token')!r}"
    assert (folder / "config.json").is_file()


def test_a_folder_that_cannot_be_written_is_answered_with_the_variable_that_names_another(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = {"huggingface": "MODELWRAP_CACHE", "modelscope": "MODELSCOPE_CACHE"}[hub.name]
    for name in ("no-folder", "long" * 100):
        (tmp_path / "no-folder").write_text("")
        monkeypatch.setenv(variable, str(tmp_path / name))

        assert hubs.place_of(config(REPO, hub.name)).find() is None
        with pytest.raises(WeightsUnavailable, match=f"{variable}"):
            hubs.fetched(config(REPO, hub.name))


def test_a_full_disk_is_no_matter_of_the_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    if hub.name == "huggingface":
        pytest.skip("its files are written as those of all weights are")
    from modelscope_hub import HubApi

    def fails(*_: object, **named: object) -> None:
        # As its library tells what went wrong with each of several files.
        raise RuntimeError(f"2 of 6 file(s) failed to download - config.json: [Errno 28] {os.strerror(errno.ENOSPC)}")

    monkeypatch.setattr(HubApi, "download_repo", fails)

    with pytest.raises(WeightsUnavailable, match="free some room, or name another folder in MODELSCOPE_CACHE"):
        hubs.place_of(config(REPO, hub.name)).fetch(lambda *_: None)


@pytest.mark.parametrize("status", [401, 404])
def test_no_error_repeats_a_token_that_the_hub_repeats(hub: Hub, server: Loopback, status: int) -> None:
    token = "hub-token-of-somebody"
    server.script(json_answer({"Code": status, "Message": f"not with {token}", "Success": False}, status))

    with pytest.raises(WeightsUnavailable) as raised:
        hubs.fetched(config(REPO, hub.name, token=token))

    assert token not in "".join(traceback.format_exception(raised.value))
    assert raised.value.__context__ is None or token not in str(raised.value.__context__)


def test_a_token_is_not_given_to_a_mirror_that_would_show_it(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
        monkeypatch.setenv(variable, "http://mirror.example.com")

    with pytest.raises(ConfigError, match="plain http would show the token to everyone"):
        hubs.fetched(config(REPO, hub.name, token="secret-token"))


def test_a_repository_that_is_not_there_is_named(hub: Hub) -> None:
    with pytest.raises(WeightsUnavailable, match="tiny/nothing: there is no such repository"):
        hubs.fetched(config("tiny/nothing", hub.name))


def test_where_nobody_answers_it_says_what_can_be_done(
    hub: Hub, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    if hub.name == "modelscope":
        monkeypatch.setattr("modelscope_hub._download_control._DownloadControl.sleep", lambda *asked: None)
    for variable in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")

    with pytest.raises(WeightsUnavailable, match="what has come is kept; connect to a network, name .* in "):
        hubs.fetched(config(REPO, hub.name))


def test_nothing_is_fetched_where_the_config_forbids_it(hub: Hub, server: Loopback) -> None:
    with pytest.raises(WeightsUnavailable, match="local_files_only forbids to fetch it"):
        hubs.fetched(config(REPO, hub.name, local_files_only=True))

    assert server.asked == []


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_nothing_is_asked(variable: str, server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv(variable, "1")

    with pytest.raises(WeightsUnavailable, match="is not on this machine, and HF_HUB_OFFLINE forbids to fetch it"):
        hubs.fetched(config(REPO))

    assert server.asked == []


def test_an_older_name_of_the_variable_is_taken(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("modelscope_hub")
    monkeypatch.setenv("MODELSCOPE_DOMAIN", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "hub"))
    server.script(ModelScopeHub(tiny.llama(), REPO))

    folder = hubs.fetched(config(REPO, "modelscope"))

    assert (folder / "config.json").is_file()


def test_a_revision_is_asked_for_by_either_way_to_write_it(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    at = hubs.place_of(config("org/name@v2"))
    beside = hubs.place_of(config("org/name", revision="v2"))

    assert at.revision == beside.revision == "v2"  # type: ignore[attr-defined] # both are repositories
    with pytest.raises(ConfigError, match=r'another revision than "client_args\.revision"'):
        hubs.place_of(config("org/name@v2", revision="v3"))


@pytest.mark.parametrize(
    "model, said",
    [
        ("./nothing", "no such folder"),
        ("~/nothing", "no such folder"),
        ("~nobody-of-that-name/model", "no such folder"),
        ("long " * 2000, "no folder here, and no repository"),
        ("two words", "no folder here, and no repository"),
        ("a/b/c", "no folder here, and no repository"),
        ("https://huggingface.co/org/name", "no folder here, and no repository"),
    ],
)
def test_what_is_no_place_is_said(model: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        hubs.fetched(config(model))


def test_a_folder_is_taken_as_it_is_before_any_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "name").mkdir(parents=True)

    assert hubs.fetched(config("org/name")) == Path("org/name")


def test_a_file_that_holds_no_weights_is_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"")

    with pytest.raises(WeightsUnavailable, match="is a file; give the folder"):
        hubs.fetched(config(str(path)))


def test_progress_is_told_in_bytes(hub: Hub) -> None:
    if hub.name == "modelscope":
        pytest.skip("its library draws bars of its own")
    told: list[tuple[int, int | None, str]] = []

    hubs.place_of(config(REPO)).fetch(lambda *step: told.append(step))

    size = len(hub.fake.files["model.safetensors"])
    assert (size, size, "downloading model.safetensors from 127.0.0.1") in told


def test_what_the_hubs_own_programs_fetched_is_used_where_it_lies(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--tiny--llama"
    folder = Path(shutil.copytree(tiny.llama(), repository / "snapshots" / COMMIT))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)

    whole = hubs.fetched(config(REPO))
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    half = hubs.place_of(config(REPO)).find()

    assert (whole, half) == (folder, None)
    assert server.asked == []


def test_a_mirror_that_lists_nothing_but_names_will_do(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = HuggingFaceHub(tiny.llama(), REPO)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.port}")
    server.script(lambda asked: error_answer(404) if "/tree/" in asked.path else fake(asked))

    folder = hubs.fetched(config(REPO))

    assert names_in(folder) == fake.files.keys()


def test_what_was_fetched_before_stays_known_when_more_is(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = HuggingFaceHub(tiny.llama(), REPO)
    fake.files["pytorch_model.bin"] = b"pickled"
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.port}")
    server.script(lambda asked: fake(asked))

    first = hubs.fetched(config(REPO))
    second = hubs.fetched(config(REPO, use_safetensors=False))

    assert first == second == hubs.place_of(config(REPO)).find()
    assert names_in(first) == fake.files.keys()


def test_a_list_that_the_hub_cuts_is_completed(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = HuggingFaceHub(tiny.llama(), REPO)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.port}")
    first = fake._entry("config.json")
    server.script(lambda asked: json_answer([first]) if "/tree/" in asked.path else fake(asked))

    folder = hubs.fetched(config(REPO))

    assert names_in(folder) == fake.files.keys()


@pytest.mark.parametrize("told", [{"siblings": [{"name": "x"}, 3, {"rfilename": 5}]}, {"siblings": "x"}, {}])
def test_a_hub_that_lists_no_files_is_said(
    told: dict[str, Any], server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.port}")
    server.script(lambda asked: json_answer({"sha": COMMIT, **told}) if "/revision/" in asked.path else json_answer(5))

    with pytest.raises(WeightsUnavailable, match="holds no weights in safetensors"):
        hubs.fetched(config(REPO))


@pytest.mark.parametrize("lost", ["model.safetensors.index.json", "model-00002-of-00002.safetensors"])
def test_half_of_what_the_hubs_own_programs_fetch_is_no_model(
    lost: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    folder = Path(shutil.copytree(tiny.llama(), tmp_path / "models--tiny--llama" / "snapshots" / COMMIT))
    shards = [f"model-{number:05}-of-00002.safetensors" for number in (1, 2)]
    (folder / "model.safetensors").rename(folder / shards[0])
    (folder / shards[1]).write_bytes(b"")
    index = {"weight_map": {"one": shards[0], "other": shards[1]}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    place = hubs.place_of(config(f"{REPO}@{COMMIT}"))
    whole = place.find()

    (folder / lost).unlink()

    assert (whole, place.find()) == (folder, None)


def test_a_link_to_nothing_is_no_file_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    folder = Path(shutil.copytree(tiny.llama(), tmp_path / "models--tiny--llama" / "snapshots" / COMMIT))
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("gone")

    assert hubs.place_of(config(f"{REPO}@{COMMIT}")).find() is None


def test_a_hash_that_the_hub_tells_is_checked(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = HuggingFaceHub(tiny.llama(), REPO)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.port}")
    server.script(lambda asked: fake(asked))
    entry = fake._entry
    monkeypatch.setattr(fake, "_entry", lambda name: {**entry(name), "lfs": {"oid": "0" * 64}})

    with pytest.raises(WeightsUnavailable, match="came with another sha256"):
        hubs.fetched(config(REPO))


def test_the_command_line_fetches_by_a_configs_name(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from modelwrap.cli import main

    path = tmp_path / "config.json"
    path.write_text(f'{{"config_name": "x", "model_type": "transformers", "model": "{REPO}", "hub": "{hub.name}"}}')

    code = main(["download", "-c", str(path), "x"])

    out = capsys.readouterr().out.strip()
    assert code == 0
    assert Path(out).joinpath("model.safetensors").is_file()
    assert modelwrap.load(path)["x"].explain("Hi").url == REPO


def test_tasks_wait_for_a_download_within_their_limits_and_without_a_thread_each(
    server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, go_on = HuggingFaceHub(tiny.llama(), REPO), threading.Event()
    server.script(lambda asked: go_on.wait(20) and fake(asked))  # type: ignore[arg-type, return-value]  # it is set
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.port}")
    model = modelwrap.load({"config_name": "slow", "model_type": "transformers", "model": REPO})["slow"]

    async def ask_all() -> tuple[int, list[Any], list[Any]]:
        before = threading.active_count()
        hurried = [asyncio.create_task(model.acall("Hi", max_tokens=2, timeout=0.1)) for _ in range(40)]
        patient = [asyncio.create_task(model.acall("Hi", max_tokens=2)) for _ in range(40)]
        patient[0].cancel()
        late = await asyncio.gather(*hurried, return_exceptions=True)
        threads = threading.active_count() - before
        go_on.set()
        return threads, late, await asyncio.gather(*patient, return_exceptions=True)

    threads, late, answers = asyncio.run(ask_all())
    model.close()

    assert threads < 10
    assert {type(error) for error in late} == {modelwrap.TimedOut}
    assert "goes on; model.load() waits as long as that takes" in str(late[0])
    assert [type(answer) for answer in answers[:1]] == [asyncio.CancelledError]
    assert {answer.usage.completion_tokens for answer in answers[1:]} <= {1, 2}
    assert len([name for name, _ in fake.sent if name.endswith(".safetensors")]) == 1


def test_a_model_that_is_closed_while_it_is_fetched_says_so_at_once(
    server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def answer(_: Asked) -> Answer:
        asked.set()
        go_on.wait(20)
        return error_answer(404, "no such thing")

    server.script(answer)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.port}")
    model = modelwrap.load({"config_name": "slow", "model_type": "transformers", "model": REPO})["slow"]

    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(model, "Hi")
        asked.wait(10)
        model.close()

        assert str(call.exception(5)) == "slow was closed while it was being loaded"
    go_on.set()
