from portico.contracts.payments import PaymentId
from portico.kit.foundation.problems import Conflict, NotFound, Unprocessable


class PaymentNotFound(NotFound):
    code = "payment_not_found"
    detail = "There is no payment {payment_id}."

    payment_id: PaymentId


class Voided(Conflict):
    """The key was voided: nothing is charged by it any more."""

    code = "voided"
    detail = "The key '{key}' was voided: nothing is charged by it any more. Use a new key for a new charge."

    key: str


class PaymentKeyMissing(Unprocessable):
    code = "payment_key_missing"
    detail = "Say by `key`, or by the header Idempotency-Key, which charge this is, so that it is made once."
    location = ("body", "key")


class PaymentKeyReused(Unprocessable):
    code = "payment_key_reused"
    detail = "The key '{key}' stands for another charge, the payment {payment_id}. Use a new key for a new charge."
    location = ("body", "key")

    key: str
    payment_id: PaymentId


class ChargeInFlight(Conflict):
    """The provider has not said what became of the charge."""

    code = "charge_in_flight"
    detail = "What became of the charge is not known yet. It is voided once that is known; come again in a second."

    payment_id: PaymentId

    @property
    def headers(self) -> dict[str, str]:
        return {"retry-after": "1"}


class VoidUnfinished(Conflict):
    """The provider refused to give the money back."""

    code = "void_unfinished"
    detail = "The charge of {payment_id} can't be given back: {reason}. Come again, or settle it with the provider."

    payment_id: PaymentId
    reason: str

    @property
    def headers(self) -> dict[str, str]:
        return {"retry-after": "60"}
