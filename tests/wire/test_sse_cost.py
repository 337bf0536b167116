"""What reading a stream costs, however hostile it is: memory within bounds, time in proportion."""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable

import pytest

from modelwrap.errors import ResponseTooLarge
from modelwrap.wire.sse import Decoder

ENDLESS = {
    "one line": b"x" * 65536,
    "short lines": b"data:ab\n" * 8192,
    "empty lines": b"data\n" * 13107,
    "error lines": b"error:\n" * 9362,
}


@pytest.mark.parametrize("name", ENDLESS)
def test_endless_event_is_refused_before_it_takes_much_memory(name: str) -> None:
    decoder, fed = Decoder(largest_event=2**18), 0
    tracemalloc.start()

    try:
        with pytest.raises(ResponseTooLarge):
            decoder.feed(b"data: ")
            while fed < 200 * 2**20:
                decoder.feed(ENDLESS[name])
                fed += len(ENDLESS[name])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert fed < 9 * 2**18
    assert most < 8 * 2**18


@pytest.mark.parametrize(
    "piece", [b": ping\n\n" * 8192, b"\n" * 65536, b" " * 65536, b"no field\n" * 7281, b"id: 1\n" * 9362]
)
def test_what_is_no_event_takes_no_memory_however_long_it_goes_on(piece: bytes) -> None:
    decoder = Decoder()
    tracemalloc.start()

    try:
        decoder.feed(b": first\n" if piece[:1] == b":" else b"")
        events = [event for _ in range(16) for event in decoder.feed(piece)]
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert events == []
    assert left < 2**17


@pytest.mark.prove
def test_event_of_200_megabytes_is_refused_at_sixteen() -> None:
    program = """
import resource
from modelwrap.errors import ResponseTooLarge
from modelwrap.wire.sse import Decoder

def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

decoder, piece, before = Decoder(), b"x" * 65536, memory()
decoder.feed(b"data: ")
for fed in range(200 * 2**20 // len(piece)):
    try:
        decoder.feed(piece)
    except ResponseTooLarge:
        break
print(fed * len(piece), (memory() - before) * 1024)
"""

    fed, grown = map(int, subprocess.check_output([sys.executable, "-c", program]).split())

    assert 15 * 2**20 < fed <= 16 * 2**20
    assert grown < 100 * 2**20


STREAMS: dict[str, Callable[[int], Iterable[bytes]]] = {
    "one event in small pieces": lambda size: [b"data: ", *[b"x" * 50] * (size // 50), b"\n\n"],
    "one event of short lines": lambda size: [b"data:a\n" * 10] * (size // 70),
    "small events": lambda size: [b"data: {}\n\n" * 5] * (size // 50),
    "one body that is no stream": lambda size: [b"{", *[b"x" * 50] * (size // 50)],
    "blanks before anything": lambda size: [b" " * 50] * (size // 50),
    "comments": lambda size: [b": ping\n" * 7] * (size // 49),
}


def _seconds(pieces: Iterable[bytes]) -> float:
    decoder = Decoder()
    started = time.process_time()
    for piece in pieces:
        decoder.feed(piece)
    decoder.finish()
    return time.process_time() - started


def _best(name: str, sizes: tuple[int, int], rounds: int) -> tuple[float, float]:
    """Take both in turn, and of each the round that was disturbed least."""
    taken = [[_seconds(STREAMS[name](size)) for size in sizes] for _ in range(rounds)]
    small, large = (min(times) for times in zip(*taken, strict=True))
    return small, large


@pytest.mark.parametrize("name", STREAMS)
def test_reading_four_times_as_much_takes_no_sixteen_times_as_long(name: str) -> None:
    small, large = _best(name, (250_000, 1_000_000), rounds=3)

    assert large < small * 12


@pytest.mark.prove
@pytest.mark.parametrize("name", STREAMS)
def test_reading_twice_as_much_takes_twice_as_long(name: str) -> None:
    # As much as takes long enough to be measured.
    size = 2_000_000 if name in ("small events", "one event of short lines", "comments") else 7_000_000

    small, large = _best(name, (size, 2 * size), rounds=9)

    assert large < small * 2.3
