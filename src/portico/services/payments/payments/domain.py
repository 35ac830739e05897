from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from portico.contracts.orders import OrderId
from portico.kit.auth import UserId
from portico.kit.foundation.backoff import Backoff
from portico.kit.foundation.money import Money

_PROVIDER_BACKOFF: Final = Backoff(base=2.0, limit=300.0, jitter=0.0)
_REFUND_BACKOFF: Final = Backoff(base=60.0, limit=86_400.0, jitter=0.0)


@dataclass(frozen=True, slots=True)
class Charge:
    """What is to be charged to whom, and for what. `method` is the provider's word."""

    order_id: OrderId
    user_id: UserId
    amount: Money
    method: str


def next_wait(attempts: int) -> timedelta:
    """How long to wait before the provider is asked again that did not answer `attempts` times."""
    return timedelta(seconds=_PROVIDER_BACKOFF.delay(attempts))


def rest_after(refusals: int) -> timedelta:
    """How long a refund rests that the provider has refused so often: what it refused may need somebody's hand."""
    return timedelta(seconds=_REFUND_BACKOFF.delay(refusals))
