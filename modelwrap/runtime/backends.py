"""Which HTTP client a request goes through."""

from __future__ import annotations

import functools
from importlib import metadata

from modelwrap import runtime
from modelwrap.errors import ConfigError, MissingPackage
from modelwrap.runtime import httpx2_backend, pools, proxies
from modelwrap.runtime.base import Deadline, HttpResponse
from modelwrap.runtime.outgoing import target_of
from modelwrap.runtime.pools import Key, LoopPool
from modelwrap.wire.http import HttpRequest

# The oldest that has all that is asked of it.
_AIOHTTP = (3, 14)


async def send_blocking(request: HttpRequest, deadline: Deadline) -> HttpResponse:
    """Send for a thread that waits; never suspends."""
    runtime.check_allowed(request.url)
    target = target_of(request.url)
    pool = pools.current().for_thread(Key(target.origin, request.connection), httpx2_backend.BlockingPool)
    return await pool.send(request, target, deadline)


async def send_concurrent(request: HttpRequest, deadline: Deadline) -> HttpResponse:
    """Send for a task of the running loop."""
    runtime.check_allowed(request.url)
    target = target_of(request.url)
    pool = await pools.current().for_loop(Key(target.origin, request.connection), _loop_pool)
    return await pool.send(request, target, deadline)


def close(url: str) -> None:
    """Close the connections of this process's threads to the origin of a URL, those in use when their calls end."""
    pools.current().retire_blocking(target_of(url).origin)


async def aclose(url: str) -> None:
    """Close the connections of the running loop as well."""
    await pools.current().retire_of_loop(target_of(url).origin)
    close(url)


@functools.cache
def has_aiohttp() -> bool:
    """Tell whether aiohttp is here in a version that we know; others come along with all kinds of packages."""
    try:
        found = metadata.version("aiohttp")
    except metadata.PackageNotFoundError:
        return False
    major, minor = (int(part) for part in found.split(".")[:2])
    return _AIOHTTP <= (major, minor) < (_AIOHTTP[0] + 1, 0)


def _loop_pool(key: Key) -> LoopPool:
    if not _goes_through_aiohttp(key):
        return httpx2_backend.LoopPool(key)
    from modelwrap.runtime.aiohttp_backend import AiohttpPool

    return AiohttpPool(key)


def _goes_through_aiohttp(key: Key) -> bool:
    if key.connection.http == "httpx2":
        return False
    asked = key.connection.http == "aiohttp"
    if not has_aiohttp():
        if asked:
            raise MissingPackage(
                "client_args.http: aiohttp is not installed, or not in the version that is needed: "
                "pip install 'modelwrap[fast]'"
            )
        return False
    if proxies.is_socks(proxies.proxy_for(key.origin, key.connection)):
        if asked:
            raise ConfigError("client_args.http: aiohttp does not speak to SOCKS proxies; write httpx2")
        return False
    return True
