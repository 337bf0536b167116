"""Fuzz what reads hostile bytes: `make fuzz`, for FUZZ_SECONDS each target, two at a time.

    python proof/fuzz.py [--seconds N | --runs N] [target …]
    python proof/fuzz.py --reproduce FILE target

An input that breaks a promise is kept under build/fuzz/crashes and fails the command. What the fuzzer learns is kept
under build/fuzz/corpus, from where the next run goes on; proof/seeds is where the first begins.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
SEEDS = ROOT / "proof" / "seeds"
NAMES = ("sse", "json", "config", "retry_after")
AT_ONCE = 2

# A crash, a hang or too much memory in one input ends a target.
LIMITS = ("-max_len=4096", "-timeout=10", "-rss_limit_mb=1024")


@dataclass(frozen=True)
class Outcome:
    target: str
    runs: int
    seconds: float
    crash: str
    """What the fuzzer said, where it found something."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[*NAMES, []], metavar="target", help=", ".join(NAMES))
    parser.add_argument("--seconds", type=int, default=600, help="how long each target is fuzzed")
    parser.add_argument("--runs", type=int, help="how many inputs each target is given, instead of a time")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "fuzz", help="where finds are kept")
    parser.add_argument("--reproduce", type=Path, metavar="FILE", help="give one target one input")
    asked = parser.parse_args(arguments)
    if asked.reproduce:
        return reproduce(asked.targets, asked.reproduce)
    bound = f"-runs={asked.runs}" if asked.runs is not None else f"-max_total_time={asked.seconds}"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(lambda target: fuzz(target, bound, asked.folder), asked.targets or NAMES))
    print(table(outcomes))
    return int(any(outcome.crash for outcome in outcomes))


def fuzz(target: str, bound: str, folder: Path) -> Outcome:
    """Fuzz one target in a process of its own."""
    corpus, crashes = folder / "corpus" / target, folder / "crashes"
    for needed in (corpus, crashes):
        needed.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    options = [bound, *LIMITS, f"-artifact_prefix={crashes}/{target}-", "-print_final_stats=1"]
    child = subprocess.run(
        [sys.executable, __file__, "--child", target, *options, corpus, SEEDS / target],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    runs = re.search(r"stat::number_of_executed_units:\s+(\d+)", child.stdout)
    crash = "\n".join(child.stdout.splitlines()[-40:]) if child.returncode else ""
    return Outcome(target, int(runs[1]) if runs else 0, time.monotonic() - started, crash)


def table(outcomes: list[Outcome]) -> str:
    lines = [f"{'target':12} {'inputs':>12} {'seconds':>8}  found"]
    for outcome in outcomes:
        found = "a crash" if outcome.crash else "nothing"
        lines.append(f"{outcome.target:12} {outcome.runs:>12,} {outcome.seconds:>8.0f}  {found}")
    return "\n".join(lines + [f"\n== {outcome.target}\n{outcome.crash}" for outcome in outcomes if outcome.crash])


def reproduce(targets: list[str], file: Path) -> int:
    from proof.targets import TARGETS

    (target,) = targets
    TARGETS[target](file.read_bytes())
    print(f"{target}: {file} is read as it should be")
    return 0


def child(target: str, arguments: list[str]) -> None:
    """Be the process that fuzzes one target."""
    import atheris

    with atheris.instrument_imports(include=["modelwrap", "email"]):
        from proof.targets import TARGETS

    atheris.Setup([sys.argv[0], *arguments], TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3:])
    sys.exit(main())
