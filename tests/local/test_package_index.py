"""Wheels on indexes of every make, and in folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelwrap.local.package_index import Link, is_wheel_of, links_in, wheels
from modelwrap.local.pip_settings import PipSettings, pip_settings
from tests.local.offers import WHEEL_NAME, redirect, whole
from tests.loopback import Answer, Asked, Loopback, error_answer, json_answer

HASH = "a" * 64


def found(settings: PipSettings) -> tuple[list[Link], list[str]]:
    problems: list[str] = []
    return list(wheels(settings, "toy-weights", "1.0", problems.append)), problems


@pytest.mark.parametrize(
    "file_name, fits",
    [
        ("toy_weights-1.0-py3-none-any.whl", True),
        ("Toy.Weights-1.0-2-py3-none-any.whl", True),
        ("toy_weights-1.0.1-py3-none-any.whl", False),
        ("toy_weights_more-1.0-py3-none-any.whl", False),
        ("toy_weights-1.0.tar.gz", False),
        ("toy_weights-1.0.whl", False),
    ],
)
def test_a_wheel_is_told_by_its_file_name(file_name: str, fits: bool) -> None:
    assert is_wheel_of(file_name, "toy-weights", "1.0") is fits


def test_links_of_a_page_are_relative_to_it() -> None:
    page = b"""<!doctype html><a href="../../files/a%20b.whl#sha256=HASH&x=1">a b</a> <A HREF='/c.whl?x=1&amp;y=2'>c</A>
      <a name="no-link">d</a><a href="https://u:secret@other.example/e.whl#md5=1">e</a>"""

    links = links_in(
        page.replace(b"HASH", HASH.encode()), "text/html; charset=utf-8", "https://index.example/simple/toy/"
    )

    assert links == [
        Link("https://index.example/files/a%20b.whl", "a b.whl", HASH),
        Link("https://index.example/c.whl?x=1&y=2", "c.whl"),
        Link("https://other.example/e.whl", "e.whl"),
    ]


def test_a_page_may_move_its_base() -> None:
    page = b'<base href="https://files.example/x/"><a href="a.whl">a</a>'

    links = links_in(page, "text/html", "https://index.example/simple/toy/")

    assert [link.url for link in links] == ["https://files.example/x/a.whl"]


def test_links_are_read_from_json_too() -> None:
    page = {
        "meta": {"api-version": "1.1"},
        "files": [
            {"filename": "a.whl", "url": "../../a.whl", "hashes": {"sha256": HASH}},
            {"filename": "b.whl", "url": "https://files.example/b", "hashes": {}},
            {"no": "file"},
        ],
    }

    links = links_in(
        json.dumps(page).encode(), "application/vnd.pypi.simple.v1+json", "https://index.example/simple/toy/"
    )

    assert links == [
        Link("https://index.example/a.whl", "a.whl", HASH),
        Link("https://files.example/b", "b.whl"),
    ]


@pytest.mark.parametrize("page", [b"[]", b"{", b'{"files": 3}'])
def test_json_that_is_no_page_is_refused(page: bytes) -> None:
    with pytest.raises(ValueError):
        links_in(page, "application/json", "https://index.example/")


def test_the_index_is_asked_by_the_normalised_name(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"http://127.0.0.1:{server.port}/simple"
    server.script(json_answer({"files": [{"filename": WHEEL_NAME, "url": f"x/{WHEEL_NAME}"}]}))
    monkeypatch.setenv("PIP_INDEX_URL", f"{url}/")

    links, problems = found(pip_settings())

    assert [link.url for link in links] == [f"{url}/toy-weights/x/{WHEEL_NAME}"]
    assert problems == []
    assert server.asked[0].path == "/simple/toy-weights/"
    assert "simple.v1+json" in server.asked[0].headers["accept"]


def test_links_follow_an_index_that_has_moved(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"http://127.0.0.1:{server.port}"
    page = whole(f'<a href="{WHEEL_NAME}">x</a>'.encode(), content_type="text/html")
    server.script(lambda asked: page if asked.path == "/new/toy-weights/" else redirect("/new/toy-weights/"))
    monkeypatch.setenv("PIP_INDEX_URL", f"{url}/simple")

    links, _ = found(pip_settings())

    assert [link.url for link in links] == [f"{url}/new/toy-weights/{WHEEL_NAME}"]


def test_folders_and_files_of_this_machine_come_first(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script(whole(f'<a href="/web/{WHEEL_NAME}">x</a>'.encode(), content_type="text/html"))
    folder, mirror = tmp_path / "my wheels", tmp_path / "mirror"
    (mirror / "simple/toy-weights").mkdir(parents=True)
    (mirror / "simple/toy-weights/index.html").write_text(f'<a href="../../files/{WHEEL_NAME}">x</a>')
    folder.mkdir()
    (folder / WHEEL_NAME).touch()
    (folder / "page.html").write_text(f'<a href="of-page/{WHEEL_NAME}">x</a>')
    settings = PipSettings(
        indexes=(f"http://127.0.0.1:{server.port}/simple", f"file://{mirror}/simple"),
        find_links=(str(folder), (folder / "page.html").as_uri(), str(folder / WHEEL_NAME)),
    )

    links, problems = found(settings)

    assert problems == []
    assert [str(link.path) for link in links[:-1]] == [
        str(folder / WHEEL_NAME),
        str(folder / "of-page" / WHEEL_NAME),
        str(folder / WHEEL_NAME),
        str(mirror / "files" / WHEEL_NAME),
    ]
    assert links[-1].url.endswith(f"/web/{WHEEL_NAME}")


def test_a_page_of_the_web_names_no_file_of_this_machine(server: Loopback) -> None:
    server.script(whole(f'<a href="file:///etc/{WHEEL_NAME}">x</a>'.encode(), content_type="text/html"))

    links, problems = found(PipSettings(indexes=(f"http://127.0.0.1:{server.port}/simple",)))

    assert links == []
    assert "has no wheel of toy-weights 1.0" in problems[0]


def test_every_place_without_the_wheel_says_why(server: Loopback, tmp_path: Path) -> None:
    base = f"http://127.0.0.1:{server.port}"

    def answer(asked: Asked) -> Answer:
        return {
            "/gone/toy-weights/": error_answer(404),
            "/mine/toy-weights/": error_answer(401, "who are you?"),
            "/bad/toy-weights/": json_answer({"files": 1}),
        }[asked.path]

    server.script(answer)
    settings = PipSettings(
        indexes=(f"{base}/gone", f"{base}/mine", f"{base}/bad", "http://plain.example/simple", "ftp://old.example"),
        find_links=(str(tmp_path / "no-folder"),),
    )

    links, problems = found(settings)

    assert links == []
    assert problems == [
        f"{tmp_path}/no-folder: [Errno 2] No such file or directory: '{tmp_path}/no-folder'",
        "ftp://old.example: is neither on the web nor on this machine",
        f"{base}/gone: has no wheel of toy-weights 1.0",
        f"{base}/mine: HTTP 401: who are you?",
        f"{base}/bad: the page of the index lists no files",
        "http://plain.example/simple: is read by pip only over https, or when trusted-host names its host",
    ]


def test_an_index_that_falters_is_asked_again(server: Loopback) -> None:
    page = whole(f'<a href="{WHEEL_NAME}">x</a>'.encode(), content_type="text/html")
    server.script(error_answer(503), Answer(raw=True), page)

    links, problems = found(PipSettings(indexes=(f"http://127.0.0.1:{server.port}/simple",)))

    assert (len(links), problems) == (1, [])
