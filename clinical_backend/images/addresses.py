"""Which machines images may come from: public ones, and those that the settings name."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, TypeAlias

from clinical_backend.errors import ImageError, InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Resolver: TypeAlias = Callable[[str, int], Iterable[str]]

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

__all__ = ["AddressGuard", "is_public", "resolve"]

# An IPv4 address in the last 32 bits (RFC 6052). Others that hold one, the standard library takes apart.
_NAT64 = IPv6Network("64:ff9b::/96")
_REFUSED = (
    IPv6Network("64:ff9b:1::/48"),  # NAT64 into private networks (RFC 8215)
    IPv6Network("::/96"),  # IPv4-compatible, unused since RFC 4291
    IPv4Network("168.63.129.16/32"),  # public by number, but a cloud's inner service
)


@dataclass(frozen=True, slots=True)
class _Named:
    host: str
    port: int | None


class AddressGuard:
    """Decides which addresses a connection may go to.

    Parameters
    ----------
    allowed
        What images may come from although it is not public: host names or addresses, with a port or for all
        ports (``minio``, ``minio:9000``, ``[fd00::1]:9000``), and networks (``10.20.0.0/16``).
    resolver
        Returns the addresses of a host; by default the system's resolver.

    Raises
    ------
    InvalidArgumentError
        When an entry of ``allowed`` is none of these.
    """

    def __init__(self, allowed: Iterable[str] = (), *, resolver: Resolver | None = None) -> None:
        self._networks: list[Network] = []
        self._names: set[_Named] = set()
        self._resolver = resolver or resolve
        for entry in allowed:
            self._allow(entry.strip().lower())

    def permitted(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host that may be connected to: connect to these, and resolve no second time.

        Raises
        ------
        ImageError
            When there is none among those that the host has.
        OSError
            When the host has no address.
        """
        addresses = list(self._resolver(host, port))
        if self._is_named(host, port):
            return addresses
        permitted = [address for address in addresses if self._permits(ip_address(address.partition("%")[0]))]
        if not permitted:
            raise ImageError(
                f"{host} is on a private network, from which no image is fetched unasked.",
                "If images are meant to come from there, name the host in IMAGE_HOSTS.",
            )
        return permitted

    def _permits(self, address: Address) -> bool:
        return is_public(address) or any(address in network for network in self._networks)

    def _is_named(self, host: str, port: int) -> bool:
        host = host.lower().rstrip(".")
        return not self._names.isdisjoint((_Named(host, port), _Named(host, None)))

    def _allow(self, entry: str) -> None:
        try:
            self._networks.append(ip_network(entry.strip("[]")))
        except ValueError:
            host, colon, port = entry.rpartition(":")
            if not colon:
                host, port = entry, ""
            bare = host.strip("[]")
            if not bare or "/" in entry or (colon and not port.isdigit()):
                raise InvalidArgumentError(
                    "IMAGE_HOSTS",
                    f"{entry!r} is neither a host, a host with a port, nor a network.",
                    "Write it as in minio:9000,10.20.0.0/16.",
                ) from None
            self._names.add(_Named(bare, int(port) if port else None))


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host, as the system resolves it; decimal, octal and hexadecimal forms too.

    Raises
    ------
    OSError
        When it has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(address: Address) -> bool:
    """Tell whether an address belongs to the public internet, as does every address that is hidden in it.

    Private, loopback, link-local, shared (RFC 6598), multicast, reserved and unspecified ones do not, whether
    written as IPv4 or within an IPv6 address: mapped, 6to4, Teredo, NAT64.
    """
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if not all(is_public(hidden) for hidden in _hidden(address)):
            return False
        if address.is_site_local:
            return False
    if any(address in network for network in _REFUSED):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def _hidden(address: IPv6Address) -> list[IPv4Address]:
    hidden = list(address.teredo or ())
    if address.sixtofour is not None:
        hidden.append(address.sixtofour)
    if address in _NAT64:
        hidden.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return hidden
