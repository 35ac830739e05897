"""Inbox (idempotent consumer): each event is handled once per consumer, in order per aggregate."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, bindparam, delete, exists, insert, literal, select
from sqlalchemy.dialects import postgresql, sqlite

from portico.kit.data.failures import is_retryable_conflict, is_unavailable
from portico.kit.data.kit_tables import failed_events, inbox
from portico.kit.data.retry import RetryPolicy, retry_transaction
from portico.kit.data.statements import Statement
from portico.kit.data.turns import run_in_turns, time_limit
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.foundation.backoff import Backoff
from portico.kit.messaging.brokers.base import Message
from portico.kit.messaging.consumer import Consumer, check_unique_names, consumers_of, event_types
from portico.kit.messaging.context import MessagingContext
from portico.kit.messaging.envelope import Envelope, NotAnEvent
from portico.kit.messaging.event import Event
from portico.kit.messaging.inbox_batches import Delivery, DeliveryFailed, InboxBatches
from portico.kit.messaging.retry_queue import BlockedByEarlierEvent, FailedEvent, RetryQueue
from portico.kit.telemetry.context import RequestContext, request_context
from portico.kit.telemetry.logs import get_logger
from portico.kit.telemetry.trace_context import TraceContext

logger = get_logger(__name__)

_SLOW = 0.5  # seconds
_WRITERS = 2  # one batch is handled while another one commits
_UNTIL_AVAILABLE = RetryPolicy(tries=None, is_retryable=is_unavailable, backoff=Backoff(base=0.1, limit=5.0))


class UnknownEvent(NotAnEvent):
    """The service has no class for this type or version of event."""


class InvalidEvent(NotAnEvent):
    """The fields of the event do not match its type."""


class Inbox:
    """Handles the events delivered to a service, each consumer in its own transaction.

    Events that are delivered to a consumer at the same time share a transaction, see `InboxBatches`. An event whose
    consumer fails goes to the retry queue in the service's own database. Later events of the same aggregate wait for
    it. Other events continue.

    Args:
        context: the service.
        slow: seconds that the handlers of a batch may take together.
    """

    def __init__(self, context: MessagingContext, *, slow: float = _SLOW) -> None:
        self._context = context
        self._slow = slow
        self._consumers = context.consumers
        check_unique_names(self._consumers)
        self._kinds = event_types(self._consumers)
        self.retry_queue = RetryQueue(context)
        self.handled: dict[str, int] = {}
        writers = 1 if context.database.dialect == "sqlite" else _WRITERS
        self._batches = {
            each.name: InboxBatches(partial(self._handle_batch, each), writers=writers, slow=slow)
            for each in self._consumers
        }

    @property
    def types(self) -> frozenset[str]:
        """Types of the events that the service handles."""
        return frozenset(name for name, _ in self._kinds)

    async def deliver(self, message: Message) -> None:
        """Handle a message. When this returns, it is handled or in the retry queue, and can be acknowledged.

        If the database is unavailable, this waits for it.
        """
        try:
            envelope, event = self._read(message.body)
        except NotAnEvent as error:
            dead = FailedEvent.unreadable(message, error)
            await self._retry_until_available(partial(self.retry_queue.add, dead, error))
            return
        for consumer in consumers_of(self._consumers, type(event)):
            await self._retry_until_available(partial(self._deliver_to, consumer, envelope, event, message.body))

    async def retry(self, failed: FailedEvent) -> None:
        """Retry a failed event. If it fails again, it is rescheduled or becomes a dead letter."""
        try:
            envelope, event = self._read(failed.body.encode())
            if failed.kind == "unreadable":
                await self._deliver_again(failed, envelope, event)
            else:
                consumer = self._consumer_of(failed, type(event))
                await retry_transaction(lambda: self._handle(consumer, envelope, event, failed))
        except Exception as error:
            if _is_unavailable(error):
                raise
            await self.retry_queue.record_failure(failed, error)

    async def _deliver_again(self, failed: FailedEvent, envelope: Envelope, event: Event) -> None:
        """Deliver a message that was unreadable before to each consumer, as if it had just arrived."""
        for consumer in consumers_of(self._consumers, type(event)):
            await self._deliver_to(consumer, envelope, event, failed.body.encode())
        await self.retry_queue.remove_now(failed)

    def _consumer_of(self, failed: FailedEvent, kind: type[Event]) -> Consumer:
        """Return the consumer of a failed event. Raises UnknownEvent if it does not handle this event version."""
        for consumer in consumers_of(self._consumers, kind):
            if consumer.name == failed.consumer:
                return consumer
        raise UnknownEvent(f"{failed.consumer} handles no version {kind.version} of {kind.event_type}")

    def _read(self, body: bytes) -> tuple[Envelope, Event]:
        envelope = Envelope.parse(body)
        kind = self._kinds.get((envelope.type, envelope.version))
        if kind is None:
            raise UnknownEvent(f"no consumer handles version {envelope.version} of {envelope.type}")
        try:
            event = kind.model_validate(envelope.data)
        except ValidationError as error:
            raise InvalidEvent(_error_text(error)) from error
        return envelope, event.with_message_id(envelope.event_id)

    async def _retry_until_available(self, act: Callable[[], Awaitable[None]]) -> None:
        """Run `act`, and again until the database is available."""
        await retry_transaction(act, _UNTIL_AVAILABLE, on_retry=self._log_wait)

    def _log_wait(self, error: Exception) -> None:
        logger.warning("consumer_waits_for_database", service=self._context.name, error=type(error).__name__)

    async def _deliver_to(self, consumer: Consumer, envelope: Envelope, event: Event, body: bytes) -> None:
        try:
            await self._batches[consumer.name].handle(Delivery(envelope, event))
        except Exception as error:
            if _is_unavailable(error):
                raise
            attempts = 0 if isinstance(error, BlockedByEarlierEvent) else 1
            failed = FailedEvent.of(consumer.name, envelope, body, error, attempts=attempts)
            await self.retry_queue.add(failed, error)

    async def _handle_batch(self, consumer: Consumer, batch: Sequence[Delivery]) -> Sequence[Delivery]:
        """Handle events in one transaction, in turns: see `run_in_turns`. Return the events to handle alone.

        These are events that are not new, blocked events, and events that have not begun when the batch becomes slow.

        Raises:
            DeliveryFailed: the handler of one event failed. For a single event, the handler's error is raised.
        """
        if len(batch) == 1:
            [only] = batch
            await retry_transaction(lambda: self._handle(consumer, only.envelope, only.event, None))
            return ()
        clock = asyncio.get_running_loop().time
        async with asyncio.timeout(self._context.settings.event_timeout), self._context.transaction() as work:
            new, alone = await self._claim_batch(work, consumer.name, batch)
            until = clock() + self._slow

            async def handle(delivery: Delivery) -> bool:
                if delivery is not new[0] and clock() >= until:
                    return False
                try:
                    with self._handling(consumer, delivery.envelope):
                        async with time_limit(self._slow):
                            await consumer.handle(delivery.event, work, self._context)
                            await work.flush_and_expunge()
                except Exception as error:
                    if is_retryable_conflict(error):
                        raise
                    raise DeliveryFailed(batch.index(delivery)) from error
                return True

            handled = sum(await run_in_turns(work, [partial(handle, each) for each in new]))
            await self._withdraw_claims(work, consumer.name, new[handled:])
        self.handled[consumer.name] = self.handled.get(consumer.name, 0) + handled
        return [*alone, *new[handled:]]

    @contextmanager
    def _handling(self, consumer: Consumer, envelope: Envelope) -> Iterator[None]:
        """Set the context of an event's handler, in a span that continues the event's trace."""
        context = self._context
        span = context.tracing.begin(
            consumer.name,
            kind="consumer",
            parent=TraceContext.parse(envelope.trace),
            attributes={"messaging.message.id": envelope.event_id, "messaging.destination.name": envelope.type},
        )
        token = request_context.set(RequestContext(context.name, envelope.event_id, span.context))
        failure: str | None = None
        try:
            yield
        except BaseException as error:
            failure = type(error).__name__
            raise
        finally:
            request_context.reset(token)
            span.end(error=failure)

    async def _handle(self, consumer: Consumer, envelope: Envelope, event: Event, failed: FailedEvent | None) -> None:
        """Handle an event in one transaction: its identity, its effect, and its removal from the retry queue.

        Raises:
            BlockedByEarlierEvent: an earlier event of the aggregate waits for a retry.
        """
        context = self._context
        with self._handling(consumer, envelope):
            async with asyncio.timeout(context.settings.event_timeout), context.transaction() as work:
                new = await self._claim(work, consumer.name, envelope, failed)
                if new:
                    await consumer.handle(event, work, context)
                if failed is not None:
                    await self.retry_queue.remove(work, failed)
            self.handled[consumer.name] = self.handled.get(consumer.name, 0) + new

    async def _claim_batch(
        self, work: UnitOfWork, consumer: str, batch: Sequence[Delivery]
    ) -> tuple[Sequence[Delivery], Sequence[Delivery]]:
        """Insert the identities of events, in one statement if possible. Return the new events and the others.

        If a batch contains an event twice, only the first counts as new.
        """
        rows = [_claim_values(work, consumer, each.envelope) for each in batch]
        claimed = await work.write_all(_claim_statement(work.database.dialect, again=False), rows)
        new = [each for each, is_new in zip(batch, claimed, strict=True) if is_new]
        return new, [each for each, is_new in zip(batch, claimed, strict=True) if not is_new]

    async def _withdraw_claims(self, work: UnitOfWork, consumer: str, deliveries: Sequence[Delivery]) -> None:
        """Remove the identities of events that this transaction claimed but does not handle."""
        if deliveries:
            ids = [each.envelope.event_id for each in deliveries]
            await work.execute(delete(inbox).where(inbox.c.consumer == consumer, inbox.c.event_id.in_(ids)))

    async def _claim(self, work: UnitOfWork, consumer: str, envelope: Envelope, failed: FailedEvent | None) -> bool:
        """Insert the event's identity, usually in one statement, and return whether it is new.

        Raises:
            BlockedByEarlierEvent: an earlier event of the aggregate waits for a retry.
        """
        values = _claim_values(work, consumer, envelope)
        if failed is not None:
            values["number"] = failed.number
        if await work.write(_claim_statement(work.database.dialect, again=failed is not None), values):
            return True
        same = (inbox.c.consumer == consumer, inbox.c.event_id == envelope.event_id)
        if await work.one(select(literal(1)).where(exists().where(*same))) is not None:
            return False
        of_this = (failed_events.c.consumer == consumer, failed_events.c.event_id == envelope.event_id)
        if failed is None and await work.one(select(literal(1)).where(exists().where(*of_this))) is not None:
            return False  # a redelivery while the event waits for a retry or is a dead letter
        raise BlockedByEarlierEvent(f"an earlier event of {envelope.subject} is waiting for a retry")


def _claim_values(work: UnitOfWork, consumer: str, envelope: Envelope) -> dict[str, Any]:
    return {
        "new_consumer": consumer,
        "new_event_id": envelope.event_id,
        "new_handled_at": work.now,
        "aggregate": envelope.subject,
    }


@cache
def _claim_statement(dialect: str, *, again: bool) -> Statement:
    """Return the statement that inserts an event's identity unless it is known or blocked."""
    names = ["consumer", "event_id", "handled_at"]
    values = [bindparam(f"new_{name}", type_=inbox.c[name].type) for name in names]
    row = select(*values).where(~_blocked(again=again))
    if dialect == "postgresql":
        return Statement(postgresql.insert(inbox).from_select(names, row).on_conflict_do_nothing())
    if dialect == "sqlite":
        return Statement(sqlite.insert(inbox).from_select(names, row).on_conflict_do_nothing())
    return Statement(insert(inbox).prefix_with("IGNORE").from_select(names, row))


def _blocked(*, again: bool) -> ColumnElement[bool]:
    """Return the condition that an earlier event of the aggregate waits, or that this event is in the retry queue."""
    failed = failed_events.c
    consumer = failed.consumer == bindparam("new_consumer")
    waiting = exists().where(consumer, failed.aggregate == bindparam("aggregate"), failed.state == "waiting")
    if again:
        return waiting.where(failed.id < bindparam("number"))
    return waiting | exists().where(consumer, failed.event_id == bindparam("new_event_id"))


def _is_unavailable(error: Exception) -> bool:
    """Return whether the database is unavailable. A TimeoutError means that a handler took too long."""
    return is_unavailable(error) and not isinstance(error, TimeoutError)


def _error_text(error: ValidationError) -> str:
    """Return the validation errors of an event's fields, without their values."""
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:10])
