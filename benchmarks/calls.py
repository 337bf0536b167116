"""Processor time of one blocking call and of one streamed chunk, beside bare httpx2 and OpenAI's client."""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable

import httpx2
import openai
from measure import report
from server import CHUNKS, running

import modelwrap

MOST_MICROSECONDS = 20
MESSAGES = [{"role": "user", "content": "Hi"}]


def processor_time(works: dict[str, Callable[[], object]], *, times: int, rounds: int = 9) -> dict[str, float]:
    """Give the median seconds of processor that each work costs; the works take turns."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            # Nobody pays for the garbage of the one before.
            gc.collect()
            began = time.process_time()
            for _ in range(times):
                work()
            taken[name].append((time.process_time() - began) / times)
    return {name: statistics.median(values[1:]) for name, values in taken.items()}


def main() -> int:
    with running() as url, httpx2.Client() as bare, openai.OpenAI(api_key="EMPTY", base_url=url) as client:
        entry = {"config_name": "m", "model_type": "openai", "api_key": "EMPTY", "client_args": {"base_url": url}}
        model = modelwrap.load(entry)["m"]
        body = {"model": "m", "messages": MESSAGES}

        def stream_bare() -> None:
            with bare.stream("POST", f"{url}/chat/completions", json={**body, "stream": True}) as response:
                for line in response.iter_lines():
                    if line.startswith("data: {"):
                        json.loads(line[6:])

        calls = processor_time(
            {
                "bare httpx2, call": lambda: bare.post(f"{url}/chat/completions", json=body).json(),
                "modelwrap, call": lambda: model(MESSAGES),
                "openai, call": lambda: client.chat.completions.create(model="m", messages=MESSAGES),
            },
            times=200,
        )
        streams = processor_time(
            {
                "bare httpx2, stream": stream_bare,
                "modelwrap, stream": lambda: list(model.stream(MESSAGES)),
                "openai, stream": lambda: list(
                    client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
                ),
            },
            times=4,
        )
    missed = report(calls, base="bare httpx2, call", most={"modelwrap, call": 1.2})
    report(streams, base="bare httpx2, stream", most={})
    microseconds = streams["modelwrap, stream"] / CHUNKS * 1e6
    verdict = "met" if microseconds <= MOST_MICROSECONDS else "missed"
    print(f"one chunk of a modelwrap stream: {microseconds:.1f} µs   at most {MOST_MICROSECONDS}: {verdict}")
    return missed + (verdict == "missed")


if __name__ == "__main__":
    sys.exit(main())
