"""Trying again what may be tried again."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from portico.kit.calls.budget import RetryBudget
from portico.kit.calls.channel import IDEMPOTENT, Channel, Incoming, Outgoing
from portico.kit.calls.errors import BreakerOpen, CallFailed, ConnectionLost, Saturated, Unreachable
from portico.kit.foundation.backoff import Backoff

_DOWN_FOR_NOW: Final = frozenset({502, 503, 504})
_COME_AGAIN: Final = frozenset({409, 429})  # with Retry-After; 409: the same idempotency key is still in flight


def retry_after(answer: Incoming) -> float | None:
    """Seconds of the answer's `Retry-After`; None without one. Services of a system send no dates in it."""
    value = answer.header(b"retry-after") or b""
    return float(value) if value.isdigit() else None


class RetryingChannel:
    """A channel that tries again over another one, within the call's time and a budget for each service.

    What was never sent is tried again whatever it is; what may have taken effect only where it is `repeatable`. Waits
    are drawn between nothing and a limit that doubles (full jitter), so that callers that failed together do not come
    back together; a `Retry-After` is added to that, and given up on where it exceeds `longest_wait`. An open breaker
    and a full channel are final: trying again would be more of what they protect from. An answer to a later attempt is
    `in_doubt` where an earlier one was sent, which may still arrive: a refusal says nothing of that one.

    Args:
        channel: What carries each attempt.
        attempts: How many there may be, the first included.
        first_wait: Limit in seconds of the wait before the second attempt.
        longest_wait: Limit in seconds of any wait.
        new_budget: Makes the budget of a service.
        draw: A number from 0 to 1, at random.
        sleep: Waits for a number of seconds.
        monotonic: The clock, in seconds; the event loop's by default.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        attempts: int = 3,
        first_wait: float = 0.05,
        longest_wait: float = 2.0,
        new_budget: Callable[[], RetryBudget] = RetryBudget,
        draw: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        self._channel = channel
        self._attempts = attempts
        self._longest_wait = longest_wait
        self._new_budget = new_budget
        self._backoff = Backoff(base=first_wait, limit=longest_wait, jitter=1.0, draw=draw)
        self._sleep = sleep
        self._monotonic = monotonic
        self._budgets: dict[str, RetryBudget] = {}
        self.retries = 0

    async def send(self, out: Outgoing) -> Incoming:
        """Send until an answer is final or trying again is not allowed. Raises CallFailed, see `Channel`."""
        now = self._monotonic or asyncio.get_running_loop().time
        until = now() + out.timeout
        budget = self._budget(out.service)
        budget.called()
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
        """Seconds before the next attempt; None where there must be none."""
        if attempt >= self._attempts or not _may_repeat(out, outcome):
            return None
        asked = retry_after(outcome) if isinstance(outcome, Incoming) else outcome.retry_after
        if asked is not None and asked > self._longest_wait:
            return None
        return (asked or 0.0) + self._backoff.delay(attempt)

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
            later = outcome.status in _COME_AGAIN and retry_after(outcome) is not None
            return repeatable and (outcome.status in _DOWN_FOR_NOW or later)
        case _:
            return False
