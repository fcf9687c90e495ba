"""Which network addresses a fetch may touch: the public internet, and what the operator named.

A model reference comes from a person, and what it leads to from a stranger; neither may make this
machine speak to its own network (server-side request forgery). A name is resolved once, every
address it has is checked, and the connection goes to a checked address.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

PORTS = {"http": 80, "https": 443}
LOCAL_NAMES = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
# Public by number, yet the virtual-machine host behind it: Azure's metadata and DNS relay.
NOT_PUBLIC = {ipaddress.ip_address("168.63.129.16")}


class RefusedAddress(OSError):
    """A name led to an address that no fetch may touch."""


def is_public(address: str) -> bool:
    """Whether the address is one of the public internet, also where it hides in IPv6."""
    number = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(number, ipaddress.IPv6Address):
        inner = number.ipv4_mapped or number.sixtofour or _nat64(number)
        if inner is not None:
            number = inner
    return number.is_global and not number.is_multicast and number not in NOT_PUBLIC


def _nat64(number: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if number in ipaddress.ip_network("64:ff9b::/96"):
        return ipaddress.IPv4Address(int(number) & 0xFFFFFFFF)
    return None


def host_and_port(place: str) -> tuple[str, int]:
    """Of a URL or 'host:port'; a bare host means https. Raises ValueError."""
    parts = urlsplit(place if "://" in place else f"https://{place}")
    if not parts.hostname:
        raise ValueError(f"'{place}' names no host")
    return parts.hostname.rstrip("."), parts.port or PORTS.get(parts.scheme, 443)


class CheckedResolver(AbstractResolver):
    """Resolves names to addresses that may be touched; raises RefusedAddress if there are none.

    Trust belongs to an address and port, not to a name: whatever the operator's own hosts resolve
    to may be reached under other names too, since it can be reached anyway.
    """

    def __init__(self, trusted_hosts: Iterable[str] = ()) -> None:
        self._resolver = ThreadedResolver()
        self._hosts = {host_and_port(place) for place in trusted_hosts}
        self._addresses: set[tuple[str, int]] = set()

    def trust(self, place: str) -> None:
        """Adds a URL or 'host:port' that the operator configured."""
        self._hosts.add(host_and_port(place))

    def check_host(self, host: str, port: int) -> None:
        """Judges what needs no resolving: literal addresses and local names."""
        host = host.rstrip(".").lower()
        if (host, port) in self._hosts or (host, port) in self._addresses:
            return
        try:
            is_fine = is_public(host)
        except ValueError:
            is_fine = host != "localhost" and not host.endswith(LOCAL_NAMES)
        if not is_fine:
            raise RefusedAddress(f"{host} is not on the public internet")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if (host.rstrip(".").lower(), port) in self._hosts:
            self._addresses |= {(entry["host"], port) for entry in found}
            return found
        allowed = [
            entry
            for entry in found
            if (entry["host"], port) in self._addresses or is_public(entry["host"])
        ]
        if not allowed:
            raise RefusedAddress(f"{host} leads to an address inside a private network")
        return allowed

    async def close(self) -> None:
        await self._resolver.close()
