"""Which instance of a service gets the next call.

It knows neither HTTP nor channels: whatever forwards or calls takes a `Lease` on an instance and says how it went.
"""

import asyncio
import contextvars
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from time import monotonic as system_monotonic
from types import TracebackType
from typing import Self

from portico.kit.calls.addresses import (
    Address,
    DnsName,
    Found,
    LookupFailed,
    Resolver,
    SrvName,
    SystemResolver,
    parse_addresses,
)
from portico.kit.calls.breaker import USUAL, Breaker, BreakerConfig, BreakerState, Permit
from portico.kit.calls.errors import BreakerOpen, Unreachable

log = logging.getLogger(__name__)

_MOST_INSTANCES = 128  # of one service; a registry that says more is not believed
_AFTER_FAILURE = 1.0  # seconds until a failed lookup is tried again


class Instance:
    """One address of a service, with its breaker and the number of calls in flight."""

    __slots__ = ("address", "breaker", "in_flight")

    def __init__(self, address: Address, breaker: Breaker) -> None:
        self.address = address
        self.breaker = breaker
        self.in_flight = 0


@dataclass(frozen=True, slots=True)
class InstanceState:
    """What metrics and health tell of an instance."""

    service: str
    address: str
    breaker: BreakerState
    in_flight: int
    openings: int


class Lease:
    """One call to one instance. End it by telling how it went; leaving the block untold says nothing of the instance."""

    __slots__ = ("_passage", "instance")

    def __init__(self, instance: Instance, passage: Permit) -> None:
        self.instance = instance
        self._passage: Permit | None = passage
        instance.in_flight += 1

    def succeeded(self) -> None:
        """It answered."""
        if (passage := self._end()) is not None:
            passage.succeeded()

    def failed(self) -> None:
        """It did not answer, or what stands before it said that it can't."""
        if (passage := self._end()) is not None:
            passage.failed()

    def abandoned(self) -> None:
        """The caller went away."""
        if (passage := self._end()) is not None:
            passage.abandoned()

    def _end(self) -> Permit | None:
        passage, self._passage = self._passage, None
        if passage is not None:
            self.instance.in_flight -= 1
        return passage

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandoned()


class Pool:
    """The instances of one service. An instance keeps its breaker while its address stays known."""

    def __init__(self, service: str, new_breaker: Callable[[], Breaker]) -> None:
        self.service = service
        self.instances: tuple[Instance, ...] = ()
        self._new_breaker = new_breaker
        self._turn = 0

    def update(self, addresses: Collection[Address]) -> None:
        """Make these the instances."""
        known = {instance.address: instance for instance in self.instances}
        wanted = sorted(set(addresses), key=lambda address: (address.priority, address.origin))[:_MOST_INSTANCES]
        self.instances = tuple(known.get(each) or Instance(each, self._new_breaker()) for each in wanted)

    def lease(self, *, avoiding: Collection[str] = (), probe: bool = False) -> Lease:
        """Take the instance of best priority with the fewest calls in flight whose breaker lets one through.

        Args:
            avoiding: Origins tried already, taken again only where nothing else is left.
            probe: Try one whose breaker is open where all are.

        Raises:
            BreakerOpen: Every breaker is open.
            Unreachable: There is no instance.
        """
        if (chosen := self._choose(avoiding)) is not None and (passage := chosen.breaker.enter()) is not None:
            return Lease(chosen, passage)
        if probe:
            for each in sorted(self.instances, key=lambda instance: instance.address.origin in avoiding):
                if (passage := each.breaker.enter(probe=True)) is not None:
                    return Lease(each, passage)
        if not self.instances:
            raise Unreachable(self.service, "no instance is known", retry_after=_AFTER_FAILURE)
        raise BreakerOpen(self.service, retry_after=min(each.breaker.retry_after for each in self.instances))

    def admits(self) -> bool:
        """Whether `lease` would find an instance."""
        return any(instance.breaker.admits() for instance in self.instances)

    def _choose(self, avoiding: Collection[str]) -> Instance | None:
        count = len(self.instances)
        self._turn += 1  # where all are equally busy each gets its turn
        best: Instance | None = None
        best_rank = (True, 0, 0)
        for step in range(count):
            instance = self.instances[(self._turn + step) % count]
            if not instance.breaker.admits():
                continue
            rank = (instance.address.origin in avoiding, instance.address.priority, instance.in_flight)
            if best is None or rank < best_rank:
                best, best_rank = instance, rank
        return best

    def states(self) -> tuple[InstanceState, ...]:
        return tuple(
            InstanceState(self.service, each.address.origin, each.breaker.state, each.in_flight, each.breaker.openings)
            for each in self.instances
        )


