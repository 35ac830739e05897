"""The events of a payment: those of an order and those of a booking have types of their own."""

from typing import Any

from portico.contracts.orders import OrderId
from portico.contracts.payments import (
    BookingPaymentFailed,
    BookingPaymentProcessed,
    BookingPaymentRefunded,
    PaymentFailed,
    PaymentProcessed,
    PaymentRefunded,
)
from portico.services.payments.models import Payment, Refund


def processed(payment: Payment) -> PaymentProcessed | BookingPaymentProcessed:
    """Return the event for a charge that succeeded."""
    state = {**_common(payment), "amount_minor": payment.amount_minor}
    if payment.booking_id is not None:
        return BookingPaymentProcessed(booking_id=payment.booking_id, **state)
    return PaymentProcessed(order_id=OrderId(payment.reference), **state)


def failed(payment: Payment, reason: str) -> PaymentFailed | BookingPaymentFailed:
    """Return the event for a charge that was refused."""
    state = {**_common(payment), "amount_minor": payment.amount_minor, "reason": reason}
    if payment.booking_id is not None:
        return BookingPaymentFailed(booking_id=payment.booking_id, **state)
    return PaymentFailed(order_id=OrderId(payment.reference), **state)


def refunded(payment: Payment, refund: Refund) -> PaymentRefunded | BookingPaymentRefunded:
    """Return the event for a refund that succeeded."""
    state = {
        **_common(payment),
        "refund_id": refund.refund_id,
        "amount_minor": refund.amount_minor,
        "refunded_minor": payment.refunded_minor,
    }
    if payment.booking_id is not None:
        return BookingPaymentRefunded(booking_id=payment.booking_id, **state)
    return PaymentRefunded(order_id=OrderId(payment.reference), **state)


def _common(payment: Payment) -> dict[str, Any]:
    return {"payment_id": payment.payment_id, "user_id": payment.user_id, "currency": payment.currency}
