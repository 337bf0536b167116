"""Files over HTTP: continued, checked, and with credentials where they belong."""

from __future__ import annotations

import gzip
import io
import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from modelwrap import runtime
from modelwrap.errors import (
    CallError,
    ConnectionFailed,
    InvalidResponse,
    NotFound,
    PermissionDenied,
    RealRequestForbidden,
    RedirectRefused,
    WeightsUnavailable,
)
from modelwrap.local import cache, download
from modelwrap.local.cache import Part
from modelwrap.local.download import Remote
from modelwrap.local.progress import shown
from modelwrap.secrets import Secret
from modelwrap.wire.http import Connection
from tests.local.offers import cut, ranged, redirect, sha256, whole
from tests.loopback import Answer, Asked, Loopback, error_answer

CONTENT = bytes(range(256)) * 2048
HALF = len(CONTENT) // 2


@dataclass
class OneHost:
    """Let one origin see a token."""

    host: str
    token: Secret | None = None

    def connection(self, url: str) -> Connection:
        return Connection()

    def authorization(self, url: str) -> Secret | None:
        return self.token if url.startswith(self.host) else None


@pytest.fixture
def part(tmp_path: Path) -> Part:
    return Part(tmp_path / "file.part")


@pytest.fixture
def remote(server: Loopback) -> Remote:
    host = f"http://127.0.0.1:{server.port}"
    return Remote(f"{host}/file", OneHost(host), "file", sha256(CONTENT))


class Steps:
    def __init__(self) -> None:
        self.seen: list[tuple[int, int | None, str]] = []

    def __call__(self, done: int, total: int | None, what: str, /) -> None:
        self.seen.append((done, total, what))


def fetch(remote: Remote, part: Part) -> Steps:
    steps = Steps()
    download.download(remote, part, steps)
    return steps


def leave(part: Part, content: bytes, version: str = '"v1"') -> None:
    part.begin(version)
    with part.appending() as write:
        write(content)


def ranges(server: Loopback) -> list[str | None]:
    return [asked.headers.get("range") for asked in server.asked]


def test_a_file_comes_whole_and_says_how_far_it_is(server: Loopback, remote: Remote, part: Part) -> None:
    server.script(ranged(CONTENT))

    steps = fetch(remote, part)

    assert part.path.read_bytes() == CONTENT
    assert steps.seen[0] == (0, len(CONTENT), "downloading file from 127.0.0.1")
    assert steps.seen[-2] == (len(CONTENT), len(CONTENT), "downloading file from 127.0.0.1")
    assert steps.seen[-1] == (len(CONTENT), len(CONTENT), "checking file")
    assert server.asked[0].headers["accept-encoding"] == "identity"


def test_a_cut_download_goes_on_where_it_was_cut(server: Loopback, remote: Remote, part: Part) -> None:
    server.script(cut(CONTENT, HALF, etag='"v1"'), ranged(CONTENT))

    fetch(remote, part)

    assert part.path.read_bytes() == CONTENT
    assert ranges(server) == [None, f"bytes={HALF}-"]
    assert server.asked[1].headers["if-range"] == '"v1"'


def test_a_download_that_keeps_failing_leaves_what_came(server: Loopback, remote: Remote, part: Part) -> None:
    server.script(cut(CONTENT, HALF, etag='"v1"'), Answer(raw=True))

    with pytest.raises(ConnectionFailed):
        fetch(remote, part)

    assert part.size == HALF
    assert len(server.asked) == 4


def test_a_download_that_was_stopped_is_continued_by_the_next(server: Loopback, remote: Remote, part: Part) -> None:
    server.script(ranged(CONTENT))

    def stop(done: int, total: int | None, what: str, /) -> None:
        if done >= HALF:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download.download(remote, part, stop)
    left = part.size
    fetch(remote, part)

    assert HALF <= left < len(CONTENT)
    assert part.path.read_bytes() == CONTENT
    assert ranges(server) == [None, f"bytes={left}-"]


def test_a_file_that_has_changed_meanwhile_begins_anew(server: Loopback, remote: Remote, part: Part) -> None:
    leave(part, b"x" * HALF, version='"v0"')
    server.script(ranged(CONTENT))

    fetch(remote, part)

    assert part.path.read_bytes() == CONTENT
    assert part.version == '"v1"'


def test_a_server_without_ranges_begins_anew(server: Loopback, remote: Remote, part: Part) -> None:
    leave(part, CONTENT[:HALF])
    server.script(whole(CONTENT))

    fetch(remote, part)

    assert part.path.read_bytes() == CONTENT
    assert ranges(server) == [f"bytes={HALF}-"]


@pytest.mark.parametrize(
    "wrong",
    [
        Answer(206, {"content-range": f"bytes 0-9/{len(CONTENT)}", "content-length": "10"}, [CONTENT[:10]]),
        Answer(206, {"content-length": "10"}, [CONTENT[:10]]),
        Answer(416, {"content-range": "bytes */10", "content-length": "0"}),
        Answer(416, {"content-length": "0"}),
    ],
)
def test_an_answer_that_does_not_continue_is_not_appended(
    server: Loopback, remote: Remote, part: Part, wrong: Answer
) -> None:
    leave(part, CONTENT[:HALF])
    server.script(wrong, ranged(CONTENT))

    fetch(remote, part)

    assert part.path.read_bytes() == CONTENT
    assert ranges(server) == [f"bytes={HALF}-", None]


