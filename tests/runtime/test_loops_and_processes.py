"""Many loops, many threads, forked children: each has connections of its own, and nobody gets another's answer."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from modelwrap.errors import ConfigError
from modelwrap.runtime import backends
from modelwrap.runtime.base import Deadline, Runtime
from modelwrap.runtime.concurrent import Concurrent
from modelwrap.testing import FaultServer
from modelwrap.wire.http import Connection, HttpRequest, Timeouts
from tests.colours import WAYS, Colour

CONCURRENT = [way for way in WAYS if way.name == "concurrent"]
forking = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
threads_are_meant = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def url() -> Iterator[str]:
    with FaultServer() as server:
        yield f"{server.url('echo')}/chat/completions"


async def ask(runtime: Runtime, url: str, question: str) -> bool:
    content = b'{"messages": [{"role": "user", "content": "<%s>"}]}' % question.encode()
    request = HttpRequest("POST", url, content=content, timeouts=Timeouts(total=10))
    response = await runtime.send(request, Deadline(10, runtime.now))
    return f"<{question}>".encode() in await response.read()


async def ask_often(runtime: Runtime, url: str, name: str, times: int) -> bool:
    return all([await ask(runtime, url, f"{name}, question {number}") for number in range(times)])


def test_twenty_loops_one_after_another(colour: Colour, url: str) -> None:
    answers = [colour.run(ask_often(colour.runtime(), url, f"loop {number}", 2)) for number in range(20)]

    assert answers == [True] * 20


@pytest.mark.parametrize("way", CONCURRENT, ids=lambda way: way.client)
def test_loops_that_are_not_of_asyncio(way: Colour) -> None:
    on_uvloop = replace(way, loop_factory=pytest.importorskip("uvloop").new_event_loop)
    large = b'{"messages": [{"role": "user", "content": "%s"}]}' % (b"x" * 2**20)

    async def ask_in_both_ways(server: FaultServer) -> list[int]:
        runtime, connection = way.runtime(), Connection(verify=server.authority)
        statuses = []
        for url in (server.url("good"), server.url("trusted_certificate")) * 2:
            request = HttpRequest("POST", url, content=large, connection=connection, timeouts=Timeouts(total=10))
            response = await runtime.send(request, Deadline(10, runtime.now))
            await response.read()
            statuses.append(response.status)
        return statuses

    with FaultServer() as server:
        assert on_uvloop.run(ask_in_both_ways(server)) == [200] * 4
        assert server.all_closed("good")
        assert server.all_closed("trusted_certificate")


def test_loops_in_threads_that_loops_started(url: str) -> None:
    way = Colour("concurrent")

    async def outer(number: int) -> list[bool]:
        inner = asyncio.to_thread(lambda: asyncio.run(ask_often(way.runtime(), url, f"inner {number}", 3)))
        return await asyncio.gather(ask_often(way.runtime(), url, f"outer {number}", 3), inner)

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda number: asyncio.run(outer(number)), range(8)))

    assert answers == [[True, True]] * 8


def test_a_blocking_call_inside_a_running_loop(url: str) -> None:
    blocking, concurrent = WAYS[:2]

    async def both() -> list[bool]:
        return [
            await ask(concurrent.runtime(), url, "before"),
            blocking.run(ask(blocking.runtime(), url, "within")),
            await ask(concurrent.runtime(), url, "after"),
        ]

    assert asyncio.run(both()) == [True] * 3


def forked(work: object) -> int:
    """Run work in a child, and give its process id; it ends with 0 where the work gave True."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            code = 0 if work() is True else 1  # type: ignore[operator]  # a function without arguments
        finally:
            os._exit(code)
    return process


@forking
@threads_are_meant
def test_forked_children_have_connections_of_their_own(colour: Colour, url: str) -> None:
    runtime = colour.runtime()
    assert colour.run(ask_often(runtime, url, "parent", 2))

    children = [
        forked(lambda child=child: colour.run(ask_often(runtime, url, f"child {child}", 40))) for child in range(6)
    ]
    codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in children]

    assert codes == [0] * 6
    assert colour.run(ask_often(runtime, url, "parent again", 2))


@forking
@threads_are_meant
@pytest.mark.parametrize("way", CONCURRENT, ids=lambda way: way.client)
def test_a_fork_in_the_middle_of_a_loops_calls_disturbs_neither(way: Colour, url: str) -> None:
    runtime = way.runtime()

    async def busy() -> tuple[bool, int]:
        calls = [asyncio.create_task(ask_often(runtime, url, f"task {number}", 10)) for number in range(10)]
        await asyncio.sleep(0.01)
        # The child never returns to this loop.
        child = forked(
            lambda: ThreadPoolExecutor(1).submit(lambda: way.run(ask_often(runtime, url, "child", 20))).result()
        )
        answers = await asyncio.gather(*calls)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        return all(answers), os.waitstatus_to_exitcode(status)

    assert way.run(busy()) == (True, 0)


@forking
@threads_are_meant
def test_a_fork_while_other_threads_open_pools_does_not_hang(url: str) -> None:
    blocking = WAYS[0]
    stop = threading.Event()

    def keep_opening() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            asyncio.run(ask(Colour("concurrent").runtime(), url, f"loop {number}"))
            blocking.run(ask(blocking.runtime(), url, f"thread {number}"))

    threads = [threading.Thread(target=keep_opening) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        children = [
            forked(lambda child=child: blocking.run(ask_often(blocking.runtime(), url, f"child {child}", 5)))
            for child in range(10)
        ]
        codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in children]
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    assert codes == [0] * 10


@pytest.mark.parametrize(
    "work",
    [
        lambda url: ask(Concurrent(), url, "where am I"),
        lambda url: Concurrent().sleep(0),
        lambda url: Concurrent().run(len, ""),
        lambda url: Concurrent().wait(Future(), Deadline(1)),
        lambda url: Concurrent().each(asyncio.sleep, [0]),
        lambda url: backends.aclose(url),
    ],
    ids=["send", "sleep", "run", "wait", "each", "close"],
)
def test_who_awaits_on_another_loop_than_asyncios_is_told_so(work: Callable[[str], Any], url: str) -> None:
    with pytest.raises(ConfigError, match=r"run on asyncio, .*; under trio call the blocking methods in a thread"):
        # As trio does it.
        work(url).send(None)


def test_a_daemon_thread_in_the_middle_of_a_stream_does_not_disturb_the_end_of_python() -> None:
    script = """
import atexit, sys, threading, time
atexit.register(time.sleep, 0.2)  # what is registered first is done last
import modelwrap
client = {"base_url": sys.argv[1], "max_retries": 0}
model = modelwrap.load({"config_name": "a", "model_type": "openai", "api_key": "EMPTY", "client_args": client})["a"]
begun = threading.Semaphore(0)
def read():
    for _ in model.stream("Hi"):
        begun.release()
for _ in range(4):
    threading.Thread(target=read, daemon=True).start()
for _ in range(4 * 5):
    begun.acquire()
"""
    with FaultServer() as server:
        command = [sys.executable, "-c", script, server.url("endless_stream", every=0.001)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=20)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
