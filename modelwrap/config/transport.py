"""What a config may say about connections: no key in clear text, and no stranger trusted without a certificate."""

from __future__ import annotations

from importlib.util import find_spec
from urllib.parse import parse_qsl

from modelwrap.errors import ConfigError, MissingPackage
from modelwrap.secrets import Secret, is_sensitive
from modelwrap.wire.urls import host_of, is_private_host


def check_transport(url: str, *, has_key: bool, allow_http: bool, where: str) -> None:
    """Refuse a URL through which a key would be seen by others.

    `where` is the key of the config that holds the URL, as in `client_args.base_url`.
    """
    query = url.partition("?")[2].partition("#")[0]
    for name, value in parse_qsl(query):
        if value and is_sensitive(name):
            raise ConfigError(f"{where}: the URL carries a credential ({name}), and URLs end up in logs; use a header")
    if url.lower().startswith("http://") and has_key and not allow_http and not is_private_host(host_of(url)):
        raise ConfigError(
            f"{where}: plain http would show the key to everyone between here and {host_of(url)}; write https://, "
            'or "allow_http": true if that is meant'
        )


def check_verify(url: str, verify: bool | str, where: str) -> None:
    """Refuse to switch off the checking of certificates for hosts outside one's own network."""
    if verify is False and not is_private_host(host_of(url)):
        raise ConfigError(
            f"client_args.verify: false is taken only for hosts in your own network, and {where} is "
            f"{host_of(url)}; give the path of a file with the certificate to trust instead"
        )


def check_client(http: str, proxy: Secret | None) -> None:
    """Refuse an HTTP client that is not installed, or that cannot speak to the proxy."""
    if http != "aiohttp":
        return
    if find_spec("aiohttp") is None:
        raise MissingPackage("client_args.http: aiohttp is not installed: pip install 'modelwrap[fast]'")
    if proxy and proxy.reveal().lower().startswith("socks"):
        raise ConfigError("client_args.http: aiohttp does not speak to SOCKS proxies; write httpx2, or auto")
