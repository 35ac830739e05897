"""Consumers: functions of a service that handle events of other services."""

import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.foundation.stored_names import checked_name
from portico.kit.messaging.event import Event
from portico.kit.service_context import ServiceContext

ConsumerFunction = Callable[..., Awaitable[None]]
_MIN_PARAMETERS = 2  # the event and its unit of work; the third is the service's context


@dataclass(frozen=True)
class Consumer:
    """A function that handles each event of some types once.

    Attributes:
        name: identifies the consumer in the inbox, the retry queue, metrics and traces. It is stored: a consumer with a
            new name handles replayed events again.
        function: is called with the event, a unit of work and, if it takes three parameters, the service's context.
        events: the event types that it handles.
    """

    name: str
    function: ConsumerFunction
    events: tuple[type[Event], ...]

    @cached_property
    def _takes_context(self) -> bool:
        return len(inspect.signature(self.function).parameters) > _MIN_PARAMETERS

    async def handle(self, event: Event, work: UnitOfWork, context: ServiceContext) -> None:
        """Call the function."""
        await (self.function(event, work, context) if self._takes_context else self.function(event, work))


def consumes(*events: type[Event], name: str) -> Callable[[ConsumerFunction], Consumer]:
    """Declare a consumer.

    ```python
    @consumes(UserDeleted, name="end-loans-of-deleted-user")
    async def end_loans_of_deleted_user(event: UserDeleted, work: UnitOfWork) -> None: ...
    ```

    The function receives the event, a unit of work that is committed when it returns and, if it takes a third
    parameter, the service's context. It must not call other services, because a transaction is open. If it raises, the
    event is retried later, and later events of the same aggregate wait for it.

    Args:
        events: the event types to handle.
        name: a stable name in kebab-case.

    Raises:
        TypeError: the function has another signature, or no event type is given.
        ValueError: the name is not kebab-case.
    """

    def declare(function: ConsumerFunction) -> Consumer:
        count = len(inspect.signature(function).parameters)
        fits = _MIN_PARAMETERS <= count <= _MIN_PARAMETERS + 1 and inspect.iscoroutinefunction(function)
        if not events or not fits:
            raise TypeError(
                f"{function.__name__} is not a consumer. Declare it as `async def {function.__name__}(event, work)` or "
                f"`(event, work, context)`, and pass at least one event type to `consumes`."
            )
        return Consumer(checked_name(name), function, events)

    return declare


def check_unique_names(consumers: Iterable[Consumer]) -> None:
    """Raise ValueError if two of a service's consumers have the same name."""
    repeated = [name for name, count in Counter(each.name for each in consumers).items() if count > 1]
    if repeated:
        raise ValueError(f"Several consumers have the same name: {', '.join(repeated)}. Rename all but one of each.")


def event_types(consumers: Iterable[Consumer]) -> dict[tuple[str, int], type[Event]]:
    """Return the classes of the events that `consumers` handle, by type and version."""
    return {(kind.event_type, kind.version): kind for each in consumers for kind in each.events}


def consumers_of(consumers: Iterable[Consumer], kind: type[Event]) -> list[Consumer]:
    """Return those of `consumers` that handle events of class `kind`, in the order of their declaration."""
    return [each for each in consumers if kind in each.events]
