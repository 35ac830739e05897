"""Services that crash and are restarted, all in one process. Each start has a new host on the same files."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from starlette.types import ASGIApp, Receive, Scope, Send

from portico.drill.faults.calls import FaultyChannel
from portico.drill.faults.injection import FaultyBroker, FaultyCohorts, FaultyCommits
from portico.drill.faults.plan import FaultPlan
from portico.kit.calls.channel import Channel, Incoming, Outgoing
from portico.kit.calls.errors import Unreachable
from portico.kit.calls.local import LocalChannel
from portico.kit.calls.retries import RetryingChannel
from portico.kit.messaging.brokers.base import Broker
from portico.kit.runtime.host import Host, VerifierOf
from portico.kit.runtime.system import System
from portico.kit.sagas.runner import SagaRunner
from portico.kit.settings import Environment
from portico.kit.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from portico.kit.runtime.context import ServiceRuntime
    from portico.kit.settings import Settings

logger = get_logger(__name__)

_MAX_STARTS = 20
_PAUSE = 0.25  # seconds

Change = Callable[["ServiceRuntime"], None]


class ServiceInstance:
    """A service from its start until it crashes or stops.

    Attributes:
        has_crashed: code of it that still runs can no longer commit, publish, acknowledge or respond.
    """

    def __init__(self, services: "RestartingServices", name: str) -> None:
        self.name = name
        self.has_crashed = False
        self._services = services
        self._local: LocalChannel | None = None
        channel = FaultyChannel(RetryingChannel(services.channel), self, services.plan)
        self.host = Host(
            services.system,
            services.environment,
            verifier_of=services.verifier_of,
            only=[name],
            channel=channel,
            broker=self._broker,
        )

    async def start(self) -> None:
        """Start the service."""
        await self.host.__aenter__()
        for context in self.host.contexts.values():
            FaultyCommits(context.database.writer.sync_engine, self, self._services.plan)
            if context.service.sagas:
                FaultyCohorts(context.resource(SagaRunner), self, self._services.plan)
        self._local = LocalChannel({self.name: self.host.apps[self.name]})

    def crash(self) -> None:
        """Crash the service at once; it is restarted."""
        if not self.has_crashed:
            self.has_crashed = True
            self._services.restart(self)

    async def stop(self) -> None:
        """Close its host. After a crash, closing it has no effect outside this process."""
        self.host.stop()
        if self._local is not None:
            await self._local.aclose(0.0 if self.has_crashed else 5.0)
        with suppress(*[Exception] * self.has_crashed):  # a crashed process reports no errors
            await self.host.__aexit__(None, None, None)

    async def respond(self, out: Outgoing) -> Incoming:
        """Return the service's response. Raises CallFailed."""
        if self.has_crashed or self._local is None:
            raise Unreachable(self.name, "is not running")
        return await self._local.send(out)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request as an ASGI application. Raises Unreachable."""
        if self.has_crashed:
            raise Unreachable(self.name, "is not running")
        await self.host.apps[self.name](scope, receive, send)

    @asynccontextmanager
    async def _broker(self, _settings: "Settings", _system: str) -> "AsyncIterator[Broker]":
        yield FaultyBroker(self._services.broker, self, self._services.plan)


class RestartingServices:
    """All services of a system, each of which is restarted when it crashes; used in `async with`.

    Args:
        system: the system.
        environment: the settings.
        verifier_of: returns the verifier of a service.
        broker: outlives the services, as a server would.
        plan: the faults.
        change: applied to each service when it starts, such as planting a bug.
    """

    def __init__(
        self,
        system: System,
        environment: Environment,
        *,
        verifier_of: VerifierOf,
        broker: Broker,
        plan: FaultPlan,
        change: Change | None = None,
    ) -> None:
        self.system = system
        self.environment = environment
        self.verifier_of = verifier_of
        self.broker = broker
        self.plan = plan
        self.channel: Channel = _CurrentInstances(self)
        self.instances: dict[str, ServiceInstance] = {}
        self.crashes = 0
        self.failure: Exception | None = None
        self._change = change
        self._restarting: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        try:
            for placement in self.system.placements:
                await self._start(placement.name)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.plan.active = False
        await self.wait_for_restarts()
        for instance in reversed(list(self.instances.values())):
            await instance.stop()

    @property
    def apps(self) -> Mapping[str, ASGIApp]:
        """Each service as an ASGI application that stays the same across restarts."""
        return {each.name: _CurrentInstance(self, each.name) for each in self.system.placements}

    def context(self, name: str) -> "ServiceRuntime":
        """Return the context of a running service."""
        return self.instances[name].host.contexts[name]

    def restart(self, instance: ServiceInstance) -> None:
        """Restart a crashed service."""
        self.crashes += 1
        task = asyncio.create_task(self._restart(instance), name=f"restart of {instance.name}")
        self._restarting.add(task)
        task.add_done_callback(self._restarting.discard)

    async def wait_for_restarts(self) -> None:
        """Wait until every service runs. Raises the error of a service that does not start."""
        while self._restarting:
            await asyncio.wait(set(self._restarting))
        if self.failure is not None:
            raise self.failure

    async def _restart(self, instance: ServiceInstance) -> None:
        await instance.stop()
        for attempt in range(_MAX_STARTS):
            try:
                await self._start(instance.name)
            except Exception as error:
                logger.exception("service_does_not_start", service=instance.name)
                if attempt == _MAX_STARTS - 1:
                    self.failure = error
            else:
                return
            await asyncio.sleep(_PAUSE)  # a supervisor of processes retries, too

    async def _start(self, name: str) -> None:
        instance = ServiceInstance(self, name)
        await instance.start()
        for context in instance.host.contexts.values():
            if self._change is not None:
                self._change(context)
        self.instances[name] = instance


class _CurrentInstances:
    """A channel to the current instance of each service."""

    def __init__(self, services: RestartingServices) -> None:
        self._services = services

    async def send(self, out: Outgoing) -> Incoming:
        instance = self._services.instances.get(out.service)
        if instance is None:
            raise Unreachable(out.service, "is not running")
        return await instance.respond(out)


class _CurrentInstance:
    def __init__(self, services: RestartingServices, name: str) -> None:
        self._services = services
        self._name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._services.instances[self._name].serve(scope, receive, send)
