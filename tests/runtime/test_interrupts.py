"""Ctrl-C ends a blocking call within a second, wherever it waits."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from modelwrap.testing import FaultServer

SCRIPT = """
import modelwrap
client = {{"base_url": {url!r}, "timeout": {{"connect": 20, "total": 60}}}}
model = modelwrap.load({{"config_name": "a", "model_type": "openai", "api_key": "EMPTY", "client_args": client}})["a"]
{before}
print("ready", flush=True)
try:
    {work}
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""

WHOLE = 'model("Hi")'
STREAMED = 'print([chunk for chunk in model.stream("Hi")])'


@pytest.fixture(scope="module")
def faults() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


def wait_until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not happened() and time.monotonic() < end:
        time.sleep(0.005)


@pytest.mark.parametrize(
    "name, options, work",
    [
        ("silent", {}, WHOLE),
        ("drip_body", {"every": 0.01}, WHOLE),
        ("black_hole", {}, WHOLE),
        ("stalled_stream", {}, STREAMED),
        ("comments_only", {}, STREAMED),
        # The wait before the next attempt.
        ("retry_after", {"value": "30"}, WHOLE),
    ],
    ids=["waiting", "reading", "connecting", "streaming", "streaming nothing", "retrying"],
)
def test_ctrl_c_ends_a_blocking_call_within_a_second(
    faults: FaultServer, name: str, options: dict[str, object], work: str
) -> None:
    before = faults.seen(name).requests

    def under_way() -> bool:
        return name == "black_hole" or faults.seen(name).requests > before

    told, seconds = interrupted(SCRIPT.format(url=faults.url(name, **options), work=work, before=""), under_way)

    assert told == "interrupted\n"
    assert seconds < 1
    assert faults.all_closed(name)


def test_ctrl_c_leaves_no_socket_where_tls_is_being_agreed_on(faults: FaultServer) -> None:
    secure = faults.url("silent").replace("http:", "https:")

    told, seconds = interrupted(
        SCRIPT.format(url=secure, work=WHOLE, before=""), lambda: faults.seen("silent").open > 0
    )

    assert told == "interrupted\n"
    assert seconds < 1
    assert faults.all_closed("silent")


def test_ctrl_c_ends_a_call_that_waits_for_a_resolver() -> None:
    never = "import socket, time; socket.getaddrinfo = lambda *_, **__: time.sleep(30)"

    told, seconds = interrupted(SCRIPT.format(url="http://name.test/v1", work=WHOLE, before=never), lambda: True)

    assert told == "interrupted\n"
    assert seconds < 1


def interrupted(script: str, under_way: Callable[[], bool]) -> tuple[str, float]:
    """Run a script until its call is under way, interrupt it, and give what it said and how long that took."""
    # Warnings of sockets that nobody closed come with what it says.
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", script]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    wait_until(under_way)
    time.sleep(0.15)
    child.send_signal(signal.SIGINT)
    started = time.monotonic()
    told = child.stdout.readline()
    seconds = time.monotonic() - started
    rest, _ = child.communicate(timeout=10)
    return told + rest, seconds
