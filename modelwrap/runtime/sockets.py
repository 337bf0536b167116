"""What the kernel knows of a socket and nobody has read yet."""

from __future__ import annotations

import math
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


def readiness(descriptor: int, seconds: float | None) -> tuple[bool, bool]:
    """Wait until something has come or can be sent, and tell which; neither when the time is over."""
    if not hasattr(select, "poll"):
        readable, writable, _ = select.select([descriptor], [descriptor], [], seconds)
        return bool(readable), bool(writable)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN | select.POLLOUT)
    # Rounded up, because a time that rounds to nothing would be spent in a circle.
    found = poll.poll(None if seconds is None else math.ceil(seconds * 1000))
    events = found[0][1] if found else 0
    return bool(events & ~select.POLLOUT), bool(events & select.POLLOUT)
