"""How many threads a replica computes with on a processor, of which all replicas there have a part."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch

from modelwrap.local.transformers.loading import first_device


class Threads:
    """Be the threads of one replica. One thread uses it, and always the same: the one that computes."""

    def __init__(self, device: str = "auto", fixed: int = 0) -> None:
        """`fixed` is how many they are, whoever else computes; 0 leaves that to `share`."""
        self._on_processor = _is_processor(device)
        self._fixed = fixed
        self._changed = False

    def share(self, devices: Sequence[str]) -> None:
        """Take as many as there are cores for each replica that computes on the processor."""
        if not self._on_processor:
            return
        replicas = sum(map(_is_processor, devices))
        wanted = self._fixed or max(1, _all() // max(1, replicas))
        # Torch keeps the number for each thread, but the library beneath it keeps one for the whole process, which
        # another replica may have changed.
        if self._changed or wanted != torch.get_num_threads():
            self._changed = True
            torch.set_num_threads(wanted)

    def give_back(self) -> None:
        """Let whoever computes in this process next have all of them."""
        if self._changed:
            torch.set_num_threads(_all())


@cache
def _all() -> int:
    """Count the threads that torch takes by itself, before the first replica takes fewer."""
    return int(torch.get_num_threads())


def _is_processor(device: str) -> bool:
    return (first_device() if device == "auto" else device).partition(":")[0] == "cpu"
