from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from datetime import date
from pathlib import Path

import pytest

from modelwrap import registry
from modelwrap.models import hosted
from tests.colours import COLOURS, Colour
from tests.loopback import Loopback

# Loaded here and not by its entry point, so that the measuring of coverage has begun.
pytest_plugins = ["modelwrap.testing.fixtures"]

TESTS = Path(__file__).parent

# What not every machine has, and the variable by which a run says that this one has it.
REQUIRED = {
    TESTS / "recordings": "MODELWRAP_RECORDINGS_REQUIRED",
    TESTS / "engines": "MODELWRAP_ENGINES_REQUIRED",
    TESTS / "local" / "transformers": "MODELWRAP_ENGINES_REQUIRED",
}


def pytest_collection_finish() -> None:
    """Let the collector of garbage pass over the tests and all that they import: some of them call it often."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that was skipped for want of what is required to be there."""
    report = yield
    for folder, variable in REQUIRED.items():
        if report.skipped and os.environ.get(variable) == "1" and folder in item.path.parents:
            report.outcome = "failed"
            report.longrepr = f"{variable} is set, yet this was skipped: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def on_the_day_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no model be retired while the tests grow old."""
    monkeypatch.setattr(hosted, "today", lambda: date(2026, 11, 20))


@pytest.fixture(params=COLOURS, ids=lambda colour: colour.name)
def colour(request: pytest.FixtureRequest) -> Colour:
    """Run a test once as a blocking caller and once inside an event loop."""
    return request.param


@pytest.fixture
def server() -> Iterator[Loopback]:
    server = Loopback()
    yield server
    server.close()


@pytest.fixture
def echo_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the model type `echo` known; what a test registers vanishes with it."""
    from tests.echo import Echo

    monkeypatch.setattr(registry, "_targets", dict(registry._targets))
    monkeypatch.setattr(registry, "_aliases", dict(registry._aliases))
    registry.register("echo", Echo, aliases=["parrot"])
