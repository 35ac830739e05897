import asyncio
import struct
from collections.abc import AsyncIterator
from typing import cast

import pytest

from portico.kit.calls.addresses import (
    AddressError,
    DnsName,
    InstanceAddress,
    LookupFailed,
    SrvName,
    SystemResolver,
    parse_addresses,
)


class TestParseAddresses:
    def test_several_are_separated_by_commas(self) -> None:
        assert parse_addresses(" http://user-1:8001, https://user-2 ,") == (
            InstanceAddress("http", "user-1", 8001, "user-1:8001"),
            InstanceAddress("https", "user-2", 443, "user-2"),
        )

    def test_brackets_of_ipv6_hosts_are_handled(self) -> None:
        (address,) = parse_addresses("http://[::1]:8001")

        assert isinstance(address, InstanceAddress)
        assert (address.host, address.authority, address.origin) == ("::1", "[::1]:8001", "http://[::1]:8001")

    def test_dns_and_srv_names_are_parsed(self) -> None:
        assert parse_addresses("dns://user:8001,srv://user.service.consul,srv://user?nameserver=127.0.0.1:8600") == (
            DnsName("user", 8001),
            SrvName("user.service.consul"),
            SrvName("user", ("127.0.0.1", 8600)),
        )

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("", "No address given"),
            ("user:8001", "Write http://host:port"),
            ("ftp://user", "Write http://host:port"),
            ("http://", "Write http://host:port"),
            ("http://user:port", "is not a valid address"),
            ("http://user:8001/api", "host and port only"),
            ("http://user:8001?x=1", "host and port only"),
            ("dns://user", "has no port"),
            ("srv://user?nameserver=consul", "is not an IP address"),
        ],
    )
    def test_an_invalid_address_is_rejected_with_advice(self, text: str, says: str) -> None:
        with pytest.raises(AddressError, match=says):
            parse_addresses(text)

    def test_a_password_is_rejected_and_not_repeated(self) -> None:
        with pytest.raises(AddressError) as refusal:
            parse_addresses("http://me:opensesame@user:8001")

        assert "opensesame" not in str(refusal.value)


class NameServer(asyncio.DatagramProtocol):
    """A DNS server that answers every SRV query with two records with IP addresses, or with NXDOMAIN."""

    exists = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        question = data[12 : data.index(b"\0", 12) + 5]
        records = [self.record(1, 8001, b"127.0.0.1"), self.record(2, 8002, b"127.0.0.1")] if self.exists else []
        flags = 0x8180 if self.exists else 0x8183  # NXDOMAIN
        head = data[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0)
        self.transport.sendto(head + question + b"".join(records), addr)

    @staticmethod
    def record(priority: int, port: int, target: bytes) -> bytes:
        labels = b"".join(bytes([len(label)]) + label for label in target.split(b".")) + b"\0"
        rdata = struct.pack("!HHH", priority, 1, port) + labels
        return b"\xc0\x0c" + struct.pack("!HHIH", 33, 1, 7, len(rdata)) + rdata


@pytest.fixture
async def nameserver() -> AsyncIterator[tuple[NameServer, tuple[str, int]]]:
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        NameServer, local_addr=("127.0.0.1", 0)
    )
    yield server, transport.get_extra_info("sockname")[:2]
    transport.close()


class TestSystemResolver:
    async def test_resolved_hosts_keep_their_name_as_authority(self) -> None:
        found = await SystemResolver().hosts(DnsName("localhost", 8001))

        assert {address.authority for address in found.addresses} == {"localhost:8001"}
        assert {address.host for address in found.addresses} <= {"127.0.0.1", "::1"}

    async def test_a_host_that_does_not_exist(self) -> None:
        with pytest.raises(LookupFailed):
            await SystemResolver().hosts(DnsName("x" * 64, 8001))

    async def test_srv_records_come_from_the_given_nameserver(
        self, nameserver: tuple[NameServer, tuple[str, int]]
    ) -> None:
        found = await SystemResolver().services(SrvName("user.service.consul", nameserver[1]))

        assert found.ttl == 7
        assert found.addresses == (
            InstanceAddress("http", "127.0.0.1", 8001, "127.0.0.1:8001", 1),
            InstanceAddress("http", "127.0.0.1", 8002, "127.0.0.1:8002", 2),
        )

    async def test_a_service_that_does_not_exist(self, nameserver: tuple[NameServer, tuple[str, int]]) -> None:
        nameserver[0].exists = False

        with pytest.raises(LookupFailed, match="NXDOMAIN"):
            await SystemResolver().services(SrvName("user.service.consul", nameserver[1]))
