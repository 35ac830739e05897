"""Client address: the peer of the connection, or the client that a trusted proxy reports."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from portico.gateway.request_head import Fields

MAX_HOPS = 32


@lru_cache(maxsize=4096)
def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


class TrustedProxies:
    """Proxies in front of the gateway whose forwarding headers are trusted.

    Args:
        networks: IP addresses and CIDR blocks.

    Raises:
        ValueError: an entry is neither.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = tuple(ip_network(network, strict=False) for network in networks)
        self.trusts = lru_cache(maxsize=4096)(self._trusts)

    def _trusts(self, peer: str) -> bool:
        address = _parse(peer)
        return address is not None and any(address in network for network in self._networks)

    def client(self, peer: str, forwarded_for: bytes | None) -> str:
        """Return the client's address: the rightmost `X-Forwarded-For` entry that is not a trusted proxy.

        Entries to its left come from the client and could be forged.
        """
        if not self._networks or forwarded_for is None or not self.trusts(peer):
            return peer
        client = peer
        for entry in reversed(forwarded_for.decode("latin-1").split(",")[-MAX_HOPS:]):
            address = _parse(_without_port(entry.strip()))
            if address is None:
                break
            client = str(address)
            if not self.trusts(client):
                break
        return client

    def is_forwarded(self, peer: str, fields: Fields) -> bool:
        """Return whether the request came through a proxy that is not trusted, so that its client is not known."""
        named = fields.get(b"x-forwarded-for") is not None or fields.get(b"forwarded") is not None
        return named and not self.trusts(peer)


class ClientNetworks:
    """Networks of clients."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = tuple(ip_network(network, strict=False) for network in networks)

    def include(self, client: str) -> bool:
        """Return whether the client's address belongs to one of the networks."""
        address = _parse(client)
        return address is not None and any(address in network for network in self._networks)


def _without_port(entry: str) -> str:
    """Return the address without the port that some proxies add."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry


def rate_limit_address(client: str) -> str:
    """Return the address that rate limits count: the /64 network of an IPv6 client, because a client owns all of it."""
    address = _parse(client)
    if isinstance(address, IPv6Address):
        return f"{ip_network((int(address) >> 64 << 64, 64)).network_address}/64"
    return client
