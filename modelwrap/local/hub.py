"""Weights that lie on the Hugging Face hub, or on a mirror of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, unquote

from modelwrap.errors import (
    AuthenticationFailed,
    CallError,
    ConfigError,
    ConnectionFailed,
    NotFound,
    PermissionDenied,
    TimedOut,
    TLSFailed,
    WeightsUnavailable,
)
from modelwrap.local.cache import Part, cache_folder, locked, make_folder, sha256_of
from modelwrap.local.download import Remote, download
from modelwrap.local.pip_settings import certificates_of_environment
from modelwrap.local.progress import Progress
from modelwrap.local.sources import check_relative, is_file, split_fragment
from modelwrap.secrets import Secret
from modelwrap.wire.http import Connection
from modelwrap.wire.urls import host_of, is_private_host, origin

_SOURCE = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/@]+))?/(?P<file>.+)", re.ASCII)
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
COMMIT = re.compile(r"[0-9a-f]{40}")
_TRUE = ("1", "on", "yes", "true")


@dataclass(frozen=True, slots=True)
class HubSource:
    """Fetch a file of a repository, and where it is one of several shards, all of them."""

    repo: str
    revision: str
    file: str
    sha256: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        stem, member, sha256 = split_fragment(text)
        found = _SOURCE.fullmatch(stem)
        if found is None or member is not None:
            raise ConfigError(f"{text}: write hf:organisation/repository/file.gguf, or …/repository@revision/file.gguf")
        revision = unquote(found["revision"] or "main")
        for path in (found["repo"], found["file"], revision):
            check_relative(path, text)
        source = cls(found["repo"], revision, found["file"], sha256)
        if sha256 and len(source.files) > 1:
            raise ConfigError(
                f"{text}: one of {len(source.files)} shards, which have no sha256 in common; leave it out"
            )
        return source

    @property
    def files(self) -> list[str]:
        """The file and, where it is a shard, the others: an engine opens the first and finds them beside it."""
        shard = _SHARD.fullmatch(self.file)
        if shard is None or not int(shard["count"]):
            return [self.file]
        return [f"{shard['stem']}-{number:05}-of-{shard['count']}.gguf" for number in range(1, int(shard["count"]) + 1)]

    @property
    def defaults(self) -> Mapping[str, Any]:
        return {}

    def find(self) -> Path | None:
        for folder in (hubs_snapshot(self.repo, self.revision), self._folder):
            paths = [folder.joinpath(*file.split("/")) for file in self.files] if folder else []
            if paths and all(map(is_file, paths)) and self._fits(folder, paths[0]):
                return paths[0]
        return None

    def fetch(self, progress: Progress) -> Path:
        access = Access.from_environment()
        targets = [self._folder.joinpath(*file.split("/")) for file in self.files]
        for file, target in zip(self.files, targets, strict=True):
            fetch_file(Offer(self.repo, self.revision, file, self.sha256), target, access, progress)
        return targets[0]

    @property
    def _folder(self) -> Path:
        revision = quote(self.revision, safe="")
        name = f"{revision}-{self.sha256[:12]}" if self.sha256 else revision
        return cache_folder() / "hf" / self.repo / name

    def _fits(self, folder: Path | None, path: Path) -> bool:
        """Tell whether what others fetched is what is wanted; the hub's cache names a file by its hash."""
        if self.sha256 is None or folder == self._folder:
            return True
        return path.resolve().name == self.sha256 or (not path.is_symlink() and sha256_of(path) == self.sha256)


@dataclass(frozen=True, slots=True)
class Offer:
    """Be a file that the hub has, and what is known of it."""

    repo: str
    revision: str
    file: str
    sha256: str | None = None
    size: int | None = None


def fetch_file(offer: Offer, target: Path, access: Access, progress: Progress) -> None:
    """Bring a file of the hub to its place, unless it is there; another process that does the same is waited for."""
    make_folder(target.parent)
    with locked(target, lambda: progress(0, None, "waiting for another process that downloads")):
        if is_file(target):
            return
        part = Part(target.with_name(f"{target.name}.part"))
        url = f"{access.endpoint}/{offer.repo}/resolve/{quote(offer.revision, safe='')}/{quote(offer.file)}"
        with errors_of_hub(offer.repo, offer.revision, access):
            download(Remote(url, access, target.name, sha256=offer.sha256, size=offer.size), part, progress)
        part.keep_as(target)


