"""Which HTTP client a request goes through."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import pytest

from modelwrap.errors import MissingPackage
from modelwrap.runtime import backends, pools
from modelwrap.runtime.base import Deadline
from modelwrap.wire.http import Connection, HttpRequest
from tests.colours import Colour
from tests.loopback import Loopback, json_answer


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Say which packages are installed."""
    versions: dict[str, str] = {}

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "version", version)
    backends.has_aiohttp.cache_clear()
    yield versions
    backends.has_aiohttp.cache_clear()


@pytest.mark.parametrize(
    "version, taken",
    [(None, False), ("3.9.5", False), ("3.13.99", False), ("3.14.0", True), ("3.99.1rc1", True), ("4.0.0a1", False)],
)
def test_aiohttp_is_taken_in_the_versions_that_are_known(
    installed: dict[str, str], version: str | None, taken: bool
) -> None:
    if version:
        installed["aiohttp"] = version

    assert backends.has_aiohttp() is taken


def pool_of_a_call(url: str, **fields: Any) -> str:
    async def call() -> str:
        runtime = Colour("concurrent").runtime()
        request = HttpRequest("POST", url, connection=Connection(**fields))
        await (await runtime.send(request, Deadline(5, runtime.now))).read()
        (pool,) = pools.current().loops[asyncio.get_running_loop()].values()
        return type(pool).__name__

    return asyncio.run(call())


def test_auto_takes_what_is_there(server: Loopback, installed: dict[str, str]) -> None:
    server.script(json_answer({}))
    without = pool_of_a_call(server.base_url)
    installed["aiohttp"] = "3.14.5"
    backends.has_aiohttp.cache_clear()

    assert (without, pool_of_a_call(server.base_url)) == ("LoopPool", "AiohttpPool")
    assert pool_of_a_call(server.base_url, http="httpx2") == "LoopPool"
    assert pool_of_a_call(server.base_url, http="aiohttp") == "AiohttpPool"


def test_aiohttp_that_is_asked_for_and_not_there_is_told(server: Loopback, installed: dict[str, str]) -> None:
    installed["aiohttp"] = "3.8.1"

    with pytest.raises(MissingPackage, match=r"pip install 'modelwrap\[fast\]'"):
        pool_of_a_call(server.base_url, http="aiohttp")

    assert server.asked == []
