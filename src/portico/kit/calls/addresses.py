"""Addresses of service instances, and DNS names that resolve to several.

`http://user-1:8001,http://user-2:8001` are two addresses. `dns://user:8001` stands for every A and AAAA record of
`user`. `srv://user.service.consul?nameserver=127.0.0.1:8600` stands for every SRV record (RFC 2782) of that name on
that server.
"""

import asyncio
import importlib.util
import ipaddress
import socket
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

_PORTS = {"http": 80, "https": 443}
_LOOKUP_TIMEOUT = 2.0  # seconds
_MAX_TTL = 30.0  # maximum seconds that a result is used, even with a longer TTL
DEFAULT_TTL = 5.0  # seconds; getaddrinfo returns no TTL, and registries change within seconds


class AddressError(ValueError):
    """A configured address cannot be used. The message shows the correct form."""


class LookupFailed(Exception):
    """A name could not be resolved at the moment."""


@dataclass(frozen=True, slots=True)
class InstanceAddress:
    """Address of one instance.

    Attributes:
        scheme: `http` or `https`.
        host: name or IP address to connect to.
        port: TCP port.
        authority: value of the `Host` header: the configured name, even if `host` is a resolved IP address.
        priority: addresses with the lowest number are preferred while one of them works (RFC 2782).
    """

    scheme: str
    host: str
    port: int
    authority: str
    priority: int = 0
    origin: str = field(init=False, repr=False, compare=False)
    """`http://host:port`, with IPv6 hosts in brackets."""
    host_field: bytes = field(init=False, repr=False, compare=False)
    """The value of the `Host` header, as it is sent."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "host_field", self.authority.encode())
        object.__setattr__(self, "origin", f"{self.scheme}://{_bracket(self.host)}:{self.port}")

    def __str__(self) -> str:
        return self.origin


@dataclass(frozen=True, slots=True)
class DnsName:
    """A host name. Each of its addresses is an instance."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class SrvName:
    """A name whose SRV records are the instances. `nameserver` is (host, port), or None for the system's own."""

    name: str
    nameserver: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Resolution:
    """The addresses of a name, and how long (seconds) they are valid."""

    addresses: tuple[InstanceAddress, ...]
    ttl: float


class Resolver(Protocol):
    """Resolver of names. Both methods raise LookupFailed."""

    async def hosts(self, name: DnsName) -> Resolution: ...

    async def services(self, name: SrvName) -> Resolution: ...


def parse_addresses(text: str) -> tuple[InstanceAddress | DnsName | SrvName, ...]:
    """Parse a setting such as `USER_SERVICE_URL`: addresses and names, separated by commas.

    Raises:
        AddressError: one of them cannot be used, or there is none.
    """
    parts = tuple(_parse(part.strip()) for part in text.split(",") if part.strip())
    if not parts:
        raise AddressError("No address given. Write one such as http://localhost:8001.")
    return parts


def _parse(text: str) -> InstanceAddress | DnsName | SrvName:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise AddressError(f"{text!r} is not a valid address: {error}") from error
    if parts.scheme not in {"http", "https", "dns", "srv"} or not host:
        raise AddressError(f"{text!r} is not a valid address. Write http://host:port, dns://host:port or srv://name.")
    if parts.username is not None or parts.password is not None:
        raise AddressError(f"The address of {host} contains a user name or password. Remove it: services use tokens.")
    if parts.path not in {"", "/"} or parts.fragment or (parts.query and parts.scheme != "srv"):
        raise AddressError(f"{text!r} has a path, query or fragment. Give host and port only.")
    if parts.scheme == "srv":
        if importlib.util.find_spec("dns") is None:
            raise AddressError(f"{text!r} needs SRV lookups. Install portico[dns].")
        return SrvName(host, _nameserver(parts.query))
    if parts.scheme == "dns":
        if port is None:
            raise AddressError(f"{text!r} has no port. Write dns://{host}:8001.")
        return DnsName(host, port)
    port = port or _PORTS[parts.scheme]
    return InstanceAddress(parts.scheme, host, port, _authority(parts.scheme, host, port))


def _nameserver(query: str) -> tuple[str, int] | None:
    if not query:
        return None
    given = parse_qs(query).get("nameserver", [""])[0]
    server = urlsplit(f"//{given}")
    try:
        return str(ipaddress.ip_address(server.hostname or "")), server.port or 53
    except ValueError as error:
        raise AddressError(f"The nameserver {given!r} is not an IP address and port such as 127.0.0.1:8600.") from error


def _authority(scheme: str, host: str, port: int) -> str:
    return _bracket(host) if port == _PORTS[scheme] else f"{_bracket(host)}:{port}"


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class SystemResolver:
    """Resolves hosts with the operating system, and services with DNS (the extra `dns`)."""

    async def hosts(self, name: DnsName) -> Resolution:
        """Resolve the A and AAAA records of a host name."""
        addresses = tuple(
            InstanceAddress("http", ip, name.port, _authority("http", name.host, name.port))
            for ip in await self._ips(name.host, name.port)
        )
        return Resolution(addresses, DEFAULT_TTL)

    async def services(self, name: SrvName) -> Resolution:
        """Resolve the SRV records of a name. Weights are ignored, because the least busy instance is chosen.

        Raises:
            LookupFailed: the name, or all of its targets, cannot be resolved.
        """
        import dns.asyncresolver  # an optional library, needed only for srv:// addresses
        import dns.exception

        resolver = dns.asyncresolver.Resolver(configure=name.nameserver is None)
        if name.nameserver is not None:
            resolver.nameservers = [name.nameserver[0]]
            resolver.port = name.nameserver[1]
        try:
            answer = await resolver.resolve(name.name, "SRV", lifetime=_LOOKUP_TIMEOUT)
        except (dns.exception.DNSException, OSError) as error:
            raise LookupFailed(f"{name.name}: {type(error).__name__}") from error
        records = [(record.priority, record.port, str(record.target).rstrip(".")) for record in answer]
        found = await asyncio.gather(*(self._target(*record) for record in records), return_exceptions=True)
        addresses = tuple(address for each in found if not isinstance(each, BaseException) for address in each)
        if not addresses:
            raise LookupFailed(f"{name.name}: none of its {len(records)} targets has an address")
        return Resolution(addresses, min(max(1.0, float(answer.rrset.ttl if answer.rrset else 0)), _MAX_TTL))

    async def _target(self, priority: int, port: int, host: str) -> list[InstanceAddress]:
        authority = _authority("http", host, port)
        return [InstanceAddress("http", ip, port, authority, priority) for ip in await self._ips(host, port)]

    async def _ips(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_LOOKUP_TIMEOUT):
                infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # TimeoutError is an OSError
            raise LookupFailed(f"{host}: {type(error).__name__}") from error
        return list(dict.fromkeys(str(info[4][0]) for info in infos))
