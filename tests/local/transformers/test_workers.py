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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import modelwrap
from modelwrap.errors import CallError, ServerFailed

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.local.transformers import tiny

pytestmark = [pytest.mark.xdist_group("torch"), pytest.mark.timeout(240)]


def load(worker: str, **config: Any) -> modelwrap.Model:
    given = {
        "config_name": "tiny",
        "model_type": "transformers",
        "model": str(tiny.llama()),
        "devices": ["cpu"],
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


# The long form.

POISON = 77
GREEDY = {"temperature": 0.0, "logit_bias": {str(POISON): -100}}
POISONED = {"logit_bias": {str(POISON): 100}, "max_tokens": 9}
QUESTIONS = ["Name three rivers.", "Hi", "What is two and two?", "Größe, 北京?"]


@dataclass
class Asked:
    question: str
    parameters: dict[str, Any]
    streams: bool
    leaves_after: int | None = None
    fails: bool = False
    text: str = ""
    end: str = ""

    def take(self, error: BaseException) -> None:
        assert isinstance(error, CallError), error
        self.end = "failed"
        assert str(error)

    def left(self, pieces: int) -> bool:
        return self.leaves_after is not None and pieces >= self.leaves_after


def random_call(dice: random.Random, wrongs: list[dict[str, Any]]) -> Asked:
    parameters: dict[str, Any] = {"max_tokens": dice.randrange(1, 40), **GREEDY, "max_retries": 0}
    kind = dice.random()
    asked = Asked(dice.choice(QUESTIONS), parameters, streams=dice.random() < 0.5)
    if kind < 0.5:
        parameters |= {"temperature": dice.uniform(0.1, 2), "top_p": dice.uniform(0.3, 1), "seed": dice.randrange(99)}
        parameters |= dice.choice(
            [{}, {"top_k": 5}, {"min_p": 0.1}, {"frequency_penalty": 1.0}, {"stop": ["a", "the"]}]
        )
        parameters |= dice.choice([{}, {"n": 2}, {"logprobs": True, "top_logprobs": 3}])
    elif kind < 0.53:
        asked.fails = True
        parameters |= dice.choice(wrongs)
    elif kind < 0.65:
        asked.leaves_after = dice.randrange(5)
    return asked


def ask(model: modelwrap.Model, asked: Asked) -> None:
    try:
        if not (asked.streams or asked.leaves_after is not None):
            asked.text = model(asked.question, **asked.parameters).text
            asked.end = "answered"
            return
        with model.stream(asked.question, **asked.parameters) as stream:
            for number, chunk in enumerate(stream):
                asked.text += chunk.text
                if asked.left(number):
                    asked.end = "left"
                    return
        asked.end = "answered"
    except CallError as error:
        asked.take(error)


async def ask_in_loop(model: modelwrap.Model, asked: Asked, free: asyncio.Semaphore) -> None:
    async with free:
        try:
            if asked.leaves_after is not None:
                await asyncio.wait_for(model.acall(asked.question, **asked.parameters), asked.leaves_after * 0.01)
            elif asked.streams:
                async for chunk in model.astream(asked.question, **asked.parameters):
                    asked.text += chunk.text
            else:
                asked.text = (await model.acall(asked.question, **asked.parameters)).text
            asked.end = "answered"
        except TimeoutError:
            asked.end = "left"
        except CallError as error:
            asked.take(error)


@contextmanager
def unrest(model: modelwrap.Model, dice: random.Random) -> Iterator[Counter[str]]:
    """Add and remove replicas, and kill processes, while something else happens."""
    replicas: Any = model.model  # type: ignore[attr-defined]
    done: Counter[str] = Counter()
    over = threading.Event()

    def stir() -> None:
        while not over.wait(dice.random() * 0.5):
            living = pids(model)
            if living and dice.random() < 0.5:
                os.kill(dice.choice(living), signal.SIGKILL)
                done["killed"] += 1
            elif len(replicas.devices) < 3:
                replicas.add_replica("cpu")
                done["added"] += 1
            else:
                replicas.remove_replica()
                done["removed"] += 1

    thread = threading.Thread(target=stir)
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join(120)
        assert not thread.is_alive()


def storm(
    model: modelwrap.Model, number: int, seed: int, expected: dict[str, str], wrongs: list[dict[str, Any]]
) -> tuple[Counter[str], Counter[str]]:
    dice = random.Random(seed)
    calls = [random_call(dice, wrongs) for _ in range(number)]

    async def ask_all() -> None:
        free = asyncio.Semaphore(24)
        await asyncio.gather(*[ask_in_loop(model, asked, free) for asked in calls[1::2]])

    with unrest(model, dice) as stirred, ThreadPoolExecutor(13) as threads:
        looping = threads.submit(asyncio.run, ask_all())
        list(threads.map(lambda asked: ask(model, asked), calls[::2]))
        looping.result(600)
    for asked in calls:
        assert asked.end == "failed" or not (asked.fails and asked.end == "answered"), asked
        if asked.parameters["temperature"] == 0 and asked.end == "answered":
            # The last token may be half a character.
            assert expected[asked.question].startswith(asked.text.rstrip("\ufffd")), asked
    return Counter("broken" if asked.end == "failed" and not asked.fails else asked.end for asked in calls), stirred


def poisonable(device: str) -> dict[str, Any]:
    """Load the model, which a certain token makes fail."""
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(tiny.llama())

    def refuse(module: Any, arguments: Any, options: Any) -> None:
        if (options["input_ids"] == POISON).any():
            raise RuntimeError("the device is on fire")

    model.register_forward_pre_hook(refuse, with_kwargs=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny.llama())
    return {"model_name": "tiny", "model": model, "tokenizer": tokenizer}


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_thousands_of_calls_of_a_real_model_in_threads() -> None:
    modelwrap.register_entry("poisonable", poisonable)
    model = load("thread", entry="poisonable", devices=["cpu", "cpu"])
    expected = {question: model(question, max_tokens=40, **GREEDY).text for question in QUESTIONS}
    outcomes: Counter[str] = Counter()
    stirred: Counter[str] = Counter()
    taken: list[int] = []

    for seed in range(5):
        became, done = storm(model, 1000, seed, expected, [POISONED, {"temperature": -1}])
        outcomes, stirred = outcomes + became, stirred + done
        gc.collect()
        taken.append(resident())

    model.close()
    assert outcomes.total() == 5000
    assert outcomes["broken"] == 0
    assert min(outcomes[end] for end in ("answered", "failed", "left")) > 50
    assert min(stirred[what] for what in ("added", "removed")) > 5
    assert max(taken[2:]) - taken[1] < 40_000_000, taken


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_a_thousand_calls_of_a_real_model_in_processes_that_are_killed() -> None:
    model = load("process", devices=["cpu", "cpu"])
    expected = {question: model(question, max_tokens=40, **GREEDY).text for question in QUESTIONS}

    outcomes, stirred = storm(model, 1000, 1, expected, [{"temperature": -1}, {"top_p": 7}])

    model.close()
    assert outcomes.total() == 1000
    # Who is alone in a process that somebody kills twice is taken for the one to blame.
    assert outcomes["broken"] < 10
    assert stirred["killed"] > 1


def resident() -> int:
    """Give how many bytes of memory this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
