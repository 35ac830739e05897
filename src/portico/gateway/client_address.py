"""Client address: the peer of the connection, or the client that a trusted proxy reports."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_network

from portico.gateway.request_head import Fields
from portico.kit.foundation.ip_addresses import parse_address

MAX_HOPS = 32


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
        address = parse_address(peer)
        return address is not None and any(address in network for network in self._networks)

    def client(self, peer: str, forwarded_for: bytes | None) -> str:
        """Return the client's address: the rightmost `X-Forwarded-For` entry that is not a trusted proxy.

        Entries to its left come from the client and could be forged.
        """
        if not self._networks or forwarded_for is None or not self.trusts(peer):
            return peer
        client = peer
        for entry in reversed(forwarded_for.decode("latin-1").split(",")[-MAX_HOPS:]):
            address = parse_address(_without_port(entry.strip()))
            if address is None:
                break
            client = str(address)
            if not self.trusts(client):
                break
        return client

    def is_forwarded(self, peer: str, fields: Fields) -> bool:
        """Return whether the request came through an untrusted proxy, so that its client is unknown."""
        named = fields.get(b"x-forwarded-for") is not None or fields.get(b"forwarded") is not None
        return named and not self.trusts(peer)


class ClientNetworks:
    """Set of networks of clients."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = tuple(ip_network(network, strict=False) for network in networks)

    def include(self, client: str) -> bool:
        """Return whether the client's address belongs to one of the networks."""
        address = parse_address(client)
        return address is not None and any(address in network for network in self._networks)


def _without_port(entry: str) -> str:
    """Return the address without the port that some proxies add."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry
