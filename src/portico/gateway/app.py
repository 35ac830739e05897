"""The gateway of one system, with all that lives as long as it does."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from functools import partial
from types import TracebackType
from typing import Self

from starlette.types import ASGIApp, Receive, Scope, Send

from portico import __version__
from portico.gateway.addresses import TrustedProxies
from portico.gateway.cors import Cors
from portico.gateway.documents import Documents
from portico.gateway.health import Services
from portico.gateway.limits import Limiter, MemoryLimiter, RedisLimiter
from portico.gateway.metrics import Observations, watch_instances
from portico.gateway.pages import OWN_PATHS, Pages
from portico.gateway.policy import Limits, Policy
from portico.gateway.policy_inputs import InputResolver
from portico.gateway.proxy import Capacity, ProxyApp
from portico.gateway.rates import Rate
from portico.gateway.routes import RouteTable, routes_of
from portico.gateway.upstreams import LocalUpstream, SocketUpstream, Upstream
from portico.gateway.upstreams.connections import Connections
from portico.gateway.upstreams.socket import open_session
from portico.kit.auth.verification import TokenVerifier
from portico.kit.calls.breaker import BreakerConfig
from portico.kit.calls.directory import Directory
from portico.kit.foundation.clock import Clock
from portico.kit.http.router import declared_routes
from portico.kit.runtime.system import System
from portico.kit.settings import Settings
from portico.kit.telemetry.health import Health
from portico.kit.telemetry.logs import Logs, RequestLog
from portico.kit.telemetry.metrics import Metrics
from portico.kit.telemetry.traces import Tracing

NAME = "gateway"
# A service that comes back is found within seconds: the requests that try it are few.
TRIPPING = BreakerConfig(open_for=1.0, longest=10.0)


def policy_of(system: System, settings: Settings) -> Policy:
    """What the gateway of `system` decides by. Needs nothing that runs: `portico explain` uses it too."""
    table = RouteTable(
        routes_of({each.name: declared_routes(each.service.routers, system.prefix) for each in system.placements})
    )
    rates = {
        "default": Rate("default", settings.rate_limit.limit, settings.rate_limit.window),
        "sign_in": Rate("sign_in", settings.rate_limit_sign_in.limit, settings.rate_limit_sign_in.window, "address"),
    }
    return Policy(
        table,
        limits=Limits(rates=rates, timeout=settings.request_timeout, body_limit=settings.body_limit),
        cors=Cors(settings.cors_origins),
        proxies=TrustedProxies(str(network) for network in settings.trusted_proxies),
        own=OWN_PATHS,
    )


class Gateway:
    """An ASGI app while it is open: `async with Gateway(…) as gateway: await serve(gateway)`.

    Serve it without proxy headers (uvicorn: `proxy_headers=False`): it reads them itself, from trusted proxies only.

    Args:
        system: What stands behind it.
        settings: What the environment says.
        verifier: Tells who bears a token; kept fresh while the gateway is open.
        apps: The services that run in this process, by name; called directly.
        addresses: Where the others are, by name, as `{NAME}_SERVICE_URL` says it.
        clock: Tells the time.
        logs: Where the line of each request goes; none are written without.
    """

    def __init__(
        self,
        system: System,
        settings: Settings,
        *,
        verifier: TokenVerifier,
        apps: Mapping[str, ASGIApp],
        addresses: Mapping[str, str],
        clock: Clock | None = None,
        logs: Logs | None = None,
    ) -> None:
        self.policy = policy_of(system, settings)
        self.metrics = Metrics(NAME, __version__)
        self.health = Health(NAME, __version__)
        self._system = system
        self._settings = settings
        self._verifier = verifier
        self._apps = apps
        self._addresses = addresses
        self._clock = clock or Clock()
        self._observations = Observations(self.metrics, None if logs is None else RequestLog(logs, NAME))
        self._stack = AsyncExitStack()
        self._plane: ProxyApp | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        await self._stack.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._plane is None:
            raise RuntimeError("the gateway is not open")
        await self._plane(scope, receive, send)

    def stop(self) -> None:
        """Begin to stop: not ready for more, event streams and WebSockets end, what is in flight finishes."""
        self.health.stopping = True
        if self._plane is not None:
            self._plane.stop()

    async def _open(self) -> None:
        upstreams = await self._upstreams()
        limiter = self._limiter()
        self._stack.push_async_callback(limiter.aclose)
        services = Services(upstreams, self._clock)
        self._stack.push_async_callback(services.aclose)
        documents = Documents(
            title=self._system.name,
            summary=self._system.summary,
            version=__version__,
            upstreams=upstreams,
            table=self.policy.table,
            clock=self._clock,
        )
        self._stack.push_async_callback(documents.aclose)
        self._watch(services, upstreams)
        pages = Pages(
            title=self._system.name,
            case=self._system.case,
            health=self.health,
            services=services,
            metrics=self.metrics,
            documents=documents,
        )
        self._plane = ProxyApp(
            self.policy,
            upstreams,
            InputResolver(self._verifier, limiter),
            pages=pages.by_path(),
            clock=self._clock,
            observer=self._observations,
            tracing=self._tracing(),
            case=self._system.case,
            capacity=Capacity(self._settings.max_requests, self._settings.max_streams),
        )
        self._keep(asyncio.create_task(self._verifier.run(), name="verifier of the gateway"))
        self._keep(asyncio.create_task(self.health.loop_lag.run(), name="event loop of the gateway"))

    async def _upstreams(self) -> dict[str, Upstream]:
        """Each service by its name: called directly where it runs here, else by socket."""
        names = [each.name for each in self._system.placements]
        remote = {name: self._addresses[name] for name in names if name not in self._apps}
        upstreams: dict[str, Upstream] = {}
        for name in names:
            if name in self._apps:
                local = LocalUpstream(name, self._apps[name])
                self._stack.push_async_callback(local.aclose)
                upstreams[name] = local
        if remote:
            directory = Directory(remote, config=TRIPPING)
            self._stack.push_async_callback(directory.aclose)
            session = await self._stack.enter_async_context(open_session())
            connections = Connections()
            self._stack.callback(connections.close)
            upstreams |= {name: SocketUpstream(name, directory, connections, session) for name in remote}
            watch_instances(self.metrics, directory)
        return upstreams

    def _limiter(self) -> Limiter:
        url = self._settings.redis_url
        if url is None:
            return MemoryLimiter(self._clock)
        prefix = f"{self._system.name}:{NAME}"
        return RedisLimiter.to(url, self._clock, prefix=prefix, on_fallback=self._observations.counted_here)

    def _watch(self, services: Services, upstreams: Mapping[str, Upstream]) -> None:
        for name in upstreams:
            self.health.add(name, partial(services.probe, name), critical=False)
        self._stack.push_async_callback(self.health.aclose)

    def _tracing(self) -> Tracing:
        endpoint = self._settings.otel_exporter_otlp_endpoint
        if endpoint is None:
            return Tracing.off()
        from portico.kit.telemetry.otlp import OtlpRecorder  # only where traces are exported

        recorder = OtlpRecorder(endpoint, service=NAME, version=__version__)
        tracing = Tracing(recorder, ratio=self._settings.otel_traces_sampler_arg)
        self._stack.push_async_callback(tracing.aclose)
        return tracing

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._stack.push_async_callback(_end, task)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
