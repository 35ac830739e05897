"""Messaging of one process: declares queues and runs the relays and consumers of its services."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping
from time import monotonic
from typing import Any

from portico.kit.data.failures import is_unavailable
from portico.kit.foundation.aio import wait_for_event
from portico.kit.foundation.backoff import Backoff
from portico.kit.messaging.brokers.base import Broker, BrokerUnavailable
from portico.kit.messaging.context import MessagingContext
from portico.kit.messaging.inbox import Inbox
from portico.kit.messaging.relay import Relay
from portico.kit.messaging.retry_queue import CHANGE_SUBJECT, RetryQueue
from portico.kit.telemetry.logs import LastFailure, get_logger

logger = get_logger(__name__)

_BROKER_BACKOFF = Backoff(base=0.1, limit=5.0)
_POLL = Backoff(base=0.5, limit=5.0, jitter=0.2)  # for events that another process has queued
_COUNT_INTERVAL = 15.0  # seconds between two counts of failed events


class MessagingRuntime:
    """Runs the relays and consumers of the services in this process.

    No event is published before the queues of every service of the system are declared. The broker would drop an event
    without a queue, and a service that starts later would miss it.

    Args:
        queues: the event types that each consuming service of the system handles, by service.
        broker: carries the events.
        services: the services in this process.
    """

    def __init__(
        self, queues: Mapping[str, Collection[str]], broker: Broker, services: Iterable[MessagingContext]
    ) -> None:
        self._queues = queues
        self._broker = broker
        self._services = list(services)
        self._declared = asyncio.Event()

    def work(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return the background work by name, and register its metrics."""
        found: dict[str, Coroutine[Any, Any, None]] = {"queues": self._declare()}
        for context in self._services:
            if context.publishes:
                relay = Relay(context, self._broker)
                measure_relay(context, relay)
                found[f"relay of {context.name}"] = self._after_declaration(relay.run)
            if context.consumers:
                inbox = Inbox(context)
                measure_inbox(context, inbox)
                found[f"consumers of {context.name}"] = self._after_declaration(
                    functools.partial(self._consume, context, inbox)
                )
                found[f"retry queue of {context.name}"] = run_retries(context, inbox)
            elif context.publishes:
                retry_queue = RetryQueue(context)
                measure_retry_queue(context, retry_queue)
                found[f"dead letters of {context.name}"] = count_dead(context, retry_queue)
        return found

    async def _after_declaration(self, work: Callable[[], Awaitable[None]]) -> None:
        await self._declared.wait()
        await work()

    async def _declare(self) -> None:
        failures = 0
        while not self._declared.is_set():
            try:
                for service, types in self._queues.items():
                    await self._broker.declare(service, types)
                self._declared.set()
            except BrokerUnavailable as error:
                if not failures:
                    logger.warning("broker_unavailable", error=str(error))
                failures += 1
                await asyncio.sleep(_BROKER_BACKOFF.delay(failures))

    async def _consume(self, context: MessagingContext, inbox: Inbox) -> None:
        await self._broker.consume(context.name, inbox.deliver, concurrency=context.settings.event_concurrency)


async def run_retries(context: MessagingContext, inbox: Inbox) -> None:
    """Retry failed events as they become due, until cancelled."""
    queue, idle, counted_at, failure = inbox.retry_queue, 0, float("-inf"), LastFailure()
    with context.change_notifier.follow(CHANGE_SUBJECT) as changed:
        while True:
            changed.clear()
            delay = _POLL.delay(idle)
            try:
                if (remaining := await queue.seconds_until_due()) is not None:
                    delay = min(delay, remaining)
                if delay <= 0:
                    await retry_due(inbox)
                if monotonic() - counted_at >= _COUNT_INTERVAL:
                    counted_at = monotonic()
                    await queue.count()
            except Exception as error:
                if not is_unavailable(error):
                    if failure.is_new(error):
                        logger.exception("retry_queue_failed", service=context.name)
                    else:
                        logger.warning("retry_queue_failed", service=context.name, error=repr(error))
                delay = _POLL.base
            else:
                failure.clear()
            if delay > 0:
                is_woken = await wait_for_event(changed, delay)
                idle = 0 if is_woken else idle + 1


async def count_dead(context: MessagingContext, retry_queue: RetryQueue) -> None:
    """Count the dead letters of a service that publishes but consumes nothing, until cancelled."""
    while True:
        try:
            await retry_queue.count()
        except Exception as error:
            if not is_unavailable(error):
                logger.exception("dead_letters_not_counted", service=context.name)
        await asyncio.sleep(_COUNT_INTERVAL)


async def retry_due(inbox: Inbox) -> int:
    """Retry each due event once. Return how many there were."""
    due = await inbox.retry_queue.due()
    for failed in due:
        await inbox.retry(failed)
    return len(due)


def measure_relay(context: MessagingContext, relay: Relay) -> None:
    """Register the metrics of a service's relay."""
    context.metrics.counter("portico_events_published", "Events published", lambda: relay.published)
    context.metrics.gauge(
        "portico_outbox_lag_seconds", "Age (seconds) of the oldest event in the outbox", lambda: relay.lag
    )


def measure_inbox(context: MessagingContext, inbox: Inbox) -> None:
    """Register the metrics of a service's consumers."""
    counted = context.metrics.counter
    counted("portico_events_handled", "Events handled", lambda: dict(inbox.handled), label="consumer")
    measure_retry_queue(context, inbox.retry_queue)


def measure_retry_queue(context: MessagingContext, retry_queue: RetryQueue) -> None:
    """Register the metrics of a service's retry queue."""
    metrics = context.metrics
    metrics.gauge("portico_events_waiting", "Events waiting for a retry", lambda: retry_queue.waiting)
    metrics.gauge(
        "portico_events_unroutable",
        "Events waiting for a consumer that this process does not have",
        lambda: retry_queue.unroutable,
    )
    metrics.gauge("portico_dead_letters", "Dead letters", lambda: retry_queue.dead)