class Directory:
    """The addresses of services, resolved as they age.

    Names that are known are served as they were while they are looked up again, and go on being served where that
    fails: a registry that is down must not take the services with it.

    Args:
        services: For each service what its `{NAME}_SERVICE_URL` says, comma separated.
        tripping: When the breaker of an instance opens.
        resolver: Looks up `dns://` and `srv://` names.
        monotonic: The clock, in seconds.

    Raises:
        AddressError: An address can't be used.
    """

    def __init__(
        self,
        services: Mapping[str, str],
        *,
        config: BreakerConfig = USUAL,
        resolver: Resolver | None = None,
        monotonic: Callable[[], float] = system_monotonic,
    ) -> None:
        self._resolver = resolver or SystemResolver()
        self._monotonic = monotonic

        def new_breaker() -> Breaker:
            return Breaker(config, monotonic)

        self._entries = {
            service: _Entry(Pool(service, new_breaker), parse_addresses(text)) for service, text in services.items()
        }

    async def lease(self, service: str, *, avoiding: Collection[str] = (), probe: bool = False) -> Lease:
        """Take an instance for one call, looking the service up first where that is due.

        Raises:
            BreakerOpen: Every instance failed too often lately.
            Unreachable: No instance is known.
        """
        return (await self.pool(service)).lease(avoiding=avoiding, probe=probe)

    async def pool(self, service: str) -> Pool:
        """The instances of a service, looked up where that is due. Raises Unreachable for an unknown service."""
        entry = self._entries.get(service)
        if entry is None:
            raise Unreachable(service, "has no address; set its ..._SERVICE_URL")
        if entry.expires <= self._monotonic():
            refresh = self._refresh(entry)
            if not entry.pool.instances:
                await asyncio.shield(refresh)  # a caller that gives up does not end it for the others
        return entry.pool

    def known(self, service: str) -> Pool | None:
        """The instances as they are known now, without looking anything up; None for an unknown service."""
        entry = self._entries.get(service)
        return entry.pool if entry is not None else None

    def states(self, service: str | None = None) -> tuple[InstanceState, ...]:
        """The instances of one service, or of all."""
        entries = self._entries.values() if service is None else filter(None, [self._entries.get(service)])
        return tuple(state for entry in entries for state in entry.pool.states())

    async def aclose(self) -> None:
        """End lookups that are under way."""
        tasks = [entry.refresh for entry in self._entries.values() if entry.refresh is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _refresh(self, entry: "_Entry") -> "asyncio.Task[None]":
        if entry.refresh is None:
            # A context of its own: the lookup outlives the request that happened to notice.
            entry.refresh = asyncio.create_task(self._look_up(entry), context=contextvars.Context())
            entry.refresh.add_done_callback(lambda _: entry.refreshed())
        return entry.refresh

    async def _look_up(self, entry: "_Entry") -> None:
        addresses: list[Address] = []
        ttl = float("inf")
        try:
            for source in entry.sources:
                found = await self._find(source)
                addresses.extend(found.addresses)
                ttl = min(ttl, found.ttl)
        except LookupFailed as error:
            log.warning("service %s could not be looked up: %s", entry.pool.service, error)
            entry.expires = self._monotonic() + _AFTER_FAILURE
            return
        entry.pool.update(addresses)
        entry.expires = self._monotonic() + ttl

    async def _find(self, source: Address | DnsName | SrvName) -> Found:
        match source:
            case Address():
                return Found((source,), float("inf"))
            case DnsName():
                return await self._resolver.hosts(source)
            case SrvName():
                return await self._resolver.services(source)


class _Entry:
    def __init__(self, pool: Pool, sources: tuple[Address | DnsName | SrvName, ...]) -> None:
        self.pool = pool
        self.sources = sources
        self.expires = float("-inf")
        self.refresh: asyncio.Task[None] | None = None
        static = [source for source in sources if isinstance(source, Address)]
        pool.update(static)  # these serve also while the names beside them can't be looked up
        if len(static) == len(sources):
            self.expires = float("inf")

    def refreshed(self) -> None:
        self.refresh = None
