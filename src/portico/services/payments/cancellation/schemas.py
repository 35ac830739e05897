from typing import Literal, Self

from portico.contracts.payments import PaymentId
from portico.kit.foundation.money import Amount
from portico.kit.http import Schema
from portico.services.payments.cancellation.commands import Void


class VoidRead(Schema):
    """A key by which nothing is charged, what it had been used for, and what was given back of that so far."""

    key: str
    status: Literal["voided"] = "voided"
    payment_id: PaymentId | None = None
    refunded: Amount | None = None
    currency: str | None = None

    @classmethod
    def of_void(cls, void: Void) -> Self:
        if void.payment is None:
            return cls(key=void.key)
        return cls.of({"key": void.key, **{name: getattr(void.payment, name) for name in _OF_THE_PAYMENT}})


_OF_THE_PAYMENT = ("payment_id", "refunded", "currency")
