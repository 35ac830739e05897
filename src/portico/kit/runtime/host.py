"""Host: opens the resources of services and runs one or more services in this process.

`async with Host(…)` opens everything, and closes it in reverse order.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, suppress
from http import HTTPStatus
from types import TracebackType
from typing import Any, Literal, Self

from starlette.types import ASGIApp

from portico import __version__
from portico.kit.auth.verification import TokenVerifier
from portico.kit.cache.base import Cache
from portico.kit.cache.factory import open_cache, warn_if_unavailable
from portico.kit.calls.channel import Channel, Outgoing, RoutingChannel
from portico.kit.calls.directory import Directory
from portico.kit.calls.http_channel import HttpChannel
from portico.kit.calls.identity import ServiceIdentity
from portico.kit.calls.local import LocalChannel
from portico.kit.calls.retries import RetryingChannel
from portico.kit.data.engine import Database
from portico.kit.data.migrations import require_current, upgrade
from portico.kit.foundation.clock import Clock
from portico.kit.foundation.foreground import Foreground
from portico.kit.http.app import build_app
from portico.kit.jobs.runner import JobRunner
from portico.kit.messaging.broadcast import Broadcasts
from portico.kit.messaging.brokers.base import Broker
from portico.kit.messaging.brokers.factory import names_broker, open_broker
from portico.kit.messaging.consumer import event_types
from portico.kit.messaging.runtime import MessagingRuntime
from portico.kit.runtime.context import ServiceRuntime, layout_of
from portico.kit.runtime.databases import migration_sets, open_database, translate_errors
from portico.kit.runtime.declaration_check import check_declarations
from portico.kit.runtime.kit_jobs import KIT_JOBS
from portico.kit.runtime.serving import local_address
from portico.kit.runtime.shutdown import ShutdownStack
from portico.kit.runtime.system import Placement, System
from portico.kit.sagas.runner import SagaRunner
from portico.kit.settings import (
    Environment,
    ServiceSettings,
    Settings,
    check_server_passwords,
    check_settings,
    check_variables,
    database_for,
    secrets_for,
)
from portico.kit.telemetry.health import Health
from portico.kit.telemetry.logs import Logs, RequestLog, get_logger
from portico.kit.telemetry.metrics import Metrics
from portico.kit.telemetry.process_stats import LoopLag
from portico.kit.telemetry.traces import Tracing

logger = get_logger(__name__)

_CANCEL_TIMEOUT = 10.0  # seconds within which cancelled work must end
_CANCEL_ATTEMPTS = 10

Migrating = Literal["upgrade", "require"]
VerifierOf = Callable[[ServiceRuntime], TokenVerifier]
OpenBroker = Callable[[Settings, str], AbstractAsyncContextManager[Broker]]


class DependencyNotReady(RuntimeError):
    """A service that this one calls is not ready."""


class Host:
    """Runs services of `system` in this process: `async with Host(system, …) as host: host.apps["loans"]`.

    Args:
        system: the system.
        environment: source of the settings.
        verifier_of: creates the verifier that all services without their own share; the argument is one of them.
        only: names of the services to run; None runs all.
        background: whether jobs, sagas, verifiers and messaging run; False for short commands.
        jobs: whether scheduled jobs run too; False for tests.
        migrating: "upgrade" runs pending migrations, "require" raises an error if there are any.
        clock: the current time.
        logs: output of request lines; None writes none.
        channel: channel to the services of the system; None creates one from their addresses.
        broker: opens the broker that the settings name. With None, events stay in the outbox and none are consumed.
    """

    def __init__(  # noqa: PLR0913  # keyword arguments, most with a default
        self,
        system: System,
        environment: Environment,
        *,
        verifier_of: VerifierOf,
        only: Iterable[str] | None = None,
        background: bool = True,
        jobs: bool = True,
        migrating: Migrating = "upgrade",
        clock: Clock | None = None,
        logs: Logs | None = None,
        channel: Channel | None = None,
        broker: OpenBroker | None = open_broker,
    ) -> None:
        names = None if only is None else set(only)
        self.system = system
        self.placements = [each for each in system.placements if names is None or each.name in names]
        self.contexts: dict[str, ServiceRuntime] = {}
        self.apps: dict[str, ASGIApp] = {}
        self.environment = environment
        self.settings = environment.read(Settings)
        self.broadcasts = Broadcasts()
        self.warnings: list[str] = []
        self.verifier: TokenVerifier | None = None
        """The verifier that the services of this process share; None if each has its own."""
        self._own: dict[str, ServiceSettings] = {}
        self._verifier_of = verifier_of
        self._background = background
        self._jobs = jobs
        self._migrating: Migrating = migrating
        self._clock = clock or Clock()
        self._logs = logs
        self._given_channel = channel
        self._open_broker = broker
        self.loop_lag = LoopLag()
        self._foreground = Foreground()
        self._stack = ShutdownStack()

    async def __aenter__(self) -> Self:
        for each in self.placements:
            check_declarations(each.service, [placed.name for placed in self.system.services])
        self.check_settings()
        try:
            self.channel = self._given_channel or self._open_channel()
            for placement in self.placements:
                await self._open(placement)
            if self._background:
                self._start_background()
                await self._start_messaging()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def check_settings(self) -> None:
        """Check settings and secrets before opening or migrating anything. Raises SettingsError with all errors."""
        kinds = {each.name: kind for each in self.system.placements if (kind := each.service.settings) is not None}
        check_variables({"the kit": Settings, **kinds})
        own = {each.name: self.environment.read(kinds[each.name]) for each in self.placements if each.name in kinds}
        needs = {"service_secret"}.union(*(each.service.secrets for each in self.placements))
        self._own = check_settings(self.settings, own, needs=needs)
        self.warnings = check_server_passwords(self.settings, *own.values())

    def stop(self) -> None:
        """Begin to stop, before the servers stop: services become unready, and event streams end."""
        for context in self.contexts.values():
            context.stop()

    def _start_background(self) -> None:
        if self.settings.redis_url is not None and self.contexts:
            cache = next(iter(self.contexts.values())).cache
            self._run_in_background(warn_if_unavailable(cache, self.settings.redis_url), "look for Redis")
        self._run_in_background(self.loop_lag.run(), "event loop lag")
        for context in self.contexts.values():
            if context.service.sagas:
                self._run_in_background(context.resource(SagaRunner).run(), f"sagas of {context.name}")
            self._run_in_background(context.verifier.run(), f"verifier of {context.name}")
            if self._jobs:
                jobs = JobRunner(context, context.database, (*KIT_JOBS, *context.service.jobs))
                self._run_in_background(jobs.run(), f"jobs of {context.name}")
            for each in context.service.background:
                self._run_in_background(each(context), f"{each.__name__} of {context.name}")

    async def _start_messaging(self) -> None:
        if self._open_broker is None:
            return
        broker_context = self._open_broker(self.settings, self.system.name)
        if not any(each.service.publishes or each.service.consumers for each in self.placements):
            # Only publishers and consumers need the embedded broker's file. Other processes may have no disk for it.
            if names_broker(self.settings):
                self._run_in_background(self._receive_broadcasts(broker_context), "broadcasts")
            return
        broker = await self._stack.enter_async_context(broker_context)
        self._run_in_background(self.broadcasts.run(broker), "broadcasts")
        for context in self.contexts.values():
            context.health.add("broker", broker.check, critical=False)
        messaging = MessagingRuntime(self._queues(), broker, self.contexts.values())
        for name, work in messaging.work().items():
            self._run_in_background(work, name)

    def _queues(self) -> dict[str, set[str]]:
        """Return the event types that each consuming service of the system handles."""
        types = {
            each.name: {name for name, _ in event_types(each.service.consumers)} for each in self.system.placements
        }
        return {name: handled for name, handled in types.items() if handled}

    async def _receive_broadcasts(self, broker_context: AbstractAsyncContextManager[Broker]) -> None:
        """Open a broker only for broadcasts, after the first subscription."""
        await self.broadcasts.wait_for_subscription()
        async with broker_context as broker:
            await self.broadcasts.run(broker)

    async def _open(self, placement: Placement) -> None:
        database = await self._database(placement)
        context = ServiceRuntime(
            service=placement.service,
            name=placement.name,
            declaration=self.system,
            settings=self.settings,
            environment=self.environment,
            own_settings=self._own.get(placement.name),
            secrets=secrets_for(self.settings, *self._own.values(), needs=placement.service.secrets),
            clock=self._clock,
            database=database,
            cache=self._cache(placement.name),
            channel=self.channel,
            identity=self.identity(placement.name),
            foreground=self._foreground,
            broadcasts=self.broadcasts,
            health=Health(placement.name, __version__, timeout=self.settings.health_timeout, loop_lag=self.loop_lag),
            metrics=Metrics(placement.name, __version__),
            tracing=self._tracing(placement.name),
            request_log=None if self._logs is None else RequestLog(self._logs, placement.name),
        )
        context.metrics.gauge("portico_event_loop_lag_seconds", "Lag of the event loop", lambda: self.loop_lag.seconds)
        context.health.add("database", database.check, critical=True)
        if self.settings.redis_url is not None:
            context.health.add("cache", context.cache.check, critical=False)
        self._stack.push_async_callback(context.health.aclose)
        present = {each.service.name for each in self.system.placements}
        optional = [name for name in placement.service.optional_calls if name in present]
        for name in (*placement.service.calls, *optional):
            self._add_called_service(context, name)
        self.contexts[placement.name] = context
        context.verifier = self._verifier_for(context)
        for kind, open_resource in context.openers.items():
            context.resources[kind] = await self._stack.enter_async_context(open_resource(context))
        if placement.service.sagas:
            context.resources[SagaRunner] = SagaRunner(
                context, placement.service.sagas, database=database, tracing=context.tracing, health=context.health
            )
        self.apps[placement.name] = build_app(
            context, summary=placement.service.summary, routers=placement.service.routers
        )

    def _verifier_for(self, context: ServiceRuntime) -> TokenVerifier:
        """Return the service's own verifier, or the shared one, because keys and revocations are the same for all."""
        if context.service.verifier is not None:
            return context.service.verifier(context)
        if self.verifier is None:
            self.verifier = self._verifier_of(context)
        return self.verifier

    async def _database(self, placement: Placement) -> Database:
        database = await self._stack.enter_async_context(open_database(placement, self.settings))
        address, histories = database_for(self.settings, placement.name), migration_sets(placement)
        with translate_errors(placement.name, address):
            if address.embedded or self._migrating == "upgrade":
                await upgrade(database, histories)
            else:
                await require_current(database, histories)
        return database

    def _open_channel(self) -> Channel:
        local = LocalChannel(self.apps)
        remote = HttpChannel(Directory(self.addresses))
        self._stack.push_async_callback(remote.aclose)
        self._stack.push_async_callback(local.aclose, self.settings.grace_period)
        return RetryingChannel(RoutingChannel(self.apps, local, remote))

    def identity(self, name: str) -> ServiceIdentity:
        """Return the identity of a service or the gateway for its own calls. It is closed with the host."""
        secret = secrets_for(self.settings, *self._own.values(), needs=["service_secret"]).service_secret
        identity = ServiceIdentity(
            self.channel, name=name, secret=secret.get_secret_value(), layout=layout_of(self.system)
        )
        self._stack.push_async_callback(identity.aclose)
        return identity

    def _add_called_service(self, context: ServiceRuntime, name: str) -> None:
        """Add the called service `name`, with its address and state, to `/health`."""
        placement = self.system.placement(name)

        async def probe() -> None:
            timeout = self.settings.health_timeout
            request = Outgoing(service=placement.name, method="GET", path="/health/ready", timeout=timeout)
            if (await self.channel.send(request)).status != HTTPStatus.OK:
                raise DependencyNotReady(f"{placement.name} is not ready")

        context.health.add_called_service(placement.name, self.address_of(placement), probe)

    @property
    def addresses(self) -> dict[str, str]:
        """Addresses of the instances of each service."""
        return {each.name: self.address_of(each) for each in self.system.placements}

    def address_of(self, placement: Placement) -> str:
        """Return the addresses of a service's instances."""
        return address_of(placement, self.settings)

    def _tracing(self, name: str) -> Tracing:
        endpoint = self.settings.otel_exporter_otlp_endpoint
        if endpoint is None:
            return Tracing.off()
        from portico.kit.telemetry.otlp import OtlpRecorder  # only if traces are exported

        recorder = OtlpRecorder(endpoint, service=name, version=__version__)
        tracing = Tracing(recorder, ratio=self.settings.otel_traces_sampler_arg)
        self._stack.push_async_callback(tracing.aclose)
        return tracing

    def _cache(self, name: str) -> Cache:
        cache = open_cache(self.settings, f"{self.system.name}:{name}:", self._clock)
        self._stack.push_async_callback(cache.aclose)
        return cache

    def _run_in_background(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run `work` until the host is closed. If it fails, the error is logged; other work continues."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(_report)
        self._stack.push_async_callback(_end, task)


def address_of(placement: Placement, settings: Settings) -> str:
    """Return the addresses of a service's instances: `{NAME}_SERVICE_URL`, or its port on this host."""
    given = settings.service_urls.get(placement.name.replace("-", "_"))
    return ",".join(given) if given else local_address(settings.host, placement.port)


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel `task` repeatedly until it ends. Before Python 3.12, `asyncio.wait_for` may swallow a cancellation."""
    with suppress(asyncio.CancelledError):
        for _ in range(_CANCEL_ATTEMPTS):
            task.cancel()
            await asyncio.wait([task], timeout=_CANCEL_TIMEOUT / _CANCEL_ATTEMPTS)
            if task.done():
                return
        logger.error("background_work_not_ended", work=task.get_name())


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("background_work_failed", work=task.get_name(), exc_info=error)
