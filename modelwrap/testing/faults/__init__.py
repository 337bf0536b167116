"""Things that go wrong with servers, by name: a server that does them, and what it saw of its clients."""

from __future__ import annotations

from modelwrap.testing.faults.catalogue import Act as Act
from modelwrap.testing.faults.catalogue import Asked as Asked
from modelwrap.testing.faults.catalogue import Fault as Fault
from modelwrap.testing.faults.server import FaultServer as FaultServer
from modelwrap.testing.faults.station import Seen as Seen

__all__ = ["Act", "Asked", "Fault", "FaultServer", "Seen"]
