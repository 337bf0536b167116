"""What is said to a SOCKS proxy (RFC 1928, RFC 1929) until it passes on, without a socket."""

from __future__ import annotations

import ipaddress
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

import httpcore2

from modelwrap.secrets import Secret

Steps: TypeAlias = Generator[tuple[bytes, int], bytes, None]
"""What to send, and how many bytes to await; they are sent back."""

_NO_LOGIN, _LOGIN = 0, 2

_REFUSALS = {
    1: "it failed",
    2: "its rules forbid it",
    3: "the network cannot be reached",
    4: "the host cannot be reached",
    5: "the connection was refused",
    6: "it took too long",
}


class Refused(httpcore2.ProxyError):
    """Say that a proxy will not have it, however often it is asked."""


@dataclass(frozen=True, slots=True)
class Socks:
    """Be a SOCKS proxy. It looks names up itself."""

    host: str
    port: int
    login: Secret | None
    """User and password, with the first colon between them."""

    def steps(self, host: str, port: int) -> Steps:
        """Ask for a connection to a host."""
        method = _LOGIN if self.login else _NO_LOGIN
        version, chosen = yield bytes((5, 1, method)), 2
        if version != 5:
            raise httpcore2.ProxyError("it does not speak SOCKS 5")
        if chosen != method:
            raise Refused("it does not take a user and a password" if self.login else "it wants a user and a password")
        if self.login:
            _, status = yield _written_login(self.login), 2
            if status != 0:
                raise Refused("it does not let this user in")
        _, status, _, kind = yield b"\x05\x01\x00" + _written_address(host) + port.to_bytes(2), 4
        if status != 0:
            words = _REFUSALS.get(status, f"it answered {status}")
            raise (Refused if status == 2 else httpcore2.ProxyError)(words)
        (length,) = (yield b"", 1) if kind == 3 else (16 if kind == 4 else 4,)
        yield b"", length + 2


def _written_login(login: Secret) -> bytes:
    user, _, password = login.reveal().partition(":")
    return b"\x01" + _counted(user) + _counted(password)


def _written_address(host: str) -> bytes:
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        return (b"\x01" if address.version == 4 else b"\x04") + address.packed
    return b"\x03" + _counted(host)


def _counted(text: str) -> bytes:
    data = text.encode()
    if len(data) > 255:
        raise Refused("it takes no more than 255 bytes of a name or a password")
    return bytes((len(data),)) + data
