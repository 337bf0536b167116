"""Two hubs on loopback, as far as their own libraries ask: one repository each, made of a folder."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from tests.loopback import Answer, Asked, error_answer, json_answer

COMMIT = "1a2b3c4d" * 5


class FakeHub:
    """Answer requests for the files of a folder; some files may break off half way, once."""

    def __init__(self, folder: Path, repo: str) -> None:
        self.repo = repo
        self.files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in _files(folder)}
        self.breaking: set[str] = set()
        """The files whose next download stops half way."""
        self.sent: list[tuple[str, int]] = []
        """Of each download where it began."""
        self.token: str | None = None
        """The token without which nothing is given."""
        self._lock = threading.Lock()

    def content(self, asked: Asked, name: str, **headers: str) -> Answer:
        content = self.files[name]
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        given = re.match(r"bytes=(\d+)-", asked.headers.get("range", ""))
        start = int(given[1]) if given else 0
        if asked.method == "HEAD":
            return Answer(200, {"content-length": str(len(content)), **headers}, [])
        with self._lock:
            self.sent.append((name, start))
            breaks = name in self.breaking
            self.breaking.discard(name)
        span = {"content-range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if given else {}
        rest = content[start:]
        told = {"content-length": str(len(rest)), "accept-ranges": "bytes", **span, **headers}
        return Answer(206 if given else 200, told, [rest[: len(rest) // 2] if breaks else rest], cut=breaks)

    def refused(self, asked: Asked) -> Answer | None:
        if self.token is not None and asked.headers.get("authorization") != f"Bearer {self.token}":
            return error_answer(401, "not for everyone", x_error_code="RepoNotFound")
        return None


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class HuggingFaceHub(FakeHub):
    commit = COMMIT

    def __call__(self, asked: Asked) -> Answer:
        if (refusal := self.refused(asked)) is not None:
            return refusal
        path = unquote(urlsplit(asked.path).path)
        if path in (f"/api/models/{self.repo}", f"/api/models/{self.repo}/revision/main"):
            siblings = [{"rfilename": name} for name in self.files]
            return json_answer({"id": self.repo, "modelId": self.repo, "sha": self.commit, "siblings": siblings})
        if path.startswith(f"/api/models/{self.repo}/tree/{self.commit}"):
            return json_answer([self._entry(name) for name in self.files])
        found = re.fullmatch(rf"/{re.escape(self.repo)}/resolve/(?:{self.commit}|main)/(.+)", path)
        if found is None or found[1] not in self.files:
            return error_answer(404, "no such thing", x_error_code="RepoNotFound" if found is None else "EntryNotFound")
        tag = f'"{_sha256(self.files[found[1]])}"'
        return self.content(asked, found[1], etag=tag, x_repo_commit=self.commit)

    def _entry(self, name: str) -> dict[str, object]:
        content = self.files[name]
        oid = hashlib.sha1(content).hexdigest()
        large = {"lfs": {"oid": _sha256(content), "size": len(content), "pointerSize": 130}}
        return {"type": "file", "oid": oid, "size": len(content), "path": name} | (
            large if name.endswith(".safetensors") else {}
        )


class ModelScopeHub(FakeHub):
    def __call__(self, asked: Asked) -> Answer:
        if (refusal := self.refused(asked)) is not None:
            return refusal
        url = urlsplit(asked.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == f"/api/v1/models/{self.repo}/repo/files":
            return self._told({"Files": [self._entry(name) for name in self.files]})
        if url.path == f"/api/v1/models/{self.repo}/repo" and query.get("FilePath") in self.files:
            return self.content(asked, query["FilePath"])
        if url.path == f"/api/v1/models/{self.repo}":
            return self._told({"Name": self.repo.partition("/")[2]})
        return json_answer({"Code": 404, "Message": "no such thing", "Success": False}, 404)

    def _entry(self, name: str) -> dict[str, object]:
        content = self.files[name]
        return {"Path": name, "Name": name, "Type": "blob", "Size": len(content), "Sha256": _sha256(content)}

    def _told(self, data: object) -> Answer:
        return json_answer(json.loads(json.dumps({"Code": 200, "Data": data, "Message": "", "Success": True})))
