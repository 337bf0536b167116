"""The indexes that the user's pip is set up for, read without pip, which need not be installed.

The files, their order and the names of their keys are those of https://pip.pypa.io/en/stable/topics/configuration/.
"""

from __future__ import annotations

import base64
import configparser
import netrc
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from modelwrap.errors import ConfigError
from modelwrap.secrets import Secret
from modelwrap.wire.http import Connection
from modelwrap.wire.urls import host_of, origin

DEFAULT_INDEX = "https://pypi.org/simple"

_FILE_NAME = "pip.ini" if sys.platform == "win32" else "pip.conf"
# What `pip install` would read, the later ones above the earlier.
_SECTIONS = ("global", "install")
_TRUE = ("y", "yes", "t", "true", "on", "1")
_BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True, slots=True)
class _Login:
    origin: str
    path: str
    authorization: Secret


@dataclass(frozen=True, slots=True)
class PipSettings:
    """Say where packages are looked for, and how these places are reached; no URL holds a credential."""

    indexes: tuple[str, ...] = (DEFAULT_INDEX,)
    find_links: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    certificates: str | None = None
    proxy: Secret | None = None
    logins: tuple[_Login, ...] = ()

    def connection(self, url: str) -> Connection:
        if self._is_trusted(url):
            return Connection(self.proxy, verify=False)
        if self.certificates and not Path(self.certificates).exists():
            raise ConfigError(f"pip's setting cert names {self.certificates}, which does not exist")
        return Connection(self.proxy, self.certificates or certificates_of_environment() or True)

    def authorization(self, url: str) -> Secret | None:
        path = urlsplit(url).path
        fitting = [login for login in self.logins if login.origin == origin(url)]
        if fitting:
            # Projects of one host may have a login each.
            return max(fitting, key=lambda login: _shared_length(login.path, path)).authorization
        return _netrc_login(host_of(url))

    def is_secure(self, url: str) -> bool:
        """Tell whether pip would read from there: over https, from this machine, or from a host declared trusted."""
        host = host_of(url)
        local = host in ("localhost", "::1") or host.startswith("127.")
        return not url.startswith("http://") or local or self._is_trusted(url)

    def _is_trusted(self, url: str) -> bool:
        netloc = urlsplit(origin(url)).netloc
        return host_of(url) in self.trusted_hosts or netloc in self.trusted_hosts


def pip_settings() -> PipSettings:
    """Read pip's environment variables and files."""
    values = _values()
    no_index = values.get("no-index", "").lower() in _TRUE
    main = values.get("index-url") or values.get("pypi-url") or DEFAULT_INDEX
    indexes = [] if no_index else [main, *values.get("extra-index-url", "").split()]
    find_links = values.get("find-links", "").split()
    return PipSettings(
        indexes=tuple(_without_login(url) for url in indexes),
        find_links=tuple(_without_login(url) for url in find_links),
        trusted_hosts=tuple(values.get("trusted-host", "").split()),
        certificates=str(Path(values["cert"]).expanduser()) if "cert" in values else None,
        proxy=_proxy(values.get("proxy", "")),
        logins=tuple(_logins((*indexes, *find_links))),
    )


def _proxy(url: str) -> Secret | None:
    scheme, mark, _ = url.partition("://")
    if mark and scheme.lower() not in ("http", "https"):
        raise ConfigError("pip's setting proxy: begins with http:// or https://")
    return Secret(url if mark else f"http://{url}") if url else None


def certificates_of_environment() -> str | None:
    """Find the certificates that other programs here are told to trust."""
    named = (os.environ.get(name, "") for name in _BUNDLE_VARIABLES)
    return next((path for path in named if path and Path(path).exists()), None)


def _values() -> dict[str, str]:
    """Give pip's options by their long names; an empty value counts as none."""
    sections: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for path in _config_files():
        for section, values in _read(path).items():
            sections.get(section, {}).update(values)
    environment = {
        _option(name.removeprefix("PIP_")): value for name, value in os.environ.items() if name.startswith("PIP_")
    }
    merged: dict[str, str] = {}
    for source in (*sections.values(), environment):
        merged.update({name: value for name, value in source.items() if value.strip()})
    return merged


def _option(name: str) -> str:
    return name.lower().replace("_", "-").removeprefix("--")


def _read(path: Path) -> Mapping[str, Mapping[str, str]]:
    parser = configparser.RawConfigParser()
    try:
        with path.open(encoding="utf-8-sig") as file:
            parser.read_file(file)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except (configparser.Error, UnicodeDecodeError):
        # Without the parser's words: they quote the line, and it may hold a password.
        raise ConfigError(f"{path}: pip's configuration cannot be read") from None
    return {section: {_option(name): value for name, value in parser.items(section)} for section in parser.sections()}


def _config_files() -> Iterator[Path]:
    """Name pip's files, the later ones above the earlier."""
    named = os.environ.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return
    folders = [*_global_folders(), *(() if named and Path(named).exists() else _user_folders()), Path(sys.prefix)]
    for folder in folders:
        yield folder / _FILE_NAME
    if named:
        yield Path(named)


def _global_folders() -> Iterable[Path]:
    if sys.platform == "win32":
        return [Path(os.environ.get("PROGRAMDATA", r"C:\ProgramData"), "pip")]
    if sys.platform == "darwin":
        return [Path("/Library/Application Support/pip")]
    shared = os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    return [*(Path(folder, "pip") for folder in shared.split(os.pathsep) if folder), Path("/etc")]


def _user_folders() -> Iterable[Path]:
    try:
        home = Path.home()
    except RuntimeError:
        return []
    if sys.platform == "win32":
        return [home / "pip", Path(os.environ.get("APPDATA", home / "AppData" / "Roaming"), "pip")]
    if sys.platform == "darwin":
        own = home / "Library" / "Application Support" / "pip"
        return [home / ".pip", own if own.is_dir() else home / ".config" / "pip"]
    return [home / ".pip", Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config", "pip")]


def _without_login(url: str) -> str:
    """Take user name and password out of a URL; what is no URL stays as it is."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    netloc, slash, path = rest.partition("/")
    return f"{scheme.lower()}://{netloc.rpartition('@')[2]}{slash}{path}"


def _logins(urls: Iterable[str]) -> Iterator[_Login]:
    for url in urls:
        _, mark, rest = url.partition("://")
        netloc, _, path = rest.partition("/")
        user, at, _ = netloc.rpartition("@")
        if mark and at:
            name, _, password = user.partition(":")
            yield _Login(origin(_without_login(url)), f"/{path}", _basic(unquote(name), unquote(password)))


def _shared_length(path: str, other: str) -> int:
    """Count the folders that two paths begin with."""
    pairs = zip(path.split("/"), other.split("/"), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _netrc_login(host: str) -> Secret | None:
    named = os.environ.get("NETRC")
    try:
        found = netrc.netrc(named).authenticators(host)
    except (OSError, netrc.NetrcParseError, RuntimeError):
        # A file that is not there, or that others may read: as without one, the index says what it wants.
        return None
    return _basic(found[0] or found[1], found[2]) if found else None


def _basic(name: str, password: str | None) -> Secret:
    encoded = base64.b64encode(f"{name}:{password or ''}".encode())
    return Secret(f"Basic {encoded.decode()}")
