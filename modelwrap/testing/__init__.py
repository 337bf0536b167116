"""What tests of code that calls models need: scripted models, recordings, faults, and a ban on real requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelwrap.testing.fake import FakeCall as FakeCall
    from modelwrap.testing.fake import FakeModel as FakeModel
    from modelwrap.testing.faults import FaultServer as FaultServer
    from modelwrap.testing.installing import use_fake as use_fake
    from modelwrap.testing.recording import forbid_requests as forbid_requests
    from modelwrap.testing.recording import record as record
    from modelwrap.testing.recording import replay as replay
    from modelwrap.testing.script import Cut as Cut

# Loaded when first touched: pytest imports this package at every start, whether or not a test needs it.
_HOMES = {
    "Cut": "script",
    "FakeCall": "fake",
    "FakeModel": "fake",
    "FaultServer": "faults",
    "forbid_requests": "recording",
    "record": "recording",
    "replay": "recording",
    "use_fake": "installing",
}

__all__ = ["Cut", "FakeCall", "FakeModel", "FaultServer", "forbid_requests", "record", "replay", "use_fake"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
