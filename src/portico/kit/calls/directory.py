"""Directory of service instances: chooses the instance for the next call.

It is independent of HTTP and channels. A caller takes a lease on an instance for one call and reports the outcome.
"""

import asyncio
import contextvars
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from math import inf
from time import monotonic as system_monotonic
from types import TracebackType
from typing import Self

from portico.kit.calls.addresses import (
    DnsName,
    InstanceAddress,
    LookupFailed,
    Resolution,
    Resolver,
    SrvName,
    SystemResolver,
    parse_addresses,
)
from portico.kit.calls.breaker import DEFAULT_CONFIG, Breaker, BreakerConfig, BreakerState, Permit
from portico.kit.calls.errors import BreakerOpen, Unreachable
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

_MAX_INSTANCES = 128  # maximum number of instances of a service; further ones are ignored
_AFTER_FAILURE = 1.0  # seconds before a failed lookup is retried


class Instance:
    """One address of a service, with its breaker and the number of calls in flight."""

    __slots__ = ("address", "breaker", "in_flight")

    def __init__(self, address: InstanceAddress, breaker: Breaker) -> None:
        self.address = address
        self.breaker = breaker
        self.in_flight = 0


@dataclass(frozen=True, slots=True)
class InstanceState:
    """State of an instance for metrics and health."""

    service: str
    address: str
    breaker: BreakerState
    in_flight: int
    openings: int


class InstanceLease(Permit):
    """Lease for one call to one instance. The caller reports the outcome, otherwise the call counts as abandoned."""

    __slots__ = ("instance",)

    def __init__(self, instance: Instance, epoch: int) -> None:
        self._breaker = instance.breaker
        self._epoch = epoch
        self.instance = instance
        instance.in_flight += 1

    def _end(self) -> Breaker | None:
        breaker = self._breaker
        if breaker is not None:
            self._breaker = None
            self.instance.in_flight -= 1
        return breaker

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.record_abandoned()


