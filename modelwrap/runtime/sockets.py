"""What the kernel knows of a socket and nobody has read yet."""

from __future__ import annotations

import select


def has_something_to_say(descriptor: int) -> bool:
    """Tell whether bytes or the end of the connection have come; a closed socket has said its last."""
    if descriptor < 0:
        return True
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([descriptor], [], [], 0)[0])
