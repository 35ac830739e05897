"""Where a service is: addresses, and the names that stand for several.

`http://user-1:8001,http://user-2:8001` are two addresses; `dns://user:8001` is every A and AAAA record of `user`;
`srv://user.service.consul?nameserver=127.0.0.1:8600` is every SRV record (RFC 2782) of that name, asked of that server.
"""

import asyncio
import importlib.util
import ipaddress
import socket
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

_PORTS = {"http": 80, "https": 443}
DEFAULT_TTL = 5.0  # seconds; getaddrinfo does not tell, and registries change within seconds


class AddressError(ValueError):
    """An address in the configuration that can't be used; the message says what would do."""


class LookupFailed(Exception):
    """A name could not be resolved just now."""


@dataclass(frozen=True, slots=True)
class Address:
    """One instance's address.

    Attributes:
        scheme: `http` or `https`.
        host: Name or IP address to connect to.
        port: TCP port.
        authority: What the `Host` header says: the name that was asked for, also where `host` is what it resolved to.
        priority: Addresses of a lower one are preferred while one of them is well (RFC 2782).
    """

    scheme: str
    host: str
    port: int
    authority: str
    priority: int = 0

    @property
    def origin(self) -> str:
        """`http://host:port`, IPv6 hosts in brackets."""
        return f"{self.scheme}://{_bracketed(self.host)}:{self.port}"

    def __str__(self) -> str:
        return self.origin


@dataclass(frozen=True, slots=True)
class DnsName:
    """A host name each of whose addresses is an instance."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class SrvName:
    """A name whose SRV records are the instances; `nameserver` (host, port) where it isn't the system's own."""

    name: str
    nameserver: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a name stands for, and for how many seconds."""

    addresses: tuple[Address, ...]
    ttl: float


class Resolver(Protocol):
    """Looks names up. Both raise LookupFailed."""

    async def hosts(self, name: DnsName) -> Found: ...

    async def services(self, name: SrvName) -> Found: ...


def parse_addresses(text: str) -> tuple[Address | DnsName | SrvName, ...]:
    """Read what a setting such as `USER_SERVICE_URL` holds: addresses and names, comma separated.

    Raises:
        AddressError: One of them can't be used, or there is none.
    """
    parts = tuple(_parse(part.strip()) for part in text.split(",") if part.strip())
    if not parts:
        raise AddressError("no address given: write one such as http://localhost:8001")
    return parts


def _parse(text: str) -> Address | DnsName | SrvName:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise AddressError(f"{text!r} is no address: {error}") from error
    if parts.scheme not in {"http", "https", "dns", "srv"} or not host:
        raise AddressError(f"{text!r} is no address: write http://host:port, dns://host:port or srv://name")
    if parts.username is not None or parts.password is not None:
        raise AddressError(f"the address of {host} holds a user name or password: services are given tokens instead")
    if parts.path not in {"", "/"} or parts.fragment or (parts.query and parts.scheme != "srv"):
        raise AddressError(f"{text!r} goes on after the port: give host and port only")
    if parts.scheme == "srv":
        if importlib.util.find_spec("dns") is None:
            raise AddressError(f"{text!r} needs SRV lookups: install portico[dns]")
        return SrvName(host, _nameserver(parts.query))
    if parts.scheme == "dns":
        if port is None:
            raise AddressError(f"{text!r} lacks a port: write dns://{host}:8001")
        return DnsName(host, port)
    port = port or _PORTS[parts.scheme]
    return Address(parts.scheme, host, port, _authority(parts.scheme, host, port))


def _nameserver(query: str) -> tuple[str, int] | None:
    if not query:
        return None
    given = parse_qs(query).get("nameserver", [""])[0]
    server = urlsplit(f"//{given}")
    try:
        return str(ipaddress.ip_address(server.hostname or "")), server.port or 53
    except ValueError as error:
        raise AddressError(f"nameserver {given!r} is no IP address and port such as 127.0.0.1:8600") from error


def _authority(scheme: str, host: str, port: int) -> str:
    return _bracketed(host) if port == _PORTS[scheme] else f"{_bracketed(host)}:{port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class SystemResolver:
    """Asks the operating system for hosts, and DNS (the extra `dns`) for services.

    Args:
        timeout: Seconds that one lookup may take.
        longest_ttl: Seconds after which a name is looked up again, whatever its records say.
    """

    def __init__(self, *, timeout: float = 2.0, longest_ttl: float = 30.0) -> None:
        self._timeout = timeout
        self._longest_ttl = longest_ttl

    async def hosts(self, name: DnsName) -> Found:
        """Every A and AAAA record of a host name."""
        addresses = tuple(
            Address("http", ip, name.port, _authority("http", name.host, name.port))
            for ip in await self._ips(name.host, name.port)
        )
        return Found(addresses, DEFAULT_TTL)

    async def services(self, name: SrvName) -> Found:
        """Every SRV record of a name. Weights are not honoured: the least busy instance is chosen."""
        import dns.asyncresolver  # an extra, needed by those whose addresses are srv:// only
        import dns.exception

        resolver = dns.asyncresolver.Resolver(configure=name.nameserver is None)
        if name.nameserver is not None:
            resolver.nameservers = [name.nameserver[0]]
            resolver.port = name.nameserver[1]
        try:
            answer = await resolver.resolve(name.name, "SRV", lifetime=self._timeout)
        except (dns.exception.DNSException, OSError) as error:
            raise LookupFailed(f"{name.name}: {type(error).__name__}") from error
        records = [(record.priority, record.port, str(record.target).rstrip(".")) for record in answer]
        found = await asyncio.gather(*(self._target(*record) for record in records), return_exceptions=True)
        addresses = tuple(address for each in found if not isinstance(each, BaseException) for address in each)
        if not addresses:
            raise LookupFailed(f"{name.name}: none of its {len(records)} targets has an address")
        return Found(addresses, min(max(1.0, float(answer.rrset.ttl if answer.rrset else 0)), self._longest_ttl))

    async def _target(self, priority: int, port: int, host: str) -> list[Address]:
        authority = _authority("http", host, port)
        return [Address("http", ip, port, authority, priority) for ip in await self._ips(host, port)]

    async def _ips(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # TimeoutError is an OSError
            raise LookupFailed(f"{host}: {type(error).__name__}") from error
        return list(dict.fromkeys(str(info[4][0]) for info in infos))
