"""The addresses of a host, and which of them a request may go to."""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
from collections.abc import Iterable
from concurrent.futures import Future

from modelwrap.errors import BadRequest
from modelwrap.runtime.lock import Lock

# Translators put an address of the old kind into the end of one of these.
_TRANSLATED = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "::/96", "::ffff:0:0:0/96")))

# Not all of them are told as local by every Python.
_LOCAL = tuple(map(ipaddress.IPv6Network, ("64:ff9b:1::/48", "fec0::/10")))

# What resolvers say of a name that nobody has.
UNKNOWN = frozenset(getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, name))

_lock = Lock()
_asked: dict[tuple[int, str, int], Future[list[str]]] = {}


def look_up(host: str, port: int) -> Future[list[str]]:
    """Ask for the addresses of a host. All who ask at the same time get the same answer.

    The resolver works in a thread that nobody has to wait for, because it takes as long as it likes and hears no
    signal meanwhile. The future cannot be cancelled: it belongs to others too.
    """
    known = numeric(host, port)
    if known is not None:
        answered = Future[list[str]]()
        answered.set_result(known)
        return answered
    key = (os.getpid(), host, port)
    with _lock:
        asked = _asked.get(key)
        if asked is None:
            asked = Future()
            asked.set_running_or_notify_cancel()
            try:
                threading.Thread(target=_resolve, args=(key, asked), name="modelwrap-resolver", daemon=True).start()
            except RuntimeError as error:
                asked.set_exception(socket.gaierror(socket.EAI_AGAIN, str(error)))
            else:
                # Not before: a caller that is interrupted in here must not leave a question that nobody will answer.
                _asked[key] = asked
    return asked


def _resolve(key: tuple[int, str, int], asked: Future[list[str]]) -> None:
    _, host, port = key
    try:
        addresses = _resolved(host, port)
    except BaseException as error:  # handed to those who wait for it
        _forget(key)
        asked.set_exception(error)
    else:
        _forget(key)
        asked.set_result(addresses)


def _forget(key: tuple[int, str, int]) -> None:
    with _lock:
        _asked.pop(key, None)


def _resolved(host: str, port: int) -> list[str]:
    try:
        return _addresses(host, port)
    except socket.gaierror as error:
        if error.errno not in UNKNOWN:
            raise
    # A name that has just been given may not have come round yet.
    return _addresses(host, port)


def numeric(host: str, port: int) -> list[str] | None:
    """Read a host that is an address already, in any way to write one; None where it is a name."""
    try:
        return _addresses(host, port, socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return None


def _addresses(host: str, port: int, flags: int = 0) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def check_public(host: str, addresses: Iterable[str]) -> None:
    """Refuse a host of which any address leads into this machine, its network, or nowhere."""
    for address in addresses:
        if not is_public(address):
            shown = host if host == address else f"{host} ({address})"
            raise BadRequest(f"{shown} is no public address, and only such may be asked here", sent=False)


def is_public(address: str) -> bool:
    """Tell whether everyone on the internet means the same machine by this address."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return all(map(_is_global, _meanings(parsed)))


def _meanings(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> Iterable[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Give the address, and those that routers may take out of it."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
    elif address.ipv4_mapped:
        yield address.ipv4_mapped
    elif any(address in network for network in _TRANSLATED):
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    else:
        yield address
        yield from filter(None, [address.sixtofour, *(address.teredo or ())])


def _is_global(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if any(address in network for network in _LOCAL):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
