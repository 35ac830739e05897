"""A gateway in front of services, each kind of upstream in turn."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import aiohttp
from starlette.types import ASGIApp
from tests.gateway.proxy.service import ROUTES
from tests.gateway.proxy.serving import served

from portico.gateway.access_log import Record
from portico.gateway.addresses import TrustedProxies
from portico.gateway.cors import Cors
from portico.gateway.limits import MemoryLimiter
from portico.gateway.policy import Limits, Policy
from portico.gateway.policy_inputs import InputResolver
from portico.gateway.proxy import Capacity, ProxyApp
from portico.gateway.rates import Rate
from portico.gateway.routes import Route, RouteTable
from portico.gateway.upstreams import LocalUpstream, SocketUpstream, Upstream
from portico.gateway.upstreams.connections import Connections
from portico.gateway.upstreams.socket import open_session
from portico.kit.auth.principal import Principal
from portico.kit.auth.tokens import InvalidToken
from portico.kit.auth.verification import VerificationUnavailable
from portico.kit.calls.breaker import BreakerConfig
from portico.kit.calls.directory import Directory
from portico.kit.foundation.clock import Clock
from portico.kit.telemetry.traces import Tracing

Kind = Literal["local", "socket"]
ORIGIN = "http://localhost:3000"


class KnownTokens:
    """A verifier that knows these tokens; `down` makes it unavailable."""

    def __init__(self, tokens: Mapping[str, Principal] | None = None) -> None:
        self.tokens = dict(tokens or {})
        self.down = False

    async def verify(self, token: str) -> Principal:
        if self.down:
            raise VerificationUnavailable(retry_after=2.0)
        if token not in self.tokens:
            raise InvalidToken("bad_signature", "not one of the test's")
        return self.tokens[token]

    async def run(self) -> None:
        """There is nothing to keep fresh."""


class Records:
    def __init__(self) -> None:
        self.all: list[Record] = []

    def finished(self, record: Record) -> None:
        self.all.append(record)


@dataclass
class Setup:
    """What a test may want otherwise."""

    routes: Sequence[Route] = ROUTES
    rates: Mapping[str, Rate] = field(
        default_factory=lambda: {"default": Rate("default", 1000, 60), "sign_in": Rate("sign_in", 2, 60, "address")}
    )
    timeout: float = 5.0
    body_limit: int = 1 << 20
    max_requests: int = 100
    max_streams: int = 100
    proxies: Sequence[str] = ()
    verifier: KnownTokens = field(default_factory=KnownTokens)
    config: BreakerConfig = BreakerConfig()  # noqa: RUF009 - frozen


@dataclass
class Gateway:
    """A gateway that is being served."""

    plane: ProxyApp
    address: str
    records: list[Record]
    client: aiohttp.ClientSession
    directory: Directory | None

    @property
    def url(self) -> str:
        return f"http://{self.address}"


@contextlib.asynccontextmanager
async def gateway_before(upstreams: Mapping[str, Upstream], setup: Setup) -> AsyncIterator[Gateway]:
    """Serve a gateway before these upstreams."""
    clock, records = Clock(), Records()
    policy = Policy(
        RouteTable(setup.routes),
        limits=Limits(rates=setup.rates, timeout=setup.timeout, body_limit=setup.body_limit),
        cors=Cors([ORIGIN]),
        proxies=TrustedProxies(setup.proxies),
    )
    plane = ProxyApp(
        policy,
        upstreams,
        InputResolver(setup.verifier, MemoryLimiter(clock)),
        pages={},
        clock=clock,
        observer=records,
        tracing=Tracing.off(),
        capacity=Capacity(setup.max_requests, setup.max_streams),
    )
    connector = aiohttp.TCPConnector(force_close=False)
    async with (
        served(plane) as address,
        aiohttp.ClientSession(f"http://{address}", connector=connector, auto_decompress=False) as client,
    ):
        yield Gateway(plane, address, records.all, client, None)
        plane.stop()


@contextlib.asynccontextmanager
async def gateway_to(kind: Kind, app: ASGIApp, setup: Setup | None = None) -> AsyncIterator[Gateway]:
    """A gateway before one service, reached in the given way."""
    setup = setup or Setup()
    if kind == "local":
        upstream = LocalUpstream("echo", app)
        async with gateway_before({"echo": upstream}, setup) as gateway:
            yield gateway
        await upstream.aclose()
        return
    async with served(app) as address, gateway_to_addresses([address], setup) as gateway:
        yield gateway


@contextlib.asynccontextmanager
async def gateway_to_addresses(addresses: Sequence[str], setup: Setup | None = None) -> AsyncIterator[Gateway]:
    """A gateway before a service in several instances."""
    setup = setup or Setup()
    directory = Directory({"echo": ",".join(f"http://{one}" for one in addresses)}, config=setup.config)
    async with open_session() as session:
        connections = Connections()
        upstreams = {"echo": SocketUpstream("echo", directory, connections, session)}
        async with gateway_before(upstreams, setup) as gateway:
            gateway.directory = directory
            yield gateway
        connections.close()
    await directory.aclose()
