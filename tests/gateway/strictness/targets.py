"""The servers of the table: a service's own port, a gateway in one process with it, one apart from it,
and NGINX in front of a gateway and of the service.

The gateways are there twice: as ASGI applications, and with connections of the fast plane.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Final

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tests.gateway.proxy.gateways import GatewaySetup, KnownTokens, RecordedRequests, body_limits

from portico.gateway.export import ExportOptions, PublicRoutes, nginx, nginx_direct
from portico.gateway.fast import FastConnection, FastPlane
from portico.gateway.limits import MemoryLimiter, Rate
from portico.gateway.policy import Policy, RouteDefaults
from portico.gateway.policy_inputs import InputResolver
from portico.gateway.proxy import Capacity, ProxyApp
from portico.gateway.routes import RouteTable, routes_of
from portico.gateway.upstreams import HttpUpstream, LocalUpstream, Upstream
from portico.gateway.upstreams.connection_pool import ConnectionPool
from portico.gateway.upstreams.http import open_session
from portico.kit.calls.directory import Directory
from portico.kit.foundation.clock import Clock
from portico.kit.http.app import build_app
from portico.kit.http.request_body import BodyRateLimit
from portico.kit.http.router import Router, declared_routes
from portico.kit.http.sockets import Socket
from portico.kit.runtime.context import ServiceRuntime
from portico.kit.runtime.service import Service
from portico.kit.runtime.serving import ConnectionLimits, ServedApp, Servers, bind
from portico.kit.runtime.uvicorn_protocols import LimitedConnection
from portico.kit.telemetry.traces import Tracing
from portico.servers import NginxServer
from portico.testing.commands import free_ports
from portico.testing.databases import Databases
from portico.testing.running_service import run_service, system_of

HOST: Final = "127.0.0.1"
TIME_OUT: Final = 2.0
"""Time-out (seconds) of the heads and bodies of slow rows."""
PATIENT: Final = GatewaySetup(max_requests=1000)
HURRIED: Final = GatewaySetup(max_requests=1000, body_rate=BodyRateLimit(grace=TIME_OUT))

RECORDED: Final = ("service", "joined", "fast", "behind", "behind_fast", "proxied")
SERVED: Final = (*RECORDED, "split", "fast_split")
VARIABLES: Final = {"MAX_STREAMS_EACH": "1000"}

router = Router()


async def echo(row: str, request: Request) -> dict[str, str]:
    return {"row": row, "body": (await request.body()).decode("latin-1")}


for declare in (router.get, router.post, router.put, router.delete):
    declare("/echo/{row}")(echo)


@router.get("/probe/{row}")
async def probe(row: str) -> dict[str, str]:
    return {"probe": row}


@router.post("/early/{row}")
async def answer_before_the_body(row: str) -> dict[str, str]:
    return {"row": row}


@router.websocket("/ws/{row}")
async def follow(row: str, socket: Socket) -> None:
    await socket.accept()
    await asyncio.Event().wait()


service = Service(name="echo", summary="Records what reaches it", module=__name__, routers=[router])


@dataclass
class Arrived:
    """A request that reached the service."""

    method: str
    headers: list[tuple[bytes, bytes]]
    is_complete: bool
    body: bytes = b""

    def __str__(self) -> str:
        return f"{self.method} {self.body.decode('latin-1')}".strip()


@dataclass
class Recorder:
    """ASGI middleware around the service that records the requests of each row."""

    app: ASGIApp
    arrived: dict[int, list[Arrived]] = field(default_factory=lambda: defaultdict(list))
    events: dict[int, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))

    def reached(self, number: int) -> tuple[str, ...]:
        """Return the complete requests of a row."""
        return tuple(str(each) for each in self.arrived[number] if each.is_complete)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = re.search(r"/(\d+)$", scope["path"])
        if found is None or scope["path"].startswith("/probe"):
            await self.app(scope, receive, send)
            return
        number = int(found[1])
        reads_body = scope["path"].startswith("/echo/")
        request = Arrived(scope.get("method", "WEBSOCKET"), scope["headers"], is_complete=not reads_body)
        self.arrived[number].append(request)
        self.events[number].set()

        async def recorded() -> Message:
            message = await receive()
            if message["type"] == "http.request" and not request.is_complete:
                request.body += message.get("body", b"")
                request.is_complete = not message.get("more_body", False)
            return message

        await self.app(scope, recorded, send)


@dataclass
class Target:
    """A server of the table: its address, the address of the same with short time-outs, and the service behind it."""

    address: str
    hurried: str
    recorder: Recorder


@asynccontextmanager
async def targets(databases: Databases) -> AsyncIterator[Mapping[str, Target]]:
    """Start the servers and yield them by name; `proxied` is the gateway behind NGINX, `fast…` is the fast plane."""
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(
            run_service(service, databases, background=False, variables=VARIABLES)
        )
        impatient = copy(running.context)
        impatient.bodies = body_limits(HURRIED)
        sockets = {name: (bind(HOST, 0), bind(HOST, 0)) for name in SERVED}
        addresses = {name: [_address(each) for each in pair] for name, pair in sockets.items()}
        recorders = {name: _recorders(running.context, impatient) for name in RECORDED}
        local = {name: LocalUpstream("echo", recorders[name][0]) for name in ("joined", "fast", "proxied")}
        for upstream in local.values():
            stack.push_async_callback(upstream.aclose)
        remote = {name: await _remote(stack, addresses[name][0]) for name in ("behind", "behind_fast")}
        apps: dict[str, tuple[ASGIApp, ASGIApp]] = {
            "service": recorders["service"],
            "behind": recorders["behind"],
            "behind_fast": recorders["behind_fast"],
            **{name: (_gateway(each, PATIENT), _gateway(each, HURRIED)) for name, each in local.items()},
            "split": (_gateway(remote["behind"], PATIENT), _gateway(remote["behind"], HURRIED)),
            "fast_split": (_gateway(remote["behind_fast"], PATIENT), _gateway(remote["behind_fast"], HURRIED)),
        }
        limits = (ConnectionLimits(), ConnectionLimits(head_seconds=TIME_OUT))
        faces = [
            ServedApp(name, app, bound, limit, _connection_class(app) if name.startswith("fast") else LimitedConnection)
            for name, pair in apps.items()
            for app, bound, limit in zip(pair, sockets[name], limits, strict=True)
        ]
        await stack.enter_async_context(Servers(faces, grace=1))
        found = {
            name: Target(*addresses[name], recorders[name][0]) for name in ("service", "joined", "fast", "proxied")
        }
        split = Target(*addresses["split"], recorders["behind"][0])
        yield {**found, "split": split, "fast_split": Target(*addresses["fast_split"], recorders["behind_fast"][0])}


def _connection_class(app: ASGIApp) -> type[LimitedConnection]:
    assert isinstance(app, ProxyApp)
    return type("_Connection", (FastConnection,), {"plane": FastPlane(app)})


def _recorders(patient: ServiceRuntime, hurried: ServiceRuntime) -> tuple[Recorder, Recorder]:
    """Return the service with long and with short time-outs, which record in the same place."""
    first, second = (
        build_app(context, summary=service.summary, routers=service.routers) for context in (patient, hurried)
    )
    recorder = Recorder(first)
    return recorder, Recorder(second, recorder.arrived, recorder.events)


def behind(nginx_server: NginxServer, gateway: Target) -> Target:
    """Run NGINX in front of a gateway, with the exported configuration."""
    address, hurried = (f"{HOST}:{port}" for port in (nginx_server.port, *free_ports(1)))
    short = "client_header_timeout 1s;\nclient_body_timeout 1s;"
    nginx_server.serve(_site("patient", gateway.address, address) + _site("hurried", gateway.address, hurried, short))
    return Target(address, hurried, gateway.recorder)


def directly_behind(nginx_server: NginxServer, service_port: Target) -> Target:
    """Run NGINX in front of the service's own port, with the configuration of `portico export nginx --direct`."""
    address, hurried = (f"{HOST}:{port}" for port in (nginx_server.port, *free_ports(1)))
    short = "client_header_timeout 1s;\nclient_body_timeout 1s;"
    nginx_server.serve(
        _direct_site("patient", service_port.address, address)
        + _direct_site("hurried", service_port.address, hurried, short)
    )
    return Target(address, hurried, service_port.recorder)


