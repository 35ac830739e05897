"""What a running service offers to its own code: consumers, saga steps, jobs, resources and endpoints.

It is a protocol, so that messaging, sagas and jobs can use it without importing the runtime that implements it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

from portico.kit.cache.group import CacheGroup
from portico.kit.cache.tag import CacheTag
from portico.kit.calls.channel import Channel
from portico.kit.calls.client import Calls
from portico.kit.data.change_notifier import ChangeNotifier
from portico.kit.data.reader import Reader
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.foundation.clock import Clock
from portico.kit.settings import Secrets, ServiceSettings, Settings
from portico.kit.telemetry.health import Health
from portico.kit.telemetry.metrics import Metrics
from portico.kit.telemetry.trace_context import TraceContext
from portico.kit.telemetry.traces import Tracing

T = TypeVar("T")
S = TypeVar("S", bound=ServiceSettings)

Case = Literal["snake", "camel"]
"""How a system spells the fields of its JSON."""


@dataclass(frozen=True, slots=True)
class SystemInfo:
    """What a service may know of the system that it runs in.

    Attributes:
        name: of the system, and the audience of its tokens.
        services: names of its services.
        prefix: before the path of every resource, such as `/api`.
        case: how JSON fields are spelled.
        roles: named sets of permissions; "*" is every permission.
        default_role: the role of a new user, if any.
    """

    name: str
    services: frozenset[str] = frozenset()
    prefix: str = ""
    case: Case = "snake"
    roles: Mapping[str, frozenset[str]] = field(default_factory=dict)
    default_role: str | None = None


class ServiceContext(Protocol):
    """One service in this process, as its own code sees it.

    Attributes:
        name: what its system calls it.
        clock: the time.
        settings: the settings of the kit; a service's own are `settings_of`.
        secrets: the secrets that the service declares.
        metrics: counters and gauges, served at `/metrics`.
        health: checks and details that `/health` shows.
        tracing: spans of work that no request began.
        channel: requests to other services, for what the typed clients do not cover.
        system: the system that it runs in.
        stopping: set when the process has to stop; work without an end, such as an event stream, ends then.
    """

    clock: Clock
    settings: Settings
    secrets: Secrets
    metrics: Metrics
    health: Health
    tracing: Tracing
    channel: Channel
    stopping: asyncio.Event

    @property
    def name(self) -> str: ...

    @property
    def system(self) -> SystemInfo: ...

    @property
    def change_notifier(self) -> ChangeNotifier:
        """Tells this process about committed changes of a subject, such as an order."""
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
        """Return a reader, to be used in `async with`."""
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
