"""What a service does on others' events."""

import inspect
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.messaging.event import Event

if TYPE_CHECKING:
    from portico.kit.runtime.context import ServiceRuntime

Function = Callable[..., Awaitable[None]]
_BARE = 2  # parameters of a consumer that needs no more than the event and its unit of work


@dataclass(frozen=True)
class Consumer:
    """A function that is called for each event of some types, once.

    Its effect and the event's identity are one transaction: a repeated event does nothing.
    """

    function: Function
    events: tuple[type[Event], ...]

    @property
    def name(self) -> str:
        """By which the inbox knows it; to rename a consumer is to have it handle again what is replayed."""
        return self.function.__name__

    @cached_property
    def _wants_running(self) -> bool:
        return len(inspect.signature(self.function).parameters) > _BARE

    async def handle(self, event: Event, work: UnitOfWork, context: "ServiceRuntime") -> None:
        """Call the function."""
        await (self.function(event, work, context) if self._wants_running else self.function(event, work))


def consumes(*events: type[Event]) -> Callable[[Function], Consumer]:
    """Declare a consumer: `@consumes(UserDeleted)` on `async def end_loans_when_user_deleted(event, work)`.

    The function is given the event and a unit of work that is committed for it, and, where it has a third parameter,
    the running service. It must not call other services: a transaction is open. Raising has the event handled again
    later, and events about the same thing wait behind it.

    Raises:
        TypeError: the function can't be called so, or no event is named.
    """

    def declare(function: Function) -> Consumer:
        parameters = list(inspect.signature(function).parameters)
        if not events or not _BARE <= len(parameters) <= _BARE + 1 or not inspect.iscoroutinefunction(function):
            raise TypeError(f"{function.__name__}: a consumer is `async def …(event, work)`, of at least one event")
        return Consumer(function, events)

    return declare


def event_types(consumers: "typing.Iterable[Consumer]") -> dict[tuple[str, int], type[Event]]:
    """The classes of the events that `consumers` handle, by type and version."""
    return {(kind.event_type, kind.version): kind for each in consumers for kind in each.events}


def consumers_of(consumers: "typing.Iterable[Consumer]", kind: type[Event]) -> list[Consumer]:
    """Those that handle events of `kind`, in the order of their declaration."""
    return [each for each in consumers if kind in each.events]
