"""Threads, forks and loops over one model: nobody gets another's answer, and nobody hangs."""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import modelwrap
from tests.loopback import Answer, Asked, Loopback, chat_answer, stream_answer


def echo(asked: Asked) -> Answer:
    text = asked.body["messages"][0]["content"]
    return stream_answer(text[:3], text[3:]) if asked.body.get("stream") else chat_answer(text)


@pytest.fixture
def model(server: Loopback) -> modelwrap.Model:
    server.script(echo)
    config = {"config_name": "gpt", "model_type": "openai", "client_args": {"base_url": server.base_url}}
    return modelwrap.load(config)["gpt"]


def test_thirty_two_threads_get_their_own_answers(model: modelwrap.Model) -> None:
    def ask(number: int) -> bool:
        question = f"question {number}"
        answer = model(question).text if number % 2 else model.stream(question).reply.text
        return answer == question

    with ThreadPoolExecutor(32) as threads:
        answers = list(threads.map(ask, range(640)))

    assert answers == [True] * 640


def test_many_tasks_get_their_own_answers(model: modelwrap.Model) -> None:
    async def ask(number: int) -> bool:
        question = f"question {number}"
        reply = await (model.acall(question) if number % 2 else model.astream(question).reply)
        return reply.text == question

    async def ask_all() -> list[bool]:
        return await asyncio.gather(*map(ask, range(100)))

    assert asyncio.run(ask_all()) == [True] * 100


def test_one_model_serves_twenty_loops(model: modelwrap.Model) -> None:
    async def ask() -> str:
        return (await model.acall("again")).text

    assert [asyncio.run(ask()) for _ in range(20)] == ["again"] * 20


def test_loops_in_threads_do_not_meet(model: modelwrap.Model) -> None:
    async def ask(number: int) -> str:
        return (await model.acall(f"loop {number}")).text

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: asyncio.run(ask(number)), range(40)))

    assert answers == [f"loop {number}" for number in range(40)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_children_do_not_share_their_parents_connections(model: modelwrap.Model) -> None:
    assert model("in the parent").text == "in the parent"

    children = []
    for child in range(6):
        pid = os.fork()
        if pid == 0:
            questions = [f"child {child}, question {number}" for number in range(40)]
            good = all(model(question).text == question for question in questions)
            os._exit(0 if good else 1)
        children.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]

    assert codes == [0] * 6
    assert model("in the parent again").text == "in the parent again"


def test_loops_may_begin_and_end_at_the_same_time(model: modelwrap.Model) -> None:
    def ask(number: int) -> bool:
        return asyncio.run(model.acall(f"question {number}")).text == f"question {number}"

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(32) as threads:
            answers = list(threads.map(ask, range(320)))
    finally:
        sys.setswitchinterval(interval)

    assert answers == [True] * 320


def test_ctrl_c_ends_a_blocking_call(server: Loopback) -> None:
    import signal
    import subprocess
    import time

    server.script(Answer(200, {}, [5.0]))
    script = (
        "import modelwrap, sys\n"
        f"config = {{'config_name': 'a', 'model_type': 'openai', 'client_args': {{'base_url': {server.base_url!r}}}}}\n"
        "print('ready', flush=True)\n"
        "modelwrap.load(config)['a']('Hi')\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    while not server.asked:
        time.sleep(0.01)

    child.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, errors = child.communicate(timeout=10)

    assert time.monotonic() - started < 1.5
    assert b"KeyboardInterrupt" in errors
