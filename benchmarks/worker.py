"""Measure one contender in this process, which is fresh: `worker.py NAME BASE_URL WORK OPTIONS` prints JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

from contenders import CONTENDERS, Concurrent, Contender


def blocking(contender: Contender, base_url: str, calls: int, streams: int) -> dict[str, float]:
    """Measure from nothing imported to the first reply, and from there on what a call and a piece of a stream cost."""
    began = time.perf_counter()
    __import__(contender.package)
    imported = time.perf_counter()
    assert contender.blocking is not None
    client = contender.blocking(base_url)
    assert client.call() == "Hello"
    replied = time.perf_counter()
    memory = resident_bytes()

    for _ in range(calls // 10):
        client.call()
    call = processor_time(client.call, calls)
    pieces = client.stream()
    return {
        "import": imported - began,
        "first reply": replied - began,
        "memory": memory,
        "call": call,
        "piece": processor_time(client.stream, streams) / pieces,
    }


def processor_time(work: Callable[[], object], times: int) -> float:
    """Give the seconds of processor, all threads together, that one time costs."""
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times


def concurrent(contender: Contender, base_url: str, callers: list[int], seconds: float) -> dict[str, float]:
    """Measure calls a second, and the processor time of each, while so many are under way at any moment."""
    import asyncio

    async def measured() -> dict[str, float]:
        assert contender.concurrent is not None
        call = contender.concurrent(base_url)
        found = {}
        for count in callers:
            found[f"{count} at once"], found[f"{count} at once, call"] = await at_once(count, call, seconds)
        return found

    async def at_once(count: int, call: Concurrent, seconds: float) -> tuple[float, float]:
        answered = [0] * count
        enough = asyncio.Event()

        async def keep_calling(caller: int) -> None:
            while not enough.is_set():
                assert await call() == "Hello"
                answered[caller] += 1

        tasks = [asyncio.create_task(keep_calling(caller)) for caller in range(count)]

        async def work_for(seconds: float) -> None:
            ended, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
            for task in ended:
                task.result()

        # Everyone has a connection once everyone had an answer.
        while not all(answered):
            await work_for(0.1)
        before, began, processor_before = sum(answered), time.perf_counter(), time.process_time()
        # Slow ones go in step, all of them at one point of their calls; two answers each even that out.
        while (done := sum(answered) - before) < 2 * count or time.perf_counter() - began < seconds:
            await work_for(seconds)
        passed, worked = time.perf_counter() - began, time.process_time() - processor_before
        enough.set()
        await asyncio.gather(*tasks)
        return done / passed, worked / done

    return asyncio.run(measured())


def growth(contender: Contender, base_url: str, calls: int) -> dict[str, float]:
    """Measure by how much the process grows over many calls, once a tenth of them has been made."""
    assert contender.blocking is not None
    call = contender.blocking(base_url).call
    for _ in range(calls // 10):
        call()
    before = resident_bytes()
    for _ in range(calls):
        call()
    return {"growth": resident_bytes() - before}


def resident_bytes() -> int:
    from pathlib import Path

    status = Path("/proc/self/status").read_text("ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


WORKS: dict[str, Callable[..., dict[str, float]]] = {"blocking": blocking, "concurrent": concurrent, "growth": growth}


def main() -> None:
    name, base_url, work, options = sys.argv[1:]
    contender = next(one for one in CONTENDERS if one.name == name)
    print(json.dumps(WORKS[work](contender, base_url, **json.loads(options))))


if __name__ == "__main__":
    main()
