"""Gateways in front of scripted services, for each kind of upstream."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import aiohttp
from starlette.types import ASGIApp
from tests.gateway.proxy.scripted_service import ROUTES
from tests.gateway.proxy.servers import served

from portico.gateway.access_log import AccessRecord
from portico.gateway.client_address import TrustedProxies
from portico.gateway.cors import Cors
from portico.gateway.fast import FastConnection, FastPlane
from portico.gateway.limits import MemoryLimiter, Rate
from portico.gateway.policy import Policy, RouteDefaults
from portico.gateway.policy_inputs import InputResolver
from portico.gateway.proxy import Capacity, ProxyApp
from portico.gateway.routes import Route, RouteTable
from portico.gateway.upstreams import HttpUpstream, LocalUpstream, Upstream
from portico.gateway.upstreams.connection_pool import ConnectionPool
from portico.gateway.upstreams.http import open_session
from portico.kit.auth.principal import Principal
from portico.kit.auth.tokens import InvalidToken
from portico.kit.auth.verification import VerificationUnavailable
from portico.kit.auth.verification import fingerprint as fingerprint_of
from portico.kit.calls.breaker import BreakerConfig
from portico.kit.calls.directory import Directory
from portico.kit.foundation.clock import Clock
from portico.kit.foundation.shares import Shares, share_of
from portico.kit.http.request_body import BodyLimits, BodyRateLimit, TooManyBodies
from portico.kit.runtime.uvicorn_protocols import LimitedConnection
from portico.kit.settings.values import Network
from portico.kit.telemetry.traces import Tracing

Kind = Literal["local", "socket"]
Plane = Literal["asgi", "limited", "fast"]
"""The ASGI plane on uvicorn's own connections, the same on Portico's, and the fast plane."""
ORIGIN = "http://localhost:3000"


class KnownTokens:
    """Verifier with fixed tokens. `down` makes it unavailable."""

    def __init__(self, tokens: Mapping[str, Principal] | None = None) -> None:
        self.tokens = dict(tokens or {})
        self.down = False

    async def verify(self, token: str) -> Principal:
        if self.down:
            raise VerificationUnavailable(retry_after=2.0)
        if token not in self.tokens:
            raise InvalidToken("bad_signature", "unknown token")
        return self.tokens[token]

    @property
    def changes(self) -> object:
        return object()  # a token may change at any time

    def recall(self, fingerprint: bytes, token: str | None = None) -> Principal | None:
        known = {} if self.down else {fingerprint_of(token): bearer for token, bearer in self.tokens.items()}
        return known.get(fingerprint)

    async def run(self) -> None:
        """Do nothing."""


class RecordedRequests:
    def __init__(self) -> None:
        self.all: list[AccessRecord] = []

    def counter(self, method: str, route: str, service: str, status: int) -> None:
        """Return None: each request has its record."""

    def record(self, access: AccessRecord) -> None:
        self.all.append(access)


@dataclass
class GatewaySetup:
    """Options of a gateway under test."""

    routes: Sequence[Route] = ROUTES
    rates: Mapping[str, Rate] = field(
        default_factory=lambda: {"default": Rate("default", 1000, 60), "sign_in": Rate("sign_in", 2, 60, "address")}
    )
    timeout: float = 5.0
    body_limit: int = 1 << 20
    max_requests: int = 100
    max_streams: int = 100
    client_share: float = 1.0
    body_rate: BodyRateLimit = BodyRateLimit()  # noqa: RUF009 - frozen
    proxies: Sequence[str] = ()
    verifier: KnownTokens = field(default_factory=KnownTokens)
    config: BreakerConfig = BreakerConfig()  # noqa: RUF009 - frozen
    head_seconds: float = 10.0
    clock: Clock = field(default_factory=Clock)
    proxy_protocol: tuple[Network, ...] = ()


@dataclass
class Gateway:
    """A running gateway."""

    proxy_app: ProxyApp
    address: str
    records: list[AccessRecord]
    client: aiohttp.ClientSession
    directory: Directory | None
    fast: FastPlane | None

    @property
    def url(self) -> str:
        return f"http://{self.address}"


def body_limits(setup: GatewaySetup) -> BodyLimits:
    each = share_of(setup.max_requests, setup.client_share)
    return BodyLimits(setup.body_rate, Shares(setup.max_requests, each, full=TooManyBodies, exceeded=TooManyBodies))


@contextlib.asynccontextmanager
async def gateway_for_upstreams(
    upstreams: Mapping[str, Upstream], setup: GatewaySetup, plane: Plane = "asgi"
) -> AsyncIterator[Gateway]:
    """Serve a gateway in front of these upstreams."""
    clock, records = setup.clock, RecordedRequests()
    policy = Policy(
        RouteTable(setup.routes),
        defaults=RouteDefaults(rates=setup.rates, timeout=setup.timeout, body_limit=setup.body_limit),
        cors=Cors([ORIGIN]),
        proxies=TrustedProxies(setup.proxies),
    )
    proxy_app = ProxyApp(
        policy,
        upstreams,
        InputResolver(setup.verifier, MemoryLimiter(clock)),
        pages={},
        clock=clock,
        observer=records,
        tracing=Tracing.off(),
        capacity=Capacity(setup.max_requests, setup.max_streams, setup.client_share, body_limits(setup)),
    )
    connector = aiohttp.TCPConnector(force_close=False)
    fast = FastPlane(proxy_app) if plane == "fast" else None
    time_limits = None if fast is None else asyncio.create_task(fast.time_limits.run())
    async with (
        served(proxy_app, http=_connection_class(plane, fast, setup)) as address,
        aiohttp.ClientSession(f"http://{address}", connector=connector, auto_decompress=False) as client,
    ):
        yield Gateway(proxy_app, address, records.all, client, None, fast)
        proxy_app.stop()
    if time_limits is not None:
        time_limits.cancel()


def _connection_class(plane: Plane, fast: FastPlane | None, setup: GatewaySetup) -> type[LimitedConnection] | None:
    if plane == "asgi":
        return None
    kind: type[LimitedConnection] = LimitedConnection if fast is None else FastConnection
    return type(
        "_Connection", (kind,), {"plane": fast, "head_seconds": setup.head_seconds, "proxies": setup.proxy_protocol}
    )


@contextlib.asynccontextmanager
async def gateway_for_app(
    kind: Kind, app: ASGIApp, setup: GatewaySetup | None = None, plane: Plane = "asgi"
) -> AsyncIterator[Gateway]:
    """Serve a gateway in front of one application, reached by a direct call or over HTTP."""
    setup = setup or GatewaySetup()
    if kind == "local":
        upstream = LocalUpstream("echo", app)
        async with gateway_for_upstreams({"echo": upstream}, setup, plane) as gateway:
            yield gateway
        await upstream.aclose()
        return
    async with served(app) as address, gateway_for_addresses([address], setup, plane) as gateway:
        yield gateway


@contextlib.asynccontextmanager
async def gateway_for_addresses(
    addresses: Sequence[str], setup: GatewaySetup | None = None, plane: Plane = "asgi"
) -> AsyncIterator[Gateway]:
    """Serve a gateway in front of several instances of a service."""
    setup = setup or GatewaySetup()
    directory = Directory({"echo": ",".join(f"http://{one}" for one in addresses)}, config=setup.config)
    async with open_session() as session:
        connections = ConnectionPool()
        upstreams = {"echo": HttpUpstream("echo", directory, connections, session)}
        async with gateway_for_upstreams(upstreams, setup, plane) as gateway:
            gateway.directory = directory
            yield gateway
        connections.close()
    await directory.aclose()
