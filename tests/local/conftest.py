"""A user with an empty home, no network but loopback, and nothing configured."""

from __future__ import annotations

import os
import ssl
import sys
from pathlib import Path

import pytest
import trustme

from modelwrap.local import download, pip_settings
from tests.local.offers import Index
from tests.loopback import Loopback

FOREIGN = (
    "PIP_",
    "HF_",
    "HUGGING",
    "MODELSCOPE",
    "TRANSFORMERS",
    "XDG_",
    "MODELWRAP_",
    "REQUESTS_CA",
    "CURL_CA",
    "SSL_CERT",
    "NETRC",
    "HTTP",
    "ALL_PROXY",
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.upper().startswith(FOREIGN):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("MODELWRAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pip_settings, "_global_folders", lambda: [tmp_path / "etc/xdg/pip", tmp_path / "etc"])
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    monkeypatch.setattr(download, "_FIRST_PAUSE", 0.0)
    return home


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def index(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> Index:
    """Be the package index that pip is set up for."""
    index = Index(server)
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    return index


@pytest.fixture
def own_certificate(server: Loopback) -> str:
    """Be a host whose certificate nobody has been told to trust."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
    return f"https://localhost:{server.port}"
