"""What a running service offers to its own code: consumers, saga steps, jobs, resources and endpoints.

It is a protocol, so that messaging, sagas and jobs can use it without importing the runtime that implements it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

from portico.kit.cache.base import CacheGroup, CacheTag
from portico.kit.calls.channel import Channel
from portico.kit.calls.client import Calls
from portico.kit.data.change_notifier import ChangeNotifier
from portico.kit.data.reader import Reader
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.foundation.clock import Clock
from portico.kit.foundation.foreground import Foreground
from portico.kit.settings import Secrets, ServiceSettings, Settings
from portico.kit.telemetry.health import Health
from portico.kit.telemetry.metrics import Metrics
from portico.kit.telemetry.trace_context import TraceContext
from portico.kit.telemetry.traces import Tracing

T = TypeVar("T")
S = TypeVar("S", bound=ServiceSettings)

Case = Literal["snake", "camel"]
"""Case of the field names in a system's JSON."""

Lists = Literal["arrays", "pages"]
"""Whether a system's lists are JSON arrays, or objects with numbered pages."""


@dataclass(frozen=True, slots=True)
class SystemInfo:
    """The part of a system that its services know.

    Attributes:
        name: name of the system, and the audience of its tokens.
        services: names of its services.
        prefix: path prefix of resources, such as `/api`.
        case: case of JSON field names.
        lists: whether lists are arrays, or objects with numbered pages.
        roles: named sets of permissions; "*" is every permission.
        default_role: the role of a new user, if any.
        local_url: address of the gateway for clients on the same machine.
    """

    name: str
    services: frozenset[str] = frozenset()
    prefix: str = ""
    case: Case = "snake"
    lists: Lists = "arrays"
    roles: Mapping[str, frozenset[str]] = field(default_factory=dict)
    default_role: str | None = None
    local_url: str = "http://localhost"


class ServiceContext(Protocol):
    """One service in this process, as its own code sees it.

    Attributes:
        name: name of the service in its system.
        clock: the current time.
        settings: settings of the kit. `settings_of` returns a service's own.
        secrets: the secrets that the service declares.
        metrics: counters and gauges, served at `/metrics`.
        health: health checks.
        tracing: creates spans of background work.
        channel: sends requests to other services that have no typed client.
        foreground: the requests that this process serves, of all its services.
        system: the system that the service belongs to.
        stopping: set when the process has to stop. Endless work, such as an event stream, must end then.
    """

    clock: Clock
    settings: Settings
    secrets: Secrets
    metrics: Metrics
    health: Health
    tracing: Tracing
    channel: Channel
    foreground: Foreground
    stopping: asyncio.Event

    @property
    def name(self) -> str: ...

    @property
    def system(self) -> SystemInfo: ...

    @property
    def change_notifier(self) -> ChangeNotifier:
        """Notifies tasks of this process about committed changes of an object, such as an order."""
        ...

    def unit_of_work(self) -> UnitOfWork:
        """Return a unit of work that its caller commits."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Open a unit of work that is committed at the end of the block, and rolled back if the block raises."""
        ...

    async def transact(self, act: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        """Run `act` in a transaction of its own and commit it; repeat it after a conflict with another transaction."""
        ...

    def reader(self) -> Reader:
        """Return a reader, for use in `async with`."""
        ...

    def resource(self, kind: type[T]) -> T:
        """Return the service's resource of this type. Raises NotDeclared."""
        ...

    def settings_of(self, kind: type[S]) -> S:
        """Return the service's own settings, or further ones of the same environment. Raises SettingsError."""
        ...

    def calls(
        self,
        *,
        deadline: float | None = None,
        timeout: float = 10.0,
        key: str | None = None,
        trace: TraceContext | None = None,
        request_id: str | None = None,
    ) -> Calls:
        """Return calls to other services, authenticated as this service. The arguments are those of `Calls`."""
        ...

    def public_calls(self, *, deadline: float | None = None) -> Calls:
        """Return calls to other services without credentials."""
        ...

    def response_cache(self, tag: CacheTag) -> CacheGroup:
        """Return the cached responses with this tag."""
        ...
