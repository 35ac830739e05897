from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from portico.contracts.orders import OrderId
from portico.kit.auth import UserId
from portico.kit.foundation.money import Money

_FIRST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 300.0
_FIRST_REST: Final = 60.0
_LONGEST_REST: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Charge:
    """What is to be charged to whom, and for what. `method` is the provider's word."""

    order_id: OrderId
    user_id: UserId
    amount: Money
    method: str


def next_wait(attempts: int) -> timedelta:
    """How long to wait before the provider is asked again that did not answer `attempts` times."""
    return timedelta(seconds=min(_FIRST_WAIT * 2 ** min(attempts, 10), _LONGEST_WAIT))


def rest_after(refusals: int) -> timedelta:
    """How long a refund rests that the provider has refused so often: what it refused may need somebody's hand."""
    return timedelta(seconds=min(_FIRST_REST * 2 ** min(refusals - 1, 20), _LONGEST_REST))
