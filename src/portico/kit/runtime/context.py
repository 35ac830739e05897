"""Runtime of one service in this process: its declaration, and the resources that the host provides."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from portico.kit.auth.verification import TokenVerifier
from portico.kit.cache.base import Cache, CacheGroup, CacheTag
from portico.kit.calls.channel import Channel
from portico.kit.calls.client import Calls, Identity, Layout
from portico.kit.calls.identity import ServiceIdentity
from portico.kit.data.change_notifier import ChangeNotifier
from portico.kit.data.engine import Database
from portico.kit.data.grouped_work import CommitGroup, GroupedUnitOfWork
from portico.kit.data.reader import Reader
from portico.kit.data.retry import run_transaction
from portico.kit.data.unit_of_work import UnitOfWork, commit_on_exit
from portico.kit.foundation.clock import Clock
from portico.kit.foundation.foreground import Foreground
from portico.kit.foundation.shares import Shares
from portico.kit.http.live import TooManyStreams
from portico.kit.http.request_body import BodyLimits
from portico.kit.messaging.broadcast import Broadcasts
from portico.kit.messaging.consumer import Consumer
from portico.kit.messaging.event import Event
from portico.kit.messaging.outbox import Outbox
from portico.kit.runtime.service import OpenResource, Service
from portico.kit.runtime.system import System
from portico.kit.service_context import ServiceContext
from portico.kit.settings import Environment, Secrets, ServiceSettings, Settings
from portico.kit.telemetry.health import Health
from portico.kit.telemetry.logs import RequestLog
from portico.kit.telemetry.metrics import Metrics
from portico.kit.telemetry.trace_context import TraceContext
from portico.kit.telemetry.traces import Tracing

T = TypeVar("T")
S = TypeVar("S", bound=ServiceSettings)


class NotDeclared(LookupError):
    """The service does not declare the requested object."""


@dataclass(eq=False)
class ServiceRuntime:
    """One service in this process. `name` is its name in the system.

    `stopping` is set when the process must stop. Endless work, such as an event stream, must end then. `broadcasts` are
    the event subscriptions of the whole process. `committed_events` is set when this process has committed events, and
    wakes the relay.
    """

    service: Service
    name: str
    declaration: System
    settings: Settings
    environment: Environment
    own_settings: ServiceSettings | None
    secrets: Secrets
    clock: Clock
    database: Database
    cache: Cache
    channel: Channel
    identity: ServiceIdentity
    foreground: Foreground
    broadcasts: Broadcasts
    health: Health
    metrics: Metrics
    tracing: Tracing
    request_log: RequestLog | None
    keys_in_flight: set[str] = field(default_factory=set)
    resources: dict[type[Any], object] = field(default_factory=dict)
    _groups: dict[CacheTag, CacheGroup] = field(default_factory=dict)
    _sockets: Shares | None = None
    bodies: BodyLimits = field(init=False)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _verifier: TokenVerifier | None = None
    committed_events: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.system = self.declaration.info
        self.bodies = BodyLimits.of(self.settings)
        self._outbox = Outbox(
            f"/{self.system.name}/{self.name}",
            self.service.publishes,
            size_limit=self.settings.event_size_limit,
            wake=self.committed_events.set,
        )

    @property
    def change_notifier(self) -> ChangeNotifier:
        return self.database.change_notifier

    @property
    def sockets(self) -> Shares:
        """The open WebSockets and event streams, counted to limit their number."""
        if self._sockets is None:
            limit, each = self.settings.max_streams, self.settings.max_streams_each
            self._sockets = sockets = Shares(limit, each, full=TooManyStreams, exceeded=TooManyStreams)
            self.metrics.gauge("portico_streams", "Open WebSockets and event streams", lambda: sockets.total)
        return self._sockets

    @property
    def verifier(self) -> TokenVerifier:
        if self._verifier is None:
            raise NotDeclared(f"{self.name} has no verifier yet. It is available after start-up.")
        return self._verifier

    @verifier.setter
    def verifier(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier

    @property
    def consumers(self) -> Sequence[Consumer]:
        """The consumers that the service declares."""
        return self.service.consumers

    @property
    def publishes(self) -> Sequence[type[Event]]:
        """The events that the service declares."""
        return self.service.publishes

    def unit_of_work(self) -> UnitOfWork:
        """Return a unit of work that its caller commits."""
        return UnitOfWork(self.database, self.clock, invalidate=self._invalidate, events=self._outbox)

    @property
    def openers(self) -> Mapping[type[Any], OpenResource]:
        """The functions that open the service's declared resources, and the commit group if its routes need one."""
        if not any(route.grouped for router in self.service.routers for route in router.routes):
            return self.service.resources
        return {CommitGroup: self._open_commit_group, **self.service.resources}

    def _open_commit_group(self, _: ServiceContext) -> CommitGroup:
        batch, queue = self.settings.group_commit_batch, self.settings.group_commit_queue
        return CommitGroup(self.unit_of_work, max_batch=batch, max_waiting=queue)

    def grouped_unit_of_work(self) -> GroupedUnitOfWork:
        """Return a unit of work that is committed together with those of other requests."""
        group = self.resource(CommitGroup)
        return GroupedUnitOfWork(self.database, self.clock, group, invalidate=self._invalidate, events=self._outbox)

    def stop(self) -> None:
        """Begin to stop: reject new work, and end event streams and requests that wait for a change."""
        self.health.stopping = True
        self.stopping.set()
        self.change_notifier.notify_all()

    def transaction(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Open a unit of work that is committed at the end of the block."""
        return commit_on_exit(self.unit_of_work())

    async def transact(self, act: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        """Run `act` in a transaction and return its result. Retry it after a conflict."""
        return await run_transaction(self.transaction, act)

    def response_cache(self, tag: CacheTag) -> CacheGroup:
        """Return the cached responses with this tag."""
        group = self._groups.get(tag)
        if group is None:
            group = self._groups[tag] = CacheGroup(self.cache, tag.name)
        return group

    async def _invalidate(self, tag_name: str) -> None:
        await CacheGroup(self.cache, tag_name).invalidate()

    def reader(self) -> Reader:
        """Return a reader, for use in `async with`."""
        return Reader(self.database, self.clock)

    def calls(
        self,
        *,
        deadline: float | None = None,
        timeout: float = 10.0,
        key: str | None = None,
        trace: TraceContext | None = None,
        request_id: str | None = None,
    ) -> Calls:
        """Return calls to other services, authenticated as this service. See `Calls` for the arguments."""
        return Calls(
            self.channel,
            identity=self.identity,
            request_id=request_id,
            trace=trace,
            tracing=self.tracing,
            deadline=deadline,
            key=key,
            layout=layout_of(self.declaration),
            timeout=timeout,
        )

    def calls_on_behalf(
        self, identity: Identity, *, request_id: str, trace: TraceContext, deadline: float | None
    ) -> Calls:
        """Return calls to other services, authenticated as `identity`."""
        return Calls(
            self.channel,
            identity=identity,
            request_id=request_id,
            trace=trace,
            tracing=self.tracing,
            deadline=deadline,
            layout=layout_of(self.declaration),
        )

    def public_calls(self, *, deadline: float | None = None) -> Calls:
        """Return calls to other services without credentials, for public endpoints."""
        return Calls(self.channel, deadline=deadline, layout=layout_of(self.declaration))

    def resource(self, kind: type[T]) -> T:
        """Return the resource of this type. Raises NotDeclared."""
        if kind not in self.resources:
            raise NotDeclared(
                f"{self.service.name} does not declare a resource {kind.__name__}. Add it to Service(resources=…)."
            )
        return cast("T", self.resources[kind])

    def settings_of(self, kind: type[S]) -> S:
        """Return the service's own settings, or other settings from the same environment. Raises SettingsError."""
        if isinstance(self.own_settings, kind):
            return self.own_settings
        return self.environment.read(kind)


def layout_of(system: System) -> Layout:
    """Return the path prefix and service names of this system."""
    return Layout(system.prefix, {service.name: name for service, name in system.names.items()})
