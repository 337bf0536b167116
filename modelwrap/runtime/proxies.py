"""Through which proxy a request goes, and that its password is never shown."""

from __future__ import annotations

import base64
import urllib.request
from contextlib import suppress
from urllib.parse import urlsplit

import httpx2

from modelwrap.errors import BadRequest, ConfigError
from modelwrap.runtime.socks import Socks
from modelwrap.secrets import Secret
from modelwrap.wire.http import Connection

_SOCKS_PORT = 1080


def proxy_for(origin: str, connection: Connection) -> Secret | None:
    """Give the URL of the proxy that stands between here and an origin: the config's, or else the environment's."""
    if connection.public_only:
        # A proxy would resolve the name anew, and nobody here would know to what.
        if connection.proxy:
            raise BadRequest(f"{origin} may be reached at a public address only, and a proxy hides it", sent=False)
        return None
    proxy = Secret(of_environment(origin)) if connection.proxy is None else connection.proxy
    return proxy or None


def is_socks(proxy: Secret | None) -> bool:
    return proxy is not None and proxy.reveal().lower().startswith("socks")


def has_tunnels(origin: str, connection: Connection) -> bool:
    """Tell whether connections to an origin go through a proxy that is asked to pass bytes on."""
    proxy = proxy_for(origin, connection)
    return proxy is not None and not is_socks(proxy) and origin.startswith("https:")


def is_forwarded(origin: str, connection: Connection) -> bool:
    """Tell whether requests to an origin go to a proxy that reads them, and is asked for whole URLs."""
    proxy = proxy_for(origin, connection)
    return proxy is not None and not is_socks(proxy) and origin.startswith("http:")


def socks_for(origin: str, connection: Connection) -> Socks | None:
    """Give the SOCKS proxy that stands between here and an origin."""
    proxy = proxy_for(origin, connection)
    if proxy is None or not is_socks(proxy):
        return None
    url = parsed(proxy, origin)
    login = url.raw_auth
    return Socks(
        url.url.host, url.url.port or _SOCKS_PORT, Secret(b":".join(login).decode()) if login is not None else None
    )


def parsed(proxy: Secret, origin: str) -> httpx2.Proxy:
    """Take a proxy's URL apart."""
    with suppress(ValueError, httpx2.InvalidURL):
        found = httpx2.Proxy(proxy.reveal())
        if found.url.host and (found.url.port is None or 0 < found.url.port < 2**16):
            return found
    # Raised out here, because what the client raises knows the password.
    raise ConfigError(f"the proxy for {origin} is no URL of a proxy, as in http://user:password@host:3128")


def authorization(proxy: httpx2.Proxy) -> Secret | None:
    """Give the header by which one logs in at a proxy; None where there is no login."""
    if proxy.raw_auth is None:
        return None
    return Secret("Basic " + base64.b64encode(b":".join(proxy.raw_auth)).decode())


def of_environment(origin: str) -> str:
    """Read HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, empty where none is meant; loopback goes through none."""
    parts = urlsplit(origin)
    host = parts.hostname or ""
    if host == "localhost" or host == "::1" or host.startswith("127."):
        return ""
    if urllib.request.proxy_bypass(host):
        return ""
    proxies = urllib.request.getproxies()
    proxy = (proxies.get(parts.scheme) or proxies.get("all") or "").strip()
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy
