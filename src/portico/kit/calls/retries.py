"""Retries of calls."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from portico.kit.calls.channel import IDEMPOTENT, Channel, Incoming, Outgoing
from portico.kit.calls.errors import BreakerOpen, CallFailed, ConnectionLost, Saturated, Unreachable
from portico.kit.foundation.backoff import Backoff

_UNAVAILABLE: Final = frozenset({502, 503, 504})
_RETRY_LATER: Final = frozenset({409, 429})  # with Retry-After; 409: the idempotency key is in flight


def retry_after(answer: Incoming) -> float | None:
    """Return the seconds of the response's `Retry-After`, or None. Services do not send dates in this header."""
    value = answer.header(b"retry-after") or b""
    return float(value) if value.isdigit() else None


class RetryBudget:
    """A token bucket that calls fill and retries drain.

    Without it, an overloaded service would receive each call several times. With it, retries add at most `ratio` to the
    load.

    Args:
        ratio: number of retries that each call adds to the budget, above 0 and at most 1.
        burst: maximum number of retries in the budget; the bucket starts full.
    """

    __slots__ = ("_capacity", "_price", "_tokens")

    def __init__(self, ratio: float = 0.2, burst: int = 10) -> None:
        self._price = math.ceil(1 / ratio)  # in calls; integers do not drift
        self._capacity = self._tokens = burst * self._price

    def record_call(self) -> None:
        """Record a first attempt."""
        if self._tokens < self._capacity:
            self._tokens += 1

    def spend(self) -> bool:
        """Take one retry from the budget. Return whether there was one."""
        if self._tokens < self._price:
            return False
        self._tokens -= self._price
        return True


class RetryingChannel:
    """A channel that retries over another one, within the call's time limit and a budget per service.

    A request that was never sent is always retried. One that may have taken effect is retried only if it is
    `repeatable`. Delays are random between zero and a limit that doubles (full jitter), so that failed callers do not
    retry at the same time. A `Retry-After` is added; if it exceeds `max_wait`, there is no retry. An open breaker and a
    full channel are not retried, because retries would defeat their purpose. The response to a later attempt is
    `in_doubt` if an earlier attempt was sent and may still take effect.

    Args:
        channel: sends each attempt.
        attempts: maximum number of attempts, including the first.
        first_wait: maximum delay (seconds) before the second attempt.
        max_wait: maximum (seconds) of any delay.
        new_budget: creates the budget of a service.
        draw: returns a random number from 0 to 1.
        sleep: waits for a number of seconds.
        monotonic: the clock, in seconds; by default the event loop's.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        attempts: int = 3,
        first_wait: float = 0.05,
        max_wait: float = 2.0,
        new_budget: Callable[[], RetryBudget] = RetryBudget,
        draw: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        self._channel = channel
        self._attempts = attempts
        self._max_wait = max_wait
        self._new_budget = new_budget
        self._backoff = Backoff(base=first_wait, limit=max_wait, jitter=1.0, draw=draw)
        self._sleep = sleep
        self._monotonic = monotonic
        self._budgets: dict[str, RetryBudget] = {}
        self.retries = 0

    async def send(self, out: Outgoing) -> Incoming:
        """Send until a response is final or no retry is allowed. Raises CallFailed, see `Channel`."""
        now = self._monotonic or asyncio.get_running_loop().time
        until = now() + out.timeout
        budget = self._budget(out.service)
        budget.record_call()
        attempt, in_doubt = 1, False
        outcome = await self._attempt(out)
        while (wait := self._wait(out, attempt, outcome)) is not None:
            if until - now() <= wait or not budget.spend():
                break
            self.retries += 1
            attempt += 1
            await self._sleep(wait)
            if (left := until - now()) <= 0:
                break
            in_doubt |= not isinstance(outcome, Unreachable)
            outcome = await self._attempt(replace(out, timeout=left))
        if isinstance(outcome, CallFailed):
            raise outcome
        outcome.in_doubt |= in_doubt
        return outcome

    async def _attempt(self, out: Outgoing) -> Incoming | CallFailed:
        try:
            return await self._channel.send(out)
        except CallFailed as failure:
            return failure

    def _wait(self, out: Outgoing, attempt: int, outcome: Incoming | CallFailed) -> float | None:
        """Return the seconds before the next attempt; None if there is none."""
        if attempt >= self._attempts or not _may_repeat(out, outcome):
            return None
        requested = retry_after(outcome) if isinstance(outcome, Incoming) else outcome.retry_after
        if requested is not None and requested > self._max_wait:
            return None
        return (requested or 0.0) + self._backoff.delay(attempt)

    def _budget(self, service: str) -> RetryBudget:
        budget = self._budgets.get(service)
        if budget is None:
            budget = self._budgets[service] = self._new_budget()
        return budget


def _may_repeat(out: Outgoing, outcome: Incoming | CallFailed) -> bool:
    repeatable = out.repeatable or out.method in IDEMPOTENT
    match outcome:
        case BreakerOpen() | Saturated():
            return False
        case Unreachable():
            return True
        case ConnectionLost():
            return repeatable
        case Incoming():
            later = outcome.status in _RETRY_LATER and retry_after(outcome) is not None
            return repeatable and (outcome.status in _UNAVAILABLE or later)
        case _:
            return False
