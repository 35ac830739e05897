from portico.contracts.payments import PaymentId, PaymentStatus, RefundId
from portico.kit import BadRequest, Conflict, NotFound, Unauthorized, Unprocessable


class PaymentNotFound(NotFound):
    detail = "Payment '{payment_id}' does not exist."

    payment_id: PaymentId


class Voided(Conflict):
    """The idempotency key was voided, so no charge is possible with it."""

    detail = "The key '{key}' was voided and cannot be used for a charge. Use a new key for a new charge."

    key: str


class PaymentKeyMissing(Unprocessable):
    detail = "The charge has no idempotency key. Send it as 'key' or in the header Idempotency-Key."
    location = ("body", "key")


class PaymentKeyReused(Unprocessable):
    detail = "The key '{key}' belongs to another charge, payment '{payment_id}'. Use a new key for a new charge."
    location = ("body", "key")

    key: str
    payment_id: PaymentId


class ChargeInFlight(Conflict):
    """The outcome of the charge is unknown."""

    detail = "The outcome of the charge is not known yet. Retry in 1 second."

    payment_id: PaymentId

    @property
    def headers(self) -> dict[str, str]:
        return {"retry-after": "1"}


class VoidUnfinished(Conflict):
    """The provider refused to refund the charge of a voided payment."""

    detail = "The charge of payment '{payment_id}' could not be refunded: {reason}. Retry later, or refund it at the provider."

    payment_id: PaymentId
    reason: str

    @property
    def headers(self) -> dict[str, str]:
        return {"retry-after": "60"}


class NotRefundable(Conflict):
    detail = "A payment in status '{state}' cannot be refunded."

    payment_id: PaymentId
    state: PaymentStatus


class RefundExceedsCharge(Conflict):
    """The refunds of a payment add up to at most its charge."""

    detail = "At most {left} {currency} of this payment can still be refunded."

    payment_id: PaymentId
    left: float
    currency: str


class RefundKeyReused(Unprocessable):
    detail = (
        "This key belongs to another refund of this payment, '{refund_id}', with a different amount or reason. "
        "Use a new key for a new refund."
    )
    location = ("body", "key")

    refund_id: RefundId


class OtherCurrency(Unprocessable):
    detail = "The payment is in {currency} and can only be refunded in {currency}."
    location = ("body", "currency")

    currency: str


class ProviderUnknown(NotFound):
    detail = "Unknown payment provider '{provider}'."

    provider: str


class SignatureInvalid(Unauthorized):
    """The webhook was not signed by the provider, or was changed after it was signed."""

    detail = "The webhook's signature is missing or does not match its body: {reason}."

    reason: str

    @property
    def headers(self) -> dict[str, str]:
        return {"www-authenticate": "Webhook-Signature"}


class SignatureOld(BadRequest):
    """The signature is valid but its time is too far from now: the request may be a replay."""

    detail = "The webhook was signed {reason}. Send it again with a current signature."
