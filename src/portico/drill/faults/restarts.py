"""Services that die and are started again, all in one process: each life a host of its own on the same files."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from starlette.types import ASGIApp, Receive, Scope, Send

from portico.drill.faults.injection import FaultyBroker, FaultyChannel, FaultyCommits
from portico.drill.faults.plan import FaultPlan
from portico.kit.calls.channel import Channel, Incoming, Outgoing
from portico.kit.calls.errors import Unreachable
from portico.kit.calls.local import LocalChannel
from portico.kit.calls.retries import RetryingChannel
from portico.kit.messaging.brokers.base import Broker
from portico.kit.runtime.host import Host, VerifierOf
from portico.kit.runtime.system import System
from portico.kit.settings import Environment
from portico.kit.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from portico.kit.runtime.context import ServiceRuntime
    from portico.kit.settings import Settings

logger = get_logger(__name__)

_STARTS = 20
_PAUSE = 0.25  # seconds

Change = Callable[["ServiceRuntime"], None]


class ServiceLife:
    """One life of a service, from its start to its crash or its end.

    Attributes:
        over: it crashed: whatever of it still runs commits, publishes, acknowledges and answers nothing any more.
    """

    def __init__(self, lives: "Lives", name: str) -> None:
        self.name = name
        self.over = False
        self._lives = lives
        self._local: LocalChannel | None = None
        channel = FaultyChannel(RetryingChannel(lives.channel), self, lives.plan)
        self.host = Host(
            lives.system,
            lives.environment,
            verifier_of=lives.verifier_of,
            only=[name],
            channel=channel,
            broker=self._broker,
        )

    async def begin(self) -> None:
        """Start the service."""
        await self.host.__aenter__()
        for context in self.host.contexts.values():
            FaultyCommits(context.database.writer.sync_engine, self, self._lives.plan)
        self._local = LocalChannel({self.name: self.host.apps[self.name]})

    def crash(self) -> None:
        """End it at once; another life begins soon."""
        if not self.over:
            self.over = True
            self._lives.crashed(self)

    async def end(self) -> None:
        """Close what it holds. After a crash nothing that is done on the way has an effect."""
        if self._local is not None:
            await self._local.aclose(0.0 if self.over else 5.0)
        with suppress(*[Exception] * self.over):  # a dead process tells nobody what went wrong
            await self.host.__aexit__(None, None, None)

    async def answer(self, out: Outgoing) -> Incoming:
        """Have the service answer. Raises CallFailed."""
        if self.over or self._local is None:
            raise Unreachable(self.name, "does not run")
        return await self._local.send(out)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request as an ASGI application. Raises Unreachable."""
        if self.over:
            raise Unreachable(self.name, "does not run")
        await self.host.apps[self.name](scope, receive, send)

    @asynccontextmanager
    async def _broker(self, _settings: "Settings", _system: str) -> "AsyncIterator[Broker]":
        yield FaultyBroker(self._lives.broker, self, self._lives.plan)


class Lives:
    """All services of a system, each dying and living by itself: `async with Lives(…) as lives`.

    Args:
        system: the system.
        environment: where settings are read from.
        verifier_of: makes the verifier of a service.
        broker: what carries events; it outlives the services, as a server would.
        plan: the faults.
        change: done to each service as it begins, such as planting a bug.
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
        self.channel: Channel = _Doors(self)
        self.now: dict[str, ServiceLife] = {}
        self.crashes = 0
        self.failure: Exception | None = None
        self._change = change
        self._restarting: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        try:
            for placement in self.system.placements:
                await self._begin(placement.name)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.plan.active = False
        await self.settle()
        for life in reversed(list(self.now.values())):
            await life.end()

    @property
    def apps(self) -> Mapping[str, ASGIApp]:
        """Each service as an ASGI application that stays the same over its lives."""
        return {each.name: _Door(self, each.name) for each in self.system.placements}

    def context(self, name: str) -> "ServiceRuntime":
        """A service as it runs now."""
        return self.now[name].host.contexts[name]

    def crashed(self, life: ServiceLife) -> None:
        """Begin the next life of a service."""
        self.crashes += 1
        task = asyncio.create_task(self._again(life), name=f"restart of {life.name}")
        self._restarting.add(task)
        task.add_done_callback(self._restarting.discard)

    async def settle(self) -> None:
        """Wait until every service lives. Raises what kept one from starting again."""
        while self._restarting:
            await asyncio.wait(set(self._restarting))
        if self.failure is not None:
            raise self.failure

    async def _again(self, life: ServiceLife) -> None:
        await life.end()
        for attempt in range(_STARTS):
            try:
                await self._begin(life.name)
            except Exception as error:
                logger.exception("service_does_not_start", service=life.name)
                if attempt == _STARTS - 1:
                    self.failure = error
            else:
                return
            await asyncio.sleep(_PAUSE)  # whoever watches over processes tries again, too

    async def _begin(self, name: str) -> None:
        life = ServiceLife(self, name)
        await life.begin()
        for context in life.host.contexts.values():
            if self._change is not None:
                self._change(context)
        self.now[name] = life


class _Doors:
    """The way to whichever life a service leads."""

    def __init__(self, lives: Lives) -> None:
        self._lives = lives

    async def send(self, out: Outgoing) -> Incoming:
        life = self._lives.now.get(out.service)
        if life is None:
            raise Unreachable(out.service, "does not run")
        return await life.answer(out)


class _Door:
    def __init__(self, lives: Lives, name: str) -> None:
        self._lives = lives
        self._name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._lives.now[self._name].serve(scope, receive, send)
