"""Fixtures for pytest. It loads this at every start, so modelwrap's own modules are imported where a test asks."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from modelwrap.testing import FakeModel

_LONGEST_NAME = 100

_outcome = pytest.StashKey[str]()


class _TestNotPassed(Exception):
    """Tell a recording that its block ended badly; pytest tells everybody else."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("modelwrap").addoption(
        "--modelwrap-record",
        action="store_true",
        help="make real requests in tests that use modelwrap_replay, and record them anew",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # Another fixture may skip or fail before the test is called; a test that is interrupted has no outcome.
    if report.when == "call" or (report.when == "setup" and not report.passed):
        item.stash[_outcome] = report.outcome
    return report


@pytest.fixture
def modelwrap_fake() -> Iterator[Callable[..., FakeModel]]:
    """Put fakes under names: `modelwrap_fake("gpt", ["Hello"])` is what `get_model("gpt")` then gives."""
    from modelwrap.testing import FakeModel, use_fake

    with ExitStack() as stack:

        def install(name: str, replies: Any = (), **options: Any) -> FakeModel:
            model = replies if isinstance(replies, FakeModel) else FakeModel(replies, name=name, **options)
            stack.enter_context(use_fake(name, model))
            return model

        yield install


@pytest.fixture
def modelwrap_replay(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Answer the test's requests from `recordings/<module>/<test>.json` beside it.

    `pytest --modelwrap-record` makes the requests and writes the file.
    """
    from modelwrap.testing import record, replay

    path = recording_of(request.node)
    recording = request.config.getoption("--modelwrap-record")
    if not (recording or path.exists()):
        yield from _without_recording(path, request.node)
        return
    with suppress(_TestNotPassed), record(path) if recording else replay(path):
        yield path
        if request.node.stash.get(_outcome, "") != "passed":
            raise _TestNotPassed


@pytest.fixture
def modelwrap_forbid_requests(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make every real request of the test raise `RealRequestForbidden`, unless it is there to be recorded."""
    from modelwrap.testing import forbid_requests

    recording = request.config.getoption("--modelwrap-record") and "modelwrap_replay" in request.fixturenames
    with nullcontext() if recording else forbid_requests():
        yield


def _without_recording(path: Path, item: pytest.Item) -> Iterator[Path]:
    """Answer nothing, and fail the test unless it skips itself."""
    from modelwrap.runtime import played_by
    from modelwrap.runtime.tape import Player

    with played_by(Player((), str(path))):
        yield path
    if item.stash.get(_outcome, "") in ("passed", "failed"):
        pytest.fail(f"{path}: there is no recording of this test; run it once with --modelwrap-record", pytrace=False)


def recording_of(item: pytest.Item) -> Path:
    """Name the recording of a test: one file a test, in a folder a module."""
    within = item.nodeid.split("::", 1)[1].replace("::", "-")
    name = re.sub(r"[^\w.-]+", "-", within).strip("-")
    if len(name) > _LONGEST_NAME or name != re.sub(r"\[(.*)\]$", r"-\1", within):
        from hashlib import sha256

        # What the name lost may be all that tells two tests apart.
        name = f"{name[:_LONGEST_NAME]}-{sha256(within.encode()).hexdigest()[:8]}"
    return item.path.parent / "recordings" / item.path.stem / f"{name}.json"
