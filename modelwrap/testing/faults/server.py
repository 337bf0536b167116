"""A server on loopback that misbehaves as it is told, and counts what its clients do."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from pydantic import NonNegativeInt, PositiveInt

from modelwrap.errors import ConfigError
from modelwrap.runtime import permitted
from modelwrap.runtime.lock import Lock
from modelwrap.testing.faults.catalogue import Fault, catalogue, check_value, named
from modelwrap.testing.faults.station import Seen, Station
from modelwrap.testing.faults.tls import Certificates

_Key = tuple[str, int | None, int | None, str]


class FaultServer:
    """Inject faults by name, and count what clients do about them.

    Each fault has a port of its own, and so a URL of its own. Any client can be sent there: every path is answered,
    also where real requests are forbidden.

    >>> import modelwrap
    >>> with FaultServer() as server:
    ...     url = server.url("status", code=503, times=2)
    ...     model = modelwrap.load({"config_name": "m", "model_type": "openai", "client_args": {"base_url": url}})["m"]
    ...     text = model("Name three rivers.").text
    >>> text, server.seen("status").requests
    ('Rhine, Elbe, Oder 🌊.', 3)
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._host = host
        self._lock = Lock()
        self._stations: dict[_Key, Station] = {}
        self._permits = ExitStack()
        self._certificates: Certificates | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def url(self, name: str, /, *, times: int | None = None, sliced: int | None = None, **options: Any) -> str:
        """Give the base URL at which a fault waits; the same fault with the same options is at the same URL.

        `times` lets it happen so often, and answers well from then on; `sliced` sends in pieces of so many bytes.
        """
        fault = named(name)
        fault.check(options)
        check_value(f"fault {name!r}: times", times, NonNegativeInt | None)
        check_value(f"fault {name!r}: sliced", sliced, PositiveInt | None)
        key = (name, times, sliced, repr(sorted(options.items())))
        with self._lock:
            if self._closed:
                raise ConfigError("this FaultServer is closed")
            if key not in self._stations:
                context = self._issuer().context(fault.tls) if fault.tls else None
                station = Station(fault, options, times=times, sliced=sliced, host=self._host, context=context)
                self._stations[key] = station
                self._permits.enter_context(permitted(station.url))
                self._running().call_soon_threadsafe(station.begin)
            return self._stations[key].url

    def seen(self, name: str) -> Seen:
        """Give what was seen at all URLs of a fault.

        An error in the script of a fault is raised here, or at the end of the block.
        """
        named(name)
        stations = [station for station in list(self._stations.values()) if station.fault.name == name]
        for station in stations:
            if station.failures:
                raise station.failures.pop()
        return sum((station.seen() for station in stations), Seen())

    def all_closed(self, name: str, within: float = 1.0) -> bool:
        """Wait until no connection to a fault is open; False where one still is after so many seconds."""
        end = time.monotonic() + within
        while self.seen(name).open:
            if time.monotonic() > end:
                return False
            time.sleep(0.005)
        return True

    def faults(self) -> tuple[Fault, ...]:
        """Give every fault that there is, each with its name, its `summary` and its options."""
        return tuple(sorted(catalogue().values(), key=lambda fault: fault.rows))

    @property
    def authority(self) -> str:
        """The file of the certificate that signs those of this server, for clients to trust."""
        with self._lock:
            return self._issuer().authority

    def close(self) -> None:
        """Hang up on everybody and free the ports."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            loop, thread = self._loop, self._thread
        if loop is not None and thread is not None:
            asyncio.run_coroutine_threadsafe(self._close_stations(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
        self._permits.close()
        if self._certificates is not None:
            self._certificates.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        for failure in (failure for station in self._stations.values() for failure in station.failures):
            # What the clients saw was not the fault that the test names.
            if error is None:
                raise failure
            error.add_note(f"a script of this FaultServer failed: {failure}")

    async def _close_stations(self) -> None:
        for station in self._stations.values():
            await station.close()

    def _issuer(self) -> Certificates:
        if self._certificates is None:
            self._certificates = Certificates(self._host)
        return self._certificates

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="modelwrap-faults", daemon=True)
            self._thread.start()
        return self._loop