@contextmanager
def errors_of_hub(repo: str, revision: str, access: Access) -> Iterator[None]:
    """Raise `WeightsUnavailable` with what can be done, where nothing may be fetched or nothing can be had."""
    if is_true("HF_HUB_OFFLINE") or is_true("TRANSFORMERS_OFFLINE"):
        raise WeightsUnavailable("is not on this machine, and HF_HUB_OFFLINE forbids to fetch it")
    try:
        yield
    except CallError as error:
        raise WeightsUnavailable(f"{access.endpoint}: {error}; {_advice(repo, revision, error, access)}") from error


def hubs_snapshot(repo: str, revision: str, cache: Path | None = None) -> Path | None:
    """Find a repository in the hub's own cache."""
    try:
        repository = (cache or _hubs_cache()) / f"models--{repo.replace('/', '--')}"
        commit = revision
        if not COMMIT.fullmatch(commit):
            commit = repository.joinpath("refs", *revision.split("/")).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError, RuntimeError):
        # It never held the repository, or there is no home where it would be.
        return None
    return repository / "snapshots" / commit if COMMIT.fullmatch(commit) else None


def _advice(repo: str, revision: str, error: CallError, access: Access) -> str:
    page = f"{access.endpoint}/{repo}"
    if isinstance(error, AuthenticationFailed):
        token = "the token is not accepted" if access.token else "a private one wants a token in HF_TOKEN"
        return f"no such repository, or not for everyone: {token}; see {page}"
    if isinstance(error, PermissionDenied):
        return f"ask for access at {page}, and set HF_TOKEN to a token of that account"
    if isinstance(error, NotFound):
        return f"the names of the files stand at {page}/tree/{quote(revision, safe='')}"
    if isinstance(error, TLSFailed):
        return "SSL_CERT_FILE names the certificates to trust"
    if isinstance(error, (ConnectionFailed, TimedOut)):
        return "what has come is kept; connect to a network, name a mirror in HF_ENDPOINT, or give a path instead"
    return "what has come is kept; try again later, or give a path instead"


@dataclass(frozen=True, slots=True)
class Access:
    """Give the token to the hub, and to no host that it redirects to."""

    endpoint: str
    token: Secret | None

    @classmethod
    def from_environment(cls, token: Secret | None = None) -> Self:
        """Read the hub's variables; a token that is given takes the place of theirs."""
        endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        token = Secret(f"Bearer {token.reveal()}") if token else _token()
        check_endpoint("HF_ENDPOINT", endpoint, with_token=bool(token))
        return cls(endpoint, token)

    def connection(self, url: str) -> Connection:
        return Connection(verify=certificates_of_environment() or True)

    def authorization(self, url: str) -> Secret | None:
        return self.token if origin(url) == origin(self.endpoint) else None


def check_endpoint(variable: str, endpoint: str, *, with_token: bool) -> None:
    """Refuse what is no address of a hub, or would show a token to everyone on the way there."""
    if not endpoint.startswith(("http://", "https://")) or "@" in endpoint:
        raise ConfigError(f"{variable}: begins with http:// or https://, and holds no user name")
    if with_token and endpoint.startswith("http://") and not is_private_host(host_of(endpoint)):
        raise ConfigError(f"{variable}: plain http would show the token to everyone on the way to {endpoint}")


def _token() -> Secret | None:
    """Give the token of the environment, or the one with which the user logged in."""
    if is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN"):
        return None
    token = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")
    if not token:
        try:
            named = os.environ.get("HF_TOKEN_PATH")
            token = (Path(named).expanduser() if named else _hubs_home() / "token").read_text("utf-8")
        except (OSError, UnicodeDecodeError, RuntimeError):
            # Nobody has logged in, or there is no home where that would stand.
            return None
    return Secret(f"Bearer {token.strip()}") if token.strip() else None


def _hubs_home() -> Path:
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared).expanduser() if shared else Path.home() / ".cache") / "huggingface"


def _hubs_cache() -> Path:
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(named).expanduser() if named else _hubs_home() / "hub"


def is_true(variable: str) -> bool:
    """Tell whether a variable of the hub's says yes."""
    return os.environ.get(variable, "").lower() in _TRUE
