"""Replaying events to one service: they are handed to its consumers in its own database, and need no broker."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy import delete, select, update

from portico.kit.data.engine import Database
from portico.kit.data.kit_tables import failed_events, inbox
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.data.upsert import insert_or_ignore
from portico.kit.foundation.clock import Clock
from portico.kit.messaging.batches import BATCH, run_in_transaction
from portico.kit.messaging.consumer import Consumer
from portico.kit.messaging.log import EventLog, LoggedEvent, Selection

_CAUSE = "replayed"


class Replay:
    """Hands events to the consumers of one service, as if each had failed before: in order, durably, and once.

    Args:
        consumers: of the service.
        database: the service's.
        clock: the time.
        again: whether what they have handled before is handled again.
    """

    def __init__(self, consumers: Sequence[Consumer], database: Database, clock: Clock, *, again: bool = False) -> None:
        self._consumers = consumers
        self._database = database
        self._clock = clock
        self._again = again

    @property
    def types(self) -> frozenset[str]:
        """The types of the events that the service handles."""
        return frozenset(kind.event_type for consumer in self._consumers for kind in consumer.events)

    async def of(self, logs: Sequence[EventLog], selection: Selection) -> int:
        """Hand over the events of `logs` that `selection` names; how many of them somebody is to handle.

        Of those that are there now: what is handled again may have more published, which would be handled again too.
        """
        lasts = [await log.last() for log in logs]
        return sum([await self._up_to(last, log, selection) for last, log in zip(lasts, logs, strict=True)])

    async def _up_to(self, last: int, log: EventLog, selection: Selection) -> int:
        total, after = 0, 0
        while page := await log.page(selection, limit=BATCH, after=after, last=last):
            total += await self._hand_over(page)
            after = page[-1].number
        return total

    async def _hand_over(self, events: Sequence[LoggedEvent]) -> int:
        handed: set[str] = await run_in_transaction(self._database, self._clock, partial(self._hand_to_all, events))
        return len(handed)

    async def _hand_to_all(self, events: Sequence[LoggedEvent], work: UnitOfWork) -> set[str]:
        handed: set[str] = set()
        for consumer in self._consumers:
            handed |= await self._hand_to(consumer, events, work)
        return handed

    async def _hand_to(self, consumer: Consumer, events: Sequence[LoggedEvent], work: UnitOfWork) -> set[str]:
        wanted = {kind.event_type for kind in consumer.events}
        chosen = {event.event_id: event for event in events if event.type in wanted}
        handled = (inbox.c.consumer == consumer.name, inbox.c.event_id.in_(chosen))
        if self._again:
            await work.execute(delete(inbox).where(*handled))
        else:
            for event_id in await work.all(select(inbox.c.event_id).where(*handled)):
                del chosen[event_id]
        if not chosen:
            return set()
        queued = (failed_events.c.consumer == consumer.name, failed_events.c.event_id.in_(chosen))
        restarted = {"state": "waiting", "attempts": 0, "next_at": work.now}
        await work.execute(update(failed_events).where(*queued, failed_events.c.state == "dead").values(restarted))
        rows = [_row(consumer, event) | restarted | {"failed_at": work.now} for event in chosen.values()]
        await work.execute(insert_or_ignore(failed_events, work.database.dialect), rows)
        return set(chosen)


def _row(consumer: Consumer, event: LoggedEvent) -> dict[str, Any]:
    kept = {name: getattr(event, name) for name in ("event_id", "type", "aggregate", "body")}
    return {**kept, "kind": "handler_failed", "consumer": consumer.name, "cause": _CAUSE, "error": ""}