@pytest.mark.parametrize("status", [206, 416])
def test_a_part_that_nobody_asked_for_is_refused(server: Loopback, remote: Remote, part: Part, status: int) -> None:
    server.script(Answer(status, {"content-length": "0"}))

    with pytest.raises(InvalidResponse, match="sent a part of the file"):
        fetch(remote, part)


def test_a_part_that_was_whole_already_is_only_checked(server: Loopback, remote: Remote, part: Part) -> None:
    leave(part, CONTENT)
    server.script(ranged(CONTENT))

    fetch(remote, part)

    assert part.path.read_bytes() == CONTENT
    assert ranges(server) == [f"bytes={len(CONTENT)}-"]


def test_without_a_hash_only_what_has_a_version_is_continued(server: Loopback, remote: Remote, part: Part) -> None:
    leave(part, CONTENT[:HALF], version="")
    server.script(ranged(CONTENT))

    fetch(replace(remote, sha256=None), part)

    assert part.path.read_bytes() == CONTENT
    assert ranges(server) == [None]


def test_a_weak_version_is_none(server: Loopback, remote: Remote, part: Part) -> None:
    server.script(whole(CONTENT, etag='W/"v1"'))

    fetch(remote, part)

    assert part.version == ""


def test_a_corrupted_file_is_deleted_and_told(server: Loopback, remote: Remote, part: Part) -> None:
    server.script(whole(CONTENT[::-1]))

    with pytest.raises(InvalidResponse, match="file came with another sha256 than"):
        fetch(remote, part)

    assert not list(part.path.parent.glob("file*"))


def test_a_continued_file_with_a_wrong_hash_is_fetched_anew_once(server: Loopback, remote: Remote, part: Part) -> None:
    leave(part, b"x" * HALF)
    server.script(ranged(CONTENT))

    fetch(remote, part)

    assert part.path.read_bytes() == CONTENT
    assert ranges(server) == [f"bytes={HALF}-", None]


def test_the_hash_that_a_server_gives_is_checked_too(server: Loopback, remote: Remote, part: Part) -> None:
    remote = replace(remote, sha256=None)
    server.script(redirect("/data", x_linked_etag=f'"{sha256(b"other")}"'), whole(CONTENT))

    with pytest.raises(InvalidResponse, match=sha256(b"other")):
        fetch(remote, part)


@pytest.mark.parametrize(
    "headers", [{"x_linked_etag": f'"{sha256(b"other")}"'}, {"x_linked_size": "7"}], ids=["hash", "size"]
)
def test_another_file_is_refused_before_it_comes(
    server: Loopback, remote: Remote, part: Part, headers: dict[str, str]
) -> None:
    leave(part, CONTENT[:HALF])
    server.script(redirect("/data", **headers), ranged(CONTENT))

    with pytest.raises(InvalidResponse, match="the server offers a file"):
        fetch(remote, part)

    assert part.size == HALF


def test_a_login_page_in_place_of_the_file_costs_nothing_of_what_came(
    server: Loopback, remote: Remote, part: Part
) -> None:
    leave(part, CONTENT[:HALF])
    server.script(whole(b"<html>Welcome to the hotel"))

    with pytest.raises(InvalidResponse, match=f"offers a file of 26 bytes, and file has {len(CONTENT)}"):
        fetch(replace(remote, size=len(CONTENT)), part)

    assert part.size == HALF


def test_more_than_the_file_does_not_fill_the_disk(server: Loopback, remote: Remote, part: Part) -> None:
    server.script(Answer(200, {}, [CONTENT, CONTENT, CONTENT]))

    with pytest.raises(InvalidResponse, match="more came than"):
        fetch(replace(remote, size=len(CONTENT)), part)

    assert part.size <= len(CONTENT)


def test_a_server_that_compresses_all_the_same_is_understood(server: Loopback, remote: Remote, part: Part) -> None:
    server.script(whole(gzip.compress(CONTENT), content_encoding="gzip", etag='"v1"'))

    fetch(replace(remote, size=len(CONTENT)), part)

    assert part.path.read_bytes() == CONTENT
    assert part.version == ""


def test_a_server_that_falters_is_asked_again(server: Loopback, remote: Remote, part: Part) -> None:
    server.script(error_answer(503), error_answer(429, retry_after="0.01"), ranged(CONTENT))

    fetch(remote, part)

    assert part.path.read_bytes() == CONTENT


@pytest.mark.parametrize("status, kind", [(404, NotFound), (403, PermissionDenied)])
def test_a_refusal_is_told_at_once(
    server: Loopback, remote: Remote, part: Part, status: int, kind: type[CallError]
) -> None:
    server.script(error_answer(status, "not for you"))

    with pytest.raises(kind, match="not for you"):
        fetch(remote, part)

    assert len(server.asked) == 1


