"""The client and the events of payments: charge, void, refund."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import quote

from portico.contracts.bookings import BookingId
from portico.contracts.orders import OrderId
from portico.kit import Client, Event, Identifier, Money, Summary, UserId
from portico.kit.foundation import json_number

PaymentStatus = Literal["processing", "succeeded", "failed", "voided"]
RefundStatus = Literal["processing", "succeeded", "failed"]

_MAX_PER_ORDER = 100


class PaymentId(Identifier, prefix="pay"):
    """Id of a payment: one charge and its refunds."""


class RefundId(Identifier, prefix="rfnd"):
    """Id of a refund of a payment, in part or in full."""


class PaymentProcessed(Event, type="payment.processed", version=1, aggregate="payment_id"):
    """A charge succeeded. Amounts are minor units of `currency`."""

    payment_id: PaymentId
    order_id: OrderId
    user_id: UserId
    amount_minor: int
    currency: str


class PaymentFailed(Event, type="payment.failed", version=1, aggregate="payment_id"):
    """A charge was refused and cannot succeed any more. `reason` is the provider's code."""

    payment_id: PaymentId
    order_id: OrderId
    user_id: UserId
    amount_minor: int
    currency: str
    reason: str


class PaymentRefunded(Event, type="payment.refunded", version=1, aggregate="payment_id"):
    """A refund of `amount_minor` succeeded. `refunded_minor` is the sum of all refunds of the payment."""

    payment_id: PaymentId
    refund_id: RefundId
    order_id: OrderId
    user_id: UserId
    amount_minor: int
    refunded_minor: int
    currency: str


class BookingPaymentProcessed(Event, type="booking_payment.processed", version=1, aggregate="payment_id"):
    """A charge for a booking succeeded. Amounts are minor units of `currency`."""

    payment_id: PaymentId
    booking_id: BookingId
    user_id: UserId
    amount_minor: int
    currency: str


class BookingPaymentFailed(Event, type="booking_payment.failed", version=1, aggregate="payment_id"):
    """A charge for a booking was refused and cannot succeed any more. `reason` is the provider's code."""

    payment_id: PaymentId
    booking_id: BookingId
    user_id: UserId
    amount_minor: int
    currency: str
    reason: str


class BookingPaymentRefunded(Event, type="booking_payment.refunded", version=1, aggregate="payment_id"):
    """A refund of `amount_minor` for a booking succeeded. `refunded_minor` is the sum of all refunds of the payment."""

    payment_id: PaymentId
    refund_id: RefundId
    booking_id: BookingId
    user_id: UserId
    amount_minor: int
    refunded_minor: int
    currency: str


class PaymentSummary(Summary):
    """A payment of an order or a booking as other services see it. Amounts are decimal amounts in `currency`.

    `processing` means that the outcome is unknown; callers must not draw conclusions from it.
    """

    payment_id: PaymentId
    order_id: OrderId | None = None
    booking_id: BookingId | None = None
    user_id: UserId
    status: PaymentStatus
    amount: Decimal
    refunded: Decimal
    currency: str
    method: str
    failure_reason: str | None
    created_at: datetime


class RefundSummary(Summary):
    """A refund as other services see it. Payments settles one in status `processing` by itself."""

    refund_id: RefundId
    payment_id: PaymentId
    status: RefundStatus
    amount: Decimal
    currency: str
    failure_reason: str | None


class VoidSummary(Summary):
    """A voided key, with the payment that had used it (if any) and its refunded amount."""

    key: str
    status: Literal["voided"]
    payment_id: PaymentId | None
    refunded: Decimal | None
    currency: str | None


class PaymentsClient(Client, service="payments"):
    """Charge, void and refund. For services only."""

    async def charge(
        self,
        *,
        key: str,
        user_id: UserId,
        amount: Money,
        method: str,
        order_id: OrderId | None = None,
        booking_id: BookingId | None = None,
    ) -> PaymentSummary:
        """Charge `amount` once per `key`; a repeat returns the payment's current state.

        If the payment has status `processing`, a repeat makes payments query the provider. A refused charge is not an
        error: its status is `failed`.

        Args:
            key: the idempotency key, 1 to 200 letters, digits and `-._~:/`; `void` takes the same key.
            user_id: the user who pays.
            amount: greater than zero.
            method: the provider's name for the payment method (`pm_ok` at the simulated one).
            order_id: the order that is paid; give either an order or a booking.
            booking_id: the booking that is paid.

        Raises:
            Refused: 409 `voided` if the key was voided; 422 `payment_key_reused` if the key belongs to another charge.
        """
        purchase = {"order_id": order_id} if booking_id is None else {"booking_id": booking_id}
        body = {**_amount(amount), "key": key, **purchase, "user_id": user_id, "method": method}
        return await self.post("/payments", json=body, key=key, answer=PaymentSummary, batch="/payments/batch")

    async def void(self, key: str) -> VoidSummary:
        """Cancel the charge of `key`, whether it was made, is in progress or was not requested yet.

        When this returns, a charge that was made is refunded or being refunded, and a later charge is rejected.

        Raises:
            Refused: 409 `charge_in_flight` if the outcome of the charge is unknown; retry after `retry_after` seconds.
        """
        return await self.put(f"/payments/voids/{quote(key, safe='')}", answer=VoidSummary)

    async def refund(self, payment_id: PaymentId, *, key: str, amount: Money | None = None) -> RefundSummary:
        """Refund `amount`, or the whole remainder, once per `key`.

        Raises:
            Refused: 409 `refund_exceeds_charge` if less than that is left; 409 `not_refundable` if nothing was charged.
        """
        body = {"key": key, **(_amount(amount) if amount else {})}
        return await self.post(f"/payments/{payment_id}/refunds", json=body, key=key, answer=RefundSummary)

    async def payment(self, payment_id: PaymentId) -> PaymentSummary:
        """Return the payment. Raises Refused with status 404 if it does not exist."""
        return await self.get(f"/payments/{payment_id}", answer=PaymentSummary)

    async def of_order(self, order_id: OrderId) -> list[PaymentSummary]:
        """Return the payments of an order, newest first, at most a hundred."""
        params = {"order_id": order_id, "limit": _MAX_PER_ORDER}
        return await self.get("/payments", params=params, answer=list[PaymentSummary])

    async def of_booking(self, booking_id: BookingId) -> list[PaymentSummary]:
        """Return the payments of a booking, newest first, at most a hundred."""
        return await self.get(f"/payments/bookings/{booking_id}", answer=list[PaymentSummary])


def _amount(amount: Money) -> dict[str, Any]:
    return {"amount": json_number(amount.minor, amount.currency), "currency": amount.currency}
