"""Run every benchmark of this folder, one after another, so that no two share the processor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent


def main() -> int:
    failed = 0
    for script in sorted(BENCHMARKS.glob("*.py")):
        if script.name not in ("run.py", "measure.py", "server.py"):
            print(f"== {script.stem}", flush=True)
            failed += subprocess.run([sys.executable, script], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
