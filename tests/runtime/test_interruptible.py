from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import httpcore2
import pytest
from httpcore2._backends.sync import SyncStream

from modelwrap.runtime import blocking, interruptible
from modelwrap.runtime.base import run_sync
from modelwrap.runtime.interruptible import connected


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Give how long each system call that reads was to wait."""
    read, waits = SyncStream.read, list[float | None]()

    def written_down(stream: SyncStream, max_bytes: int, timeout: float | None = None) -> bytes:
        waits.append(timeout)
        return read(stream, max_bytes, timeout)

    monkeypatch.setattr(SyncStream, "read", written_down)
    monkeypatch.setattr(interruptible, "LONGEST_WAIT", 0.01)
    return waits


@pytest.fixture
def pair() -> Iterator[tuple[httpcore2.NetworkStream, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stream = connected("127.0.0.1", listener.getsockname()[1], 5.0)
        peer, _ = listener.accept()
        with peer:
            yield stream, peer
        stream.close()


def test_a_long_wait_for_an_answer_is_made_of_short_ones(
    pair: tuple[httpcore2.NetworkStream, socket.socket], waits: list[float | None]
) -> None:
    stream, _ = pair

    with pytest.raises(httpcore2.ReadTimeout) as late:
        stream.read(100, 0.035)

    assert waits == pytest.approx([0.01, 0.01, 0.01, 0.005])
    assert late.value.__context__ is late.value.__cause__


def test_what_comes_after_several_short_waits_is_read(
    pair: tuple[httpcore2.NetworkStream, socket.socket], waits: list[float | None]
) -> None:
    stream, peer = pair
    threading.Timer(0.05, peer.sendall, (b"late",)).start()

    assert stream.read(100, None) == b"late"

    assert len(waits) > 2


def test_a_long_sleep_is_made_of_short_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []
    monkeypatch.setattr("time.sleep", naps.append)

    run_sync(blocking.Blocking().sleep(1.2))

    assert naps == pytest.approx([0.5, 0.5, 0.2])
