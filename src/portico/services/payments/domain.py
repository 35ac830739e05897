from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Final

from portico.contracts.bookings import BookingId
from portico.contracts.orders import OrderId
from portico.kit import Money, UserId
from portico.kit.foundation import Backoff

Reference = OrderId | BookingId
"""What is paid: an order or a booking."""

_SETTLEMENT_BACKOFF: Final = Backoff(base=1.0, limit=300.0, jitter=0.0)
MAX_REFUND_WAIT: Final = timedelta(days=1)
"""Maximum time between two refunds of a payment, the earlier of which failed."""
_REFUND_BACKOFF: Final = Backoff(base=60.0, limit=MAX_REFUND_WAIT.total_seconds(), jitter=0.0)


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """A request to charge a user for an order or a booking. `method` is the provider's name for the payment method."""

    reference: Reference
    user_id: UserId
    amount: Money
    method: str


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """A request to refund a payment.

    Args:
        requested_by: the subject of the caller.
        amount: in the payment's currency; None for the whole remainder.
        currency: must be the payment's currency if given.
        key: the idempotency key; without one, each request is a refund of its own.
        reason: free text.
    """

    requested_by: str
    amount: Decimal | None = None
    currency: str | None = None
    key: str | None = None
    reason: str | None = None

    def minor_in(self, currency: str) -> int | None:
        """Return the requested amount in minor units, or None for the whole remainder. Raises TooPrecise."""
        return None if self.amount is None else Money.of(self.amount, currency).minor


def settlement_delay(attempts: int) -> timedelta:
    """Return how long to wait before the provider is asked again after `attempts` requests without an outcome."""
    return timedelta(seconds=_SETTLEMENT_BACKOFF.delay(attempts + 1))


def refund_retry_delay(failures: int) -> timedelta:
    """Return how long to wait before another refund after `failures` failed ones. An operator may have to act first."""
    return timedelta(seconds=_REFUND_BACKOFF.delay(failures))