def test_a_host_that_does_not_answer_is_told_at_once(
    server: Loopback, remote: Remote, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_FIRST_PAUSE", 60.0)
    server.close()

    with pytest.raises(ConnectionFailed, match="no connection"):
        fetch(remote, part)


def test_no_request_goes_out_where_requests_are_forbidden(remote: Remote, part: Part) -> None:
    with runtime.forbidden("this is a test"), pytest.raises(RealRequestForbidden):
        fetch(remote, part)


# Redirects.


def test_a_redirect_is_followed_and_another_host_sees_no_credential(
    server: Loopback, remote: Remote, part: Part
) -> None:
    elsewhere = Loopback()
    elsewhere.script(ranged(CONTENT))
    host = f"http://127.0.0.1:{server.port}"
    access = OneHost(host, Secret("Bearer secret-token"))
    server.script(redirect("/moved"), redirect(f"http://127.0.0.1:{elsewhere.port}/data?signature=x"))

    fetch(replace(remote, access=access), part)
    elsewhere.close()

    assert part.path.read_bytes() == CONTENT
    assert [asked.headers.get("authorization") for asked in server.asked] == ["Bearer secret-token"] * 2
    assert elsewhere.asked[0].path == "/data?signature=x"
    assert "authorization" not in elsewhere.asked[0].headers


def test_each_hop_is_asked_for_the_rest_only(server: Loopback, remote: Remote, part: Part) -> None:
    leave(part, CONTENT[:HALF])
    server.script(redirect("/data", 307), ranged(CONTENT))

    fetch(remote, part)

    assert part.path.read_bytes() == CONTENT
    assert ranges(server) == [f"bytes={HALF}-"] * 2


def test_redirects_come_to_an_end(server: Loopback, remote: Remote, part: Part) -> None:
    server.script(redirect("/again"))

    with pytest.raises(RedirectRefused, match="more than 5 redirects"):
        fetch(remote, part)

    assert len(server.asked) == 6


@pytest.mark.parametrize("location", ["", "ftp://files.example/file", "file:///etc/passwd", "http://[", "data:,x"])
def test_a_redirect_to_what_is_not_on_the_web_is_refused(
    server: Loopback, remote: Remote, part: Part, location: str
) -> None:
    server.script(redirect(location))

    with pytest.raises(RedirectRefused, match="redirects to what is no"):
        fetch(remote, part)


def test_a_redirect_from_secure_to_plain_is_refused() -> None:
    with pytest.raises(RedirectRefused, match=r"http://b\.example, which is not secure"):
        download._redirected("https://a.example/file", "http://u:p@b.example/file?secret")


def test_a_user_name_in_a_redirect_is_dropped() -> None:
    assert download._redirected("https://a.example/", "https://u:p@b.example/file") == "https://b.example/file"


def test_a_failure_behind_a_redirect_names_its_host(server: Loopback, remote: Remote, part: Part) -> None:
    server.script(redirect("http://127.0.0.1:1/data?signature=secret"))

    with pytest.raises(ConnectionFailed, match=r"http://127\.0\.0\.1:1: no connection") as caught:
        fetch(remote, part)

    assert "secret" not in str(caught.value)


def test_a_token_that_a_server_repeats_is_not_shown(server: Loopback, remote: Remote, part: Part) -> None:
    access = OneHost(remote.url, Secret("Bearer secret-token"))
    server.script(error_answer(403, "the token secret-token is not enough"))

    with pytest.raises(PermissionDenied) as caught:
        fetch(replace(remote, access=access), part)

    assert "secret-token" not in str(caught.value) + repr(vars(caught.value))


# The disk.


def test_too_little_room_is_told_before_the_file_comes(
    server: Loopback, remote: Remote, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script(ranged(CONTENT))
    usage = os.statvfs_result([1] * 10)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: type("Usage", (), {"free": usage.f_bsize}))

    with pytest.raises(WeightsUnavailable, match=r"524\.3 kB are needed and 1 bytes are free; free some, or name"):
        fetch(remote, part)

    assert part.size == 0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_last_line_of_a_terminal_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)

    with shown(None) as report:
        report(0, 1000, "downloading x")
        report(500, 1000, "downloading x")
        report(1000, 1000, "downloading x")
        report(10, None, "unpacking x")

    assert terminal.getvalue() == (
        "\rdownloading x: 0 % of 1.0 kB\rdownloading x: 100 % of 1.0 kB\n\runpacking x: 10 bytes\n"
    )


def test_nothing_is_written_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(None) as report:
        report(0, 1000, "downloading x")

    assert capsys.readouterr() == ("", "")


def test_what_a_server_sends_is_asked_only_of_the_address_given(server: Loopback, remote: Remote, part: Part) -> None:
    asked: list[Asked] = server.asked
    server.script(ranged(CONTENT))

    fetch(replace(remote, url=f"{remote.url}?x=1#sha256={'0' * 64}"), part)

    assert [request.path for request in asked] == ["/file?x=1"]
