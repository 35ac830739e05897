"""Client addresses: what limits count by. The gateway and the services use it."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_CACHED = 4096


@lru_cache(_CACHED)
def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Parse an address. An IPv4-mapped IPv6 address becomes IPv4. Return None if it is not valid or has a zone."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if isinstance(found, IPv4Address):
        return found
    return None if found.scope_id is not None else found.ipv4_mapped or found


@lru_cache(_CACHED)
def address_key(address: str) -> str:
    """Return what limits count by: an address, or its /64 network in IPv6, because a client owns all of it.

    IPv6 is written as RFC 5952 says. Text that is not an address is returned unchanged.
    """
    found = parse_address(address)
    if found is None:
        return address
    return str(found) if isinstance(found, IPv4Address) else str(ip_network((int(found) >> 64 << 64, 64)))
