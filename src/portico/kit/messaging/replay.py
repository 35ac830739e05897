"""Replay of events to one service, directly into its database, without a broker."""

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
from portico.kit.messaging.log import EventFilter, EventLog, LoggedEvent

_CAUSE = "replayed"


class Replay:
    """Add events to the retry queue of one service's consumers, which handles them in order, durably and once.

    Args:
        consumers: consumers of the service.
        database: database of the service.
        clock: the current time.
        again: whether consumers handle events again that they have already handled.
    """

    def __init__(self, consumers: Sequence[Consumer], database: Database, clock: Clock, *, again: bool = False) -> None:
        self._consumers = consumers
        self._database = database
        self._clock = clock
        self._again = again

    @property
    def types(self) -> frozenset[str]:
        """Types of the events that the service handles."""
        return frozenset(kind.event_type for consumer in self._consumers for kind in consumer.events)

    async def of(self, logs: Sequence[EventLog], selection: EventFilter) -> int:
        """Replay the matching events of `logs`. Return how many were added for at least one consumer.

        Events published during the replay are not included, because handling events again may publish more of them.
        """
        lasts = [await log.last() for log in logs]
        return sum([await self._replay_log(last, log, selection) for last, log in zip(lasts, logs, strict=True)])

    async def _replay_log(self, last: int, log: EventLog, selection: EventFilter) -> int:
        total, after = 0, 0
        while page := await log.page(selection, limit=BATCH, after=after, last=last):
            total += await self._replay(page)
            after = page[-1].number
        return total

    async def _replay(self, events: Sequence[LoggedEvent]) -> int:
        replayed: set[str] = await run_in_transaction(self._database, self._clock, partial(self._replay_to_all, events))
        return len(replayed)

    async def _replay_to_all(self, events: Sequence[LoggedEvent], work: UnitOfWork) -> set[str]:
        replayed: set[str] = set()
        for consumer in self._consumers:
            replayed |= await self._replay_to(consumer, events, work)
        return replayed

    async def _replay_to(self, consumer: Consumer, events: Sequence[LoggedEvent], work: UnitOfWork) -> set[str]:
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
    values = {name: getattr(event, name) for name in ("event_id", "type", "aggregate", "body")}
    return {**values, "kind": "handler_failed", "consumer": consumer.name, "cause": _CAUSE, "error": ""}
