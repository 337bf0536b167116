"""Time pieces of code in fresh interpreters whose bytecode is compiled already."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent


def medians(codes: Mapping[str, str], *, runs: int = 15) -> dict[str, float]:
    """Give the median seconds of each code; they take turns, so that a slow moment hits all of them."""
    with tempfile.TemporaryDirectory() as bytecode:
        for code in codes.values():
            seconds(code, bytecode)
        taken: dict[str, list[float]] = {name: [] for name in codes}
        for _ in range(runs):
            for name, code in codes.items():
                taken[name].append(seconds(code, bytecode))
    return {name: statistics.median(values) for name, values in taken.items()}


def seconds(code: str, bytecode: str) -> float:
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    timed = f"import time\nbegan = time.perf_counter()\n{code}\nprint(time.perf_counter() - began)"
    done = subprocess.run([sys.executable, "-c", timed], env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def report(taken: Mapping[str, float], *, base: str, most: Mapping[str, float]) -> int:
    """Print each time with its ratio to `base`; give the count of ratios above what is allowed."""
    missed = 0
    for name, value in taken.items():
        ratio = value / taken[base]
        verdict = ""
        if name in most:
            missed += ratio > most[name]
            verdict = f"   at most {most[name]:g}: {'missed' if ratio > most[name] else 'met'}"
        print(f"{name:<36} {value * 1000:9.2f} ms   {ratio:6.3f} × {base}{verdict}")
    return missed
