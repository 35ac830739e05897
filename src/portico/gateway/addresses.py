"""Who is at the other end: the client, or a proxy that speaks for one."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

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
    """The proxies in front whose forwarding headers are believed.

    Args:
        networks: Addresses and CIDR blocks. Raises ValueError for what is neither.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = tuple(ip_network(network, strict=False) for network in networks)
        self.trusts = lru_cache(maxsize=4096)(self._trusts)

    def _trusts(self, peer: str) -> bool:
        address = _parse(peer)
        return address is not None and any(address in network for network in self._networks)

    def client(self, peer: str, forwarded_for: bytes | None) -> str:
        """The address nearest to us that no trusted proxy vouches for: whoever is farther could have made it up."""
        if not self._networks or forwarded_for is None or not self.trusts(peer):
            return peer
        client = peer
        for entry in reversed(forwarded_for.decode("latin-1").split(",")[-MAX_HOPS:]):
            address = _parse(_bare(entry.strip()))
            if address is None:
                break
            client = str(address)
            if not self.trusts(client):
                break
        return client


def _bare(entry: str) -> str:
    """The address without a port, as some proxies add one."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry


def counted_address(client: str) -> str:
    """What a rate limit counts: an IPv6 client has a /64 to itself, so the /64 is one client."""
    address = _parse(client)
    if isinstance(address, IPv6Address):
        return f"{ip_network((int(address) >> 64 << 64, 64)).network_address}/64"
    return client
