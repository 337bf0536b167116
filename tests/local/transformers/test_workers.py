"""Real models, however small, in threads and in processes: the same answers, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import resource
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

import modelwrap
from modelwrap.errors import CallError, ServerFailed

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.local.fake_runner import wait_until
from tests.local.transformers import tiny

pytestmark = [pytest.mark.xdist_group("torch"), pytest.mark.timeout(240)]


def load(worker: str, **config: Any) -> modelwrap.Model:
    given = {
        "config_name": "tiny",
        "model_type": "transformers",
        "model": str(tiny.llama()),
        "client_args": {"device": "cpu"},
        "worker": worker,
    }
    return modelwrap.load({**given, **config})["tiny"]


def engine(model: modelwrap.Model) -> Any:
    return model.model._engine  # type: ignore[attr-defined]


def pids(model: modelwrap.Model) -> list[int]:
    """Give the processes that compute for a model."""
    processes = [getattr(replica.worker, "_process", None) for replica in engine(model)._dispatch._replicas]
    return [process.pid for process in processes if process is not None]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a process, too, use no more than its share of the machine."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_answers_of_a_process_are_those_of_a_thread_also_when_it_is_killed_midway() -> None:
    asked: list[dict[str, Any]] = [
        {"temperature": 0.0},
        {"temperature": 1.0, "seed": 3},
        {"temperature": 0.8, "seed": 4, "repetition_penalty": 1.2, "logprobs": True, "top_logprobs": 2},
    ]
    threaded, processed = load("thread"), load("process")
    expected = [threaded("Name three rivers.", max_tokens=60, **parameters) for parameters in asked]

    streams = [processed.stream("Name three rivers.", max_tokens=60, **parameters) for parameters in asked]
    with ThreadPoolExecutor(len(asked)) as threads:
        begun = list(threads.map(next, streams))
        os.kill(pids(processed)[0], signal.SIGKILL)
        replies = list(threads.map(lambda stream: stream.reply, streams))
    threaded.close()
    processed.close()

    assert begun
    assert [reply.text for reply in replies] == [reply.text for reply in expected]
    assert [reply.usage for reply in replies] == [reply.usage for reply in expected]
    assert chances(replies[2]) == pytest.approx(chances(expected[2]), abs=1e-4)


def chances(reply: modelwrap.ChatReply) -> list[float]:
    """Give the logarithms of how likely each token was, and the likeliest in its place."""
    logprobs = reply.choices[0].logprobs
    assert logprobs is not None
    tokens = logprobs.content or []
    return [value.logprob for token in tokens for value in (token, *(token.top_logprobs or ()))]


@pytest.mark.parametrize("worker", ["thread", pytest.param("process", marks=pytest.mark.prove)])
def test_an_interpreter_ends_while_a_model_computes(worker: str) -> None:
    script = f"""
import threading, modelwrap
def ask():
    try:
        model("Hi", max_tokens=200, ignore_eos=True)
    except modelwrap.CallError:
        pass
model = modelwrap.load({{"config_name": "tiny", "model_type": "transformers", "model": {str(tiny.llama())!r},
    "client_args": {{"device": "cpu"}}, "worker": {worker!r}}})["tiny"]
next(model.stream("Hi", max_tokens=200, ignore_eos=True))
for _ in range(8):
    threading.Thread(target=ask, daemon=True).start()
next(model.stream("Hi", max_tokens=200, ignore_eos=True))
"""

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_request_that_breaks_the_model_fails_alone() -> None:
    model = load("thread")
    live = model.model.live  # type: ignore[attr-defined]
    poison = 77

    def refuse(module: Any, arguments: Any, options: Any) -> None:
        if (options["input_ids"] == poison).any():
            raise RuntimeError("the device is on fire")

    live.register_forward_pre_hook(refuse, with_kwargs=True)
    token = live.config.vocab_size
    assert poison < token
    with ThreadPoolExecutor(8) as threads:
        answers = list(
            threads.map(
                lambda number: outcome(
                    model, max_tokens=20, temperature=0, **({"logit_bias": {str(poison): 100}} if number == 3 else {})
                ),
                range(8),
            )
        )
    model.close()

    broken = answers.pop(3)
    assert isinstance(broken, ServerFailed)
    assert "the device is on fire" in str(broken)
    assert len(set(map(str, answers))) == 1
    assert all(isinstance(answer, str) for answer in answers)


def outcome(model: modelwrap.Model, **parameters: Any) -> str | CallError:
    try:
        return model("Name three rivers.", max_retries=0, **parameters).text
    except CallError as error:
        return error
