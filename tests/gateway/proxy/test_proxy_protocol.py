"""The PROXY protocol in front of both planes of a gateway."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest
from structlog.testing import capture_logs
from tests.gateway.fast.raw_client import RawClient, raw_client
from tests.gateway.proxy.gateways import Gateway, GatewaySetup, Plane, gateway_for_app
from tests.gateway.proxy.scripted_service import Service, ServiceRequest

LINE = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n"
GET = b"GET /echo HTTP/1.1\r\nHost: gateway\r\n\r\n"
LOOPBACK = (ip_network("127.0.0.0/8"),)


@pytest.fixture(params=["limited", "fast"])
def plane(request: pytest.FixtureRequest) -> Plane:
    plane: Plane = request.param
    return plane


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def gateway(plane: Plane, service: Service) -> AsyncIterator[Gateway]:
    async with gateway_for_app("local", service, GatewaySetup(proxy_protocol=LOOPBACK), plane) as gateway:
        yield gateway


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[RawClient]:
    async with raw_client(gateway) as client:
        yield client


async def test_names_the_client_of_each_request(gateway: Gateway, client: RawClient, service: Service) -> None:
    client.writer.write(LINE + GET)
    statuses = [(await client.read()).status, (await client.get()).status, (await client.get("/echo/ann")).status]

    assert statuses == [200] * 3
    assert [request.headers[b"x-forwarded-for"] for request in service.requests] == [b"192.0.2.7"] * 3
    assert [record.client for record in gateway.records] == ["192.0.2.7"] * 3


async def test_may_come_in_pieces(client: RawClient, service: Service) -> None:
    for byte in LINE + GET:
        client.writer.write(bytes((byte,)))
        await asyncio.sleep(0)

    assert (await client.read()).status == 200
    assert service.requests[0].headers[b"x-forwarded-for"] == b"192.0.2.7"


async def test_names_the_client_of_a_websocket(gateway: Gateway, client: RawClient, service: Service) -> None:
    async def accept(request: ServiceRequest) -> None:
        await request.receive()
        await request.send({"type": "websocket.accept"})
        await request.disconnected()

    service.on("/ws", accept)
    client.writer.write(
        LINE + b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")

    assert service.requests[0].headers[b"x-forwarded-for"] == b"192.0.2.7"


@pytest.mark.parametrize("sent", [GET, LINE[:-2] + b"x\r\n" + GET, b"\r\n" + GET])
async def test_is_required_from_a_proxy(client: RawClient, service: Service, sent: bytes) -> None:
    with capture_logs() as events:
        client.writer.write(sent)
        received = b""
        with contextlib.suppress(ConnectionError):
            received = await client.reader.read()

    assert received == b""
    assert service.requests == []
    assert [event["event"] for event in events] == ["proxy_header_rejected"]


async def test_is_no_request_from_others(plane: Plane, service: Service) -> None:
    others = GatewaySetup(proxy_protocol=(ip_network("192.0.2.0/24"),))
    async with gateway_for_app("local", service, others, plane) as gateway, raw_client(gateway) as client:
        client.writer.write(LINE + GET)
        refused = (await client.read()).status

    assert refused == 400
    assert service.requests == []


async def test_a_second_header_is_no_request(client: RawClient, service: Service) -> None:
    client.writer.write(LINE + LINE + GET)

    assert (await client.read()).status == 400
    assert service.requests == []
