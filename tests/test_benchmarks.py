from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.timeout(120)
def test_a_benchmark_measures_what_is_installed_and_leaves_its_page_alone() -> None:
    page = ROOT / "docs" / "performance.md"
    before = page.read_text("utf-8")

    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "run.py", "--brief", "bare httpx2", "modelwrap"],
        capture_output=True,
        text=True,
        check=False,
    )

    ours = [line.split("|")[2:-1] for line in done.stdout.splitlines() if line.startswith("| modelwrap ")]
    assert len(ours) == 2, done.stderr
    assert all(" ms" in table[0] or "/s" in table[0] for table in ours)
    assert page.read_text("utf-8") == before


@pytest.mark.timeout(120)
def test_a_vendors_own_client_is_measured_beside_ours() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "vendors.py", "--brief", "gemini"],
        capture_output=True,
        text=True,
        check=False,
    )

    rows = [line.split("|")[1:3] for line in done.stdout.splitlines()[2:]]
    assert [[cell.strip() for cell in row] for row in rows] == [["gemini", "call"], ["gemini", "piece"]], done.stderr
