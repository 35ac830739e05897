"""The gateway of one system: builds its components, owns their lifetime, and serves as an ASGI application."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self

from starlette.types import ASGIApp, Receive, Scope, Send

from portico import __version__
from portico.gateway.fast import FastConnection, FastPlane
from portico.gateway.health import ServiceHealth
from portico.gateway.limits import Limiter, MemoryLimiter
from portico.gateway.metrics import GatewayMetrics, watch_instances
from portico.gateway.openapi import SystemDocument
from portico.gateway.pages import Pages
from portico.gateway.policy_inputs import InputResolver
from portico.gateway.proxy import Capacity, ProxyApp
from portico.gateway.system_policy import policy_of
from portico.gateway.upstreams import HttpUpstream, LocalUpstream, Upstream
from portico.gateway.upstreams.connection_pool import ConnectionPool
from portico.gateway.upstreams.http import open_session
from portico.kit.auth.verification import TokenVerifier
from portico.kit.calls.breaker import BreakerConfig
from portico.kit.calls.directory import Directory
from portico.kit.foundation.clock import Clock
from portico.kit.http.request_body import BodyLimits
from portico.kit.runtime.shutdown import ShutdownStack
from portico.kit.runtime.system import System
from portico.kit.runtime.uvicorn_protocols import LimitedConnection
from portico.kit.settings import Settings
from portico.kit.telemetry.health import Health
from portico.kit.telemetry.logs import Logs, RequestLog
from portico.kit.telemetry.metrics import Metrics
from portico.kit.telemetry.process_stats import LoopLag
from portico.kit.telemetry.traces import Tracing

NAME = "gateway"
# Shorter than the default, so that a recovered instance is found within seconds. Only few requests probe an instance.
BREAKER = BreakerConfig(open_for=1.0, max_open_for=10.0)


class Gateway:
    """ASGI application while it is open: `async with Gateway(…) as gateway: await serve(gateway)`.

    Serve it without uvicorn's proxy headers (`proxy_headers=False`): it reads them itself, from trusted proxies only.

    Args:
        system: The system behind the gateway.
        settings: The settings in force.
        verifier: Verifies access tokens.
        background: Whether the verifier's `run` task runs while the gateway is open; False for short commands.
        apps: Services in this process by name; they are called without a socket.
        addresses: Addresses of the other services by name, in the format of `{NAME}_SERVICE_URL`.
        clock: Source of the time.
        loop_lag: Measures the event loop of the process; its host runs it.
        logs: Destination of the access log; None writes no access log.
    """

    def __init__(
        self,
        system: System,
        settings: Settings,
        *,
        verifier: TokenVerifier,
        background: bool = True,
        apps: Mapping[str, ASGIApp],
        addresses: Mapping[str, str],
        clock: Clock | None = None,
        loop_lag: LoopLag | None = None,
        logs: Logs | None = None,
    ) -> None:
        self.policy = policy_of(system, settings)
        self.metrics = Metrics(NAME, __version__)
        self.health = Health(NAME, __version__, timeout=settings.health_timeout, loop_lag=loop_lag)
        lag = self.health.loop_lag
        self.metrics.gauge("portico_event_loop_lag_seconds", "Lag of the event loop", lambda: lag.seconds)
        self._system = system
        self._settings = settings
        self._verifier = verifier
        self._background = background
        self._apps = apps
        self._addresses = addresses
        self._clock = clock or Clock()
        self._gateway_metrics = GatewayMetrics(self.metrics, None if logs is None else RequestLog(logs, NAME))
        self._stack = ShutdownStack()
        self._proxy: ProxyApp | None = None
        self._fast: FastPlane | None = None

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
        if self._proxy is None:
            raise RuntimeError("The gateway is not open. Enter it with `async with` first.")
        await self._proxy(scope, receive, send)

    @property
    def connection_class(self) -> type[LimitedConnection]:
        """The class of client connections that forward plain requests without ASGI. The gateway must be open."""
        if self._fast is None:
            raise RuntimeError("The gateway is not open. Enter it with `async with` first.")
        return type("GatewayConnection", (FastConnection,), {"plane": self._fast})

    def stop(self) -> None:
        """Begin to shut down: become unready, and end event streams and WebSockets. Requests in flight continue."""
        self.health.stopping = True
        if self._proxy is not None:
            self._proxy.stop()

    async def _open(self) -> None:
        upstreams = await self._upstreams()
        limiter = self._limiter()
        self._stack.push_async_callback(limiter.aclose)
        services = ServiceHealth(upstreams, self._clock, timeout=self._settings.health_timeout)
        self._stack.push_async_callback(services.aclose)
        document = SystemDocument(
            title=self._system.name,
            summary=self._system.summary,
            version=__version__,
            upstreams=upstreams,
            table=self.policy.table,
            clock=self._clock,
        )
        self._stack.push_async_callback(document.aclose)
        self._watch(services, upstreams)
        pages = Pages(
            title=self._system.name,
            summary=self._system.summary,
            case=self._system.case,
            health=self.health,
            services=services,
            metrics=self.metrics,
            document=document,
        )
        self._proxy = ProxyApp(
            self.policy,
            upstreams,
            InputResolver(self._verifier, limiter),
            pages=pages.by_path(),
            clock=self._clock,
            observer=self._gateway_metrics,
            tracing=self._tracing(),
            case=self._system.case,
            capacity=Capacity(
                self._settings.max_requests,
                self._settings.max_streams,
                self._settings.max_client_share,
                BodyLimits.of(self._settings, margin=0.0),
            ),
        )
        if self._background:
            self._start(asyncio.create_task(self._verifier.run(), name="gateway-token-verifier"))
        self._open_fast_plane(self._proxy)

    def _open_fast_plane(self, proxy: ProxyApp) -> None:
        self._fast = fast = FastPlane(proxy)
        self.metrics.counter(
            "portico_gateway_fast_plane_requests",
            "Requests that were forwarded without the ASGI plane",
            lambda: fast.forwarded,
        )
        self._start(asyncio.create_task(fast.time_limits.run(), name="gateway-time-limits"))

    async def _upstreams(self) -> dict[str, Upstream]:
        """Return the upstream of each service: direct calls for services in this process, HTTP for the others."""
        names = [each.name for each in self._system.placements]
        remote = {name: self._addresses[name] for name in names if name not in self._apps}
        upstreams: dict[str, Upstream] = {}
        for name in names:
            if name in self._apps:
                local = LocalUpstream(name, self._apps[name])
                self._stack.push_async_callback(local.aclose)
                upstreams[name] = local
        if remote:
            directory = Directory(remote, config=BREAKER)
            self._stack.push_async_callback(directory.aclose)
            session = await self._stack.enter_async_context(open_session())
            connections = ConnectionPool()
            self._stack.callback(connections.close)
            upstreams |= {name: HttpUpstream(name, directory, connections, session) for name in remote}
            watch_instances(self.metrics, directory)
        return upstreams

    def _limiter(self) -> Limiter:
        url = self._settings.redis_url
        if url is None:
            return MemoryLimiter(self._clock)
        from portico.gateway.redis_limits import (
            RedisLimiter,  # a start without Redis does not import its client library
        )

        prefix = f"{self._system.name}:{NAME}"
        return RedisLimiter.to(url, self._clock, prefix=prefix, on_fallback=self._gateway_metrics.count_fallback)

    def _watch(self, services: ServiceHealth, upstreams: Mapping[str, Upstream]) -> None:
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

    def _start(self, task: asyncio.Task[None]) -> None:
        self._stack.push_async_callback(_end, task)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