class Pool:
    """The instances of one service. An instance keeps its breaker while its address is known."""

    def __init__(self, service: str, new_breaker: Callable[[], Breaker]) -> None:
        self.service = service
        self.instances: tuple[Instance, ...] = ()
        self._new_breaker = new_breaker
        self._turn = 0

    def update(self, addresses: Collection[InstanceAddress]) -> None:
        """Replace the instances."""
        known = {instance.address: instance for instance in self.instances}
        wanted = sorted(set(addresses), key=lambda address: (address.priority, address.origin))[:_MAX_INSTANCES]
        self.instances = tuple(known.get(each) or Instance(each, self._new_breaker()) for each in wanted)

    def lease(self, *, avoiding: Collection[str] = (), probe: bool = False) -> InstanceLease:
        """Take the instance with the best priority and the fewest calls in flight whose breaker admits a call.

        Args:
            avoiding: origins already tried. They are used only if no other instance is available.
            probe: whether to try an instance with an open breaker if all are open.

        Raises:
            BreakerOpen: every breaker is open.
            Unreachable: there is no instance.
        """
        chosen = self.instances[0] if len(self.instances) == 1 else self._choose(avoiding)
        if chosen is not None and (epoch := chosen.breaker.begin()) is not None:
            return InstanceLease(chosen, epoch)
        if probe:
            for each in sorted(self.instances, key=lambda instance: instance.address.origin in avoiding):
                if (epoch := each.breaker.begin(probe=True)) is not None:
                    return InstanceLease(each, epoch)
        if not self.instances:
            raise Unreachable(self.service, "no instance is known", retry_after=_AFTER_FAILURE)
        raise BreakerOpen(self.service, retry_after=min(each.breaker.retry_after for each in self.instances))

    def admits(self) -> bool:
        """Return whether `lease` would find an instance."""
        return any(instance.breaker.admits() for instance in self.instances)

    def _choose(self, avoiding: Collection[str]) -> Instance | None:
        count = len(self.instances)
        self._turn += 1  # equally busy instances alternate
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
    """Addresses of services, resolved again when their TTL expires.

    While a name is resolved again, and if that fails, the previous addresses stay in use. An unavailable registry must
    not make services unreachable.

    Args:
        services: value of `{NAME}_SERVICE_URL` of each service.
        config: thresholds of the instances' breakers.
        resolver: resolves `dns://` and `srv://` names.
        monotonic: the clock, in seconds.

    Raises:
        AddressError: an address cannot be used.
    """

    def __init__(
        self,
        services: Mapping[str, str],
        *,
        config: BreakerConfig = DEFAULT_CONFIG,
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

    async def lease(self, service: str, *, avoiding: Collection[str] = (), probe: bool = False) -> InstanceLease:
        """Take an instance for one call. Resolves the service first if necessary.

        Raises:
            BreakerOpen: every instance has failed too often recently.
            Unreachable: no instance is known.
        """
        return (await self.pool(service)).lease(avoiding=avoiding, probe=probe)

    async def pool(self, service: str) -> Pool:
        """Return the instances of a service, resolved if necessary. Raises Unreachable for an unknown service."""
        entry = self._entries.get(service)
        if entry is None:
            raise Unreachable(service, "no address is configured; set its ..._SERVICE_URL")
        if entry.expires <= self._monotonic():
            refresh = self._refresh(entry)
            if not entry.pool.instances:
                await asyncio.shield(refresh)  # a cancelled caller must not cancel it for others
        return entry.pool

    def current(self, service: str) -> Pool | None:
        """Return the instances of a service like `pool`; None if that would wait, or the service is unknown."""
        entry = self._entries.get(service)
        if entry is None or not entry.pool.instances:
            return None
        if entry.expires != inf and entry.expires <= self._monotonic():
            self._refresh(entry)
        return entry.pool

    def known(self, service: str) -> Pool | None:
        """Return the currently known instances without a lookup; None for an unknown service."""
        entry = self._entries.get(service)
        return entry.pool if entry is not None else None

    def states(self, service: str | None = None) -> tuple[InstanceState, ...]:
        """Return the states of the instances of one service, or of all."""
        entries = self._entries.values() if service is None else filter(None, [self._entries.get(service)])
        return tuple(state for entry in entries for state in entry.pool.states())

    async def aclose(self) -> None:
        """Cancel lookups in progress."""
        tasks = [entry.refresh for entry in self._entries.values() if entry.refresh is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _refresh(self, entry: "_Entry") -> "asyncio.Task[None]":
        if entry.refresh is None:
            # The context is empty, because the lookup outlives the request that started it.
            entry.refresh = asyncio.create_task(self._look_up(entry), context=contextvars.Context())
            entry.refresh.add_done_callback(lambda _: entry.refreshed())
        return entry.refresh

    async def _look_up(self, entry: "_Entry") -> None:
        addresses: list[InstanceAddress] = []
        ttl = float("inf")
        try:
            for source in entry.sources:
                found = await self._find(source)
                addresses.extend(found.addresses)
                ttl = min(ttl, found.ttl)
        except LookupFailed as error:
            logger.warning("service_lookup_failed", target=entry.pool.service, error=str(error))
            entry.expires = self._monotonic() + _AFTER_FAILURE
            return
        entry.pool.update(addresses)
        entry.expires = self._monotonic() + ttl

    async def _find(self, source: InstanceAddress | DnsName | SrvName) -> Resolution:
        match source:
            case InstanceAddress():
                return Resolution((source,), float("inf"))
            case DnsName():
                return await self._resolver.hosts(source)
            case SrvName():
                return await self._resolver.services(source)


class _Entry:
    def __init__(self, pool: Pool, sources: tuple[InstanceAddress | DnsName | SrvName, ...]) -> None:
        self.pool = pool
        self.sources = sources
        self.expires = float("-inf")
        self.refresh: asyncio.Task[None] | None = None
        static = [source for source in sources if isinstance(source, InstanceAddress)]
        pool.update(static)  # these are used even if the names cannot be resolved
        if len(static) == len(sources):
            self.expires = float("inf")

    def refreshed(self) -> None:
        self.refresh = None
