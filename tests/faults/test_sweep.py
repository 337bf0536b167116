"""Every fault that the server knows, in slices of any size: whatever comes, it is an error of the library."""

from __future__ import annotations

import pytest

from modelwrap.testing import FaultServer
from tests.faults.columns import OURS, Column, Settings

# They take long because of their size, which slices make no more instructive.
LARGE = {
    *("compression_bomb", "deep_json", "endless_event", "endless_stream", "huge_body", "huge_header", "large_image"),
    *("long_integer", "long_stream", "many_headers", "too_many_choices"),
}


@pytest.mark.prove
@pytest.mark.parametrize("sliced", [None, 1, 7])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("column", OURS, ids=str)
def test_every_fault_is_an_error_of_the_library_or_none(column: Column, stream: bool, sliced: int | None) -> None:
    short = []

    with FaultServer() as server, column.prepared():
        for fault in server.faults():
            if fault.name in LARGE:
                continue
            url = server.url(fault.name, sliced=sliced)
            client = column.client(Settings(url, total=0.6, retries=0, first_token=0.3, idle=0.3))
            outcome = client.ask(stream=stream)
            left = client.close()
            if outcome.failure and not outcome.failure.own:
                short.append(f"{fault.name}: {outcome.failure.name}: {outcome.failure.message}")
            if left or outcome.seconds > 1.6 or not server.all_closed(fault.name):
                short.append(f"{fault.name}: {left}, {outcome.seconds:.1f} s, {server.seen(fault.name).open} open")

    assert short == []
