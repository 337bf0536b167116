"""All files of a repository on the Hugging Face hub that somebody wants, of one commit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import quote

from modelwrap.errors import NotFound, WeightsUnavailable
from modelwrap.local.cache import cache_folder, disk_errors, locked, make_folder, publish
from modelwrap.local.download import read_page
from modelwrap.local.hub import Access, Offer, errors_of_hub, fetch_file, hubs_snapshot
from modelwrap.local.progress import Progress
from modelwrap.local.sources import check_relative
from modelwrap.secrets import Secret
from modelwrap.types import JSON

_NAME = re.compile(r"[\w-][\w.-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class HubFolder:
    """Fetch a repository's files into a folder, one by one, each from where it was left."""

    repo: str
    revision: str
    wanted: Sequence[str]
    """Patterns of the files to fetch."""
    unwanted: Sequence[str] = ()
    cache: Path | None = None
    """Where to look, and to keep files, in place of the hub's own cache and ours."""
    token: Secret | None = field(default=None, repr=False)

    def of_hub(self) -> Path | None:
        """Give the folder that the hub's own programs have of it, whole or not."""
        return hubs_snapshot(self.repo, self.revision, self.cache)

    def find(self) -> Path | None:
        """Give the folder that was fetched here, if all that is wanted was."""
        commit, fetched = self._noted()
        return self._home / commit if commit and fetched.issuperset(self.wanted) else None

    def fetch(self, progress: Progress) -> Path:
        """Bring here what is missing; what had come before an interruption is not fetched again."""
        access = Access.from_environment(self.token)
        with errors_of_hub(self.repo, self.revision, access):
            commit, offers = self._listed(access)
        folder = self._home / commit
        for offer in offers:
            check_relative(offer.file, self.repo)
            fetch_file(offer, folder.joinpath(*offer.file.split("/")), access, progress)
        self._write_note(commit)
        return folder

    def _listed(self, access: Access) -> tuple[str, list[Offer]]:
        """Ask which commit a revision is, and for the files of that."""
        place = f"{access.endpoint}/api/models/{self.repo}"
        try:
            told = _read(f"{place}/revision/{quote(self.revision, safe='')}", access)
        except NotFound as error:
            raise WeightsUnavailable(
                f"there is no such repository, or no revision {self.revision} of it; see {access.endpoint}/{self.repo}"
            ) from error
        commit = told.get("sha") if isinstance(told, dict) else None
        if not isinstance(commit, str) or not _NAME.fullmatch(commit):
            raise WeightsUnavailable(f"{access.endpoint}: says no commit of it; is that a hub?")
        try:
            entries = _read(f"{place}/tree/{commit}?recursive=true", access)
        except NotFound:
            # Not every mirror has lists with sizes and hashes.
            entries = []
        # The hub cuts such a list after a thousand files, and names them all here.
        named = [{"type": "file", "path": one.get("rfilename")} for one in _objects(told.get("siblings"))]
        listed = {entry.get("path"): entry for entry in [*named, *_objects(entries)]}
        return commit, list(self._offers(commit, listed))

    def _offers(self, commit: str, listed: Mapping[Any, Mapping[str, Any]]) -> Iterator[Offer]:
        for path, entry in listed.items():
            if isinstance(path, str) and entry.get("type") == "file" and self._is_wanted(path):
                large: Mapping[str, Any] = entry.get("lfs") or {}
                yield Offer(self.repo, commit, path, large.get("oid"), large.get("size") or entry.get("size"))

    def _is_wanted(self, path: str) -> bool:
        def fits(patterns: Sequence[str]) -> bool:
            return any(fnmatchcase(path, pattern) for pattern in patterns)

        return fits(self.wanted) and not fits(self.unwanted)

    @property
    def _home(self) -> Path:
        return (self.cache or cache_folder()) / "hf" / self.repo

    @property
    def _note(self) -> Path:
        """What says that a revision was fetched to the end."""
        return self._home / f"{quote(self.revision, safe='')}.json"

    def _noted(self) -> tuple[str, set[str]]:
        """Read which commit is here, and what of it."""
        try:
            said = json.loads(self._note.read_text("utf-8"))
            commit, fetched = str(said["commit"]), set(said["wanted"])
            return (commit, fetched) if (self._home / commit).is_dir() else ("", set())
        except (OSError, ValueError, LookupError, TypeError):
            # Nothing was fetched, or not to its end.
            return "", set()

    def _write_note(self, commit: str) -> None:
        make_folder(self._home)
        with locked(self._note, lambda: None):
            before, fetched = self._noted()
            wanted = sorted({*self.wanted, *(fetched if before == commit else ())})
            unfinished = self._note.with_name(f"{self._note.name}.part")
            with disk_errors(unfinished):
                unfinished.write_text(json.dumps({"commit": commit, "wanted": wanted}), "utf-8")
            publish(unfinished, self._note)


def _objects(value: JSON) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _read(url: str, access: Access) -> JSON:
    page = read_page(url, access, "application/json")
    try:
        return json.loads(page.body)
    except ValueError as error:
        raise WeightsUnavailable(f"{access.endpoint}: does not answer as a hub does") from error
