"""Which addresses of a host a request may go to."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from modelwrap.errors import BadRequest

# Translators put an address of the old kind into the end of one of these.
_TRANSLATED = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "::/96", "::ffff:0:0:0/96")))

# Not all of them are told as local by every Python.
_LOCAL = tuple(map(ipaddress.IPv6Network, ("64:ff9b:1::/48", "fec0::/10")))


def numeric(found: Iterable[tuple[Any, ...]]) -> list[str]:
    """Take the addresses out of what `getaddrinfo` gives."""
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
