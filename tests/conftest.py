from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

RECORDINGS = Path(__file__).parent / "recordings"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test of the recordings that was skipped where they are required to be there."""
    report = yield
    if report.skipped and os.environ.get("MODELWRAP_RECORDINGS_REQUIRED") == "1" and RECORDINGS in item.path.parents:
        report.outcome = "failed"
        report.longrepr = f"MODELWRAP_RECORDINGS_REQUIRED is set, yet this was skipped: {report.longrepr}"
    return report
