"""Count how many small mistakes the tests notice, in each module that pyproject.toml names: `make mutate`.

mutmut makes one mistake at a time and runs the tests that touch it. A mistake that no test notices has survived;
what survived is printed, and a module that keeps less than 85 % out fails the command.

    python proof/mutate.py [--at-once N] [module …]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
MUTANTS = ROOT / "mutants"
LEAST_NOTICED = 85.0
NOTICED = ("killed", "timeout", "segfault", "caught by type check")


@dataclass
class Outcome:
    module: str
    counts: Counter[str] = field(default_factory=Counter)
    survivors: list[str] = field(default_factory=list)

    @property
    def made(self) -> int:
        return self.counts.total()

    @property
    def noticed(self) -> float:
        """How many of a hundred."""
        return 100 * sum(self.counts[status] for status in NOTICED) / self.made if self.made else 0.0

    @property
    def enough(self) -> bool:
        return self.noticed >= LEAST_NOTICED


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help="as in modelwrap/wire/sse.py; all of them by default")
    parser.add_argument("--at-once", type=int, default=os.cpu_count(), help="how many mistakes are tried at once")
    asked = parser.parse_args(arguments)
    # What an earlier run found may be about other code.
    shutil.rmtree(MUTANTS, ignore_errors=True)
    patterns = [f"{module.removesuffix('.py').replace('/', '.')}.*" for module in asked.modules]
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(asked.at_once), *patterns]
    finished = subprocess.run(command, cwd=ROOT, check=False)
    outcomes = [outcome for outcome in _outcomes() if not asked.modules or outcome.module in asked.modules]
    print(table(outcomes))
    tried = sum(outcome.made for outcome in outcomes)
    return int(finished.returncode != 0 or not tried or not all(outcome.enough for outcome in outcomes))


def table(outcomes: list[Outcome]) -> str:
    lines = [f"\n{'module':34} {'made':>5} {'killed':>7} {'timeout':>8} {'survived':>9} {'noticed':>8}"]
    for outcome in outcomes:
        killed, late = outcome.counts["killed"], outcome.counts["timeout"]
        lines.append(
            f"{outcome.module:34} {outcome.made:>5} {killed:>7} {late:>8} {len(outcome.survivors):>9}"
            f" {outcome.noticed:>6.1f} %{'' if outcome.enough else f'  less than {LEAST_NOTICED:g} %'}"
        )
    for outcome in outcomes:
        lines += [f"\n== survived in {outcome.module}", *outcome.survivors] if outcome.survivors else []
    return "\n".join(lines)


def _outcomes() -> Iterator[Outcome]:
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.stats import status_by_exit_code
    from mutmut.utils.file_utils import walk_mutatable_files

    os.chdir(ROOT)
    for path in sorted(walk_mutatable_files()):
        mutated = SourceFileMutationData(path=path)
        mutated.load()
        outcome = Outcome(str(path))
        for mutant, code in mutated.exit_code_by_key.items():
            status = status_by_exit_code[code]
            outcome.counts[status] += 1
            if status not in NOTICED:
                outcome.survivors.append(f"{mutant} ({status})\n{_shown(mutant)}")
        if outcome.made:
            yield outcome


def _shown(mutant: str) -> str:
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    lines = get_diff_for_mutant(mutant).splitlines()
    return "\n".join(f"    {line}" for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---"))


if __name__ == "__main__":
    sys.exit(main())