def _address(bound: Any) -> str:
    return f"{HOST}:{bound.getsockname()[1]}"


def _policy() -> Policy:
    rates = {"default": Rate("default", 1_000_000, 60)}
    return Policy(
        RouteTable(routes_of({"echo": declared_routes([router])})), defaults=RouteDefaults(rates=rates, timeout=60.0)
    )


def _gateway(upstream: Upstream, setup: GatewaySetup) -> ProxyApp:
    clock = Clock()
    return ProxyApp(
        _policy(),
        {"echo": upstream},
        InputResolver(KnownTokens(), MemoryLimiter(clock)),
        pages={},
        clock=clock,
        observer=RecordedRequests(),
        tracing=Tracing.off(),
        capacity=Capacity(setup.max_requests, setup.max_requests, setup.client_share, body_limits(setup)),
    )


async def _remote(stack: AsyncExitStack, address: str) -> Upstream:
    directory = Directory({"echo": f"http://{address}"})
    stack.push_async_callback(directory.aclose)
    session = await stack.enter_async_context(open_session())
    connections = ConnectionPool()
    stack.callback(connections.close)
    return HttpUpstream("echo", directory, connections, session)


def _site(name: str, gateway: str, listen: str, directives: str = "") -> str:
    """Return the exported configuration, with further directives in its server."""
    system = replace(system_of(service), name=name)
    site = nginx(system, PublicRoutes.of(_policy()), ExportOptions((gateway,), listen=listen))
    return site.replace("server_tokens off;", f"server_tokens off;\n{directives}")


def _direct_site(name: str, at: str, listen: str, directives: str = "") -> str:
    """Return the exported configuration without a gateway, with further directives in its server."""
    system = replace(system_of(service), name=name)
    site = nginx_direct(system, _policy(), ExportOptions((), listen=listen), {"echo": [at]})
    return site.replace("server_tokens off;", f"server_tokens off;\n{directives}")
