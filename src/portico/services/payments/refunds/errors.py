from portico.contracts.payments import PaymentId, PaymentStatus, RefundId
from portico.kit.foundation.problems import Conflict, Unprocessable


class RefundExceedsCharge(Conflict):
    """All refunds of a payment add up to at most its charge."""

    code = "refund_exceeds_charge"
    detail = "Of this payment at most {left} {currency} is left to be given back."

    payment_id: PaymentId
    left: float
    currency: str


class NotRefundable(Conflict):
    code = "not_refundable"
    detail = "Nothing can be given back of a payment that is {state}."

    payment_id: PaymentId
    state: PaymentStatus


class RefundKeyReused(Unprocessable):
    code = "refund_key_reused"
    detail = (
        "This key stands for another refund of this payment, {refund_id}, with another amount, or none, or another reason. "
        "Use a new key for a new refund."
    )
    location = ("body", "key")

    refund_id: RefundId


class OtherCurrency(Unprocessable):
    code = "other_currency"
    detail = "The payment was made in {currency}, and is given back in it."
    location = ("body", "currency")

    currency: str
