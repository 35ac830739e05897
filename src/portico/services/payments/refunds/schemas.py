from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from portico.contracts.payments import PaymentId, RefundId, RefundStatus
from portico.kit.foundation.money import Amount, CurrencyCode
from portico.kit.http import Moment, Schema, Text
from portico.services.payments.refunds.models import KEY_LENGTH

RefundKey = Annotated[str, StringConstraints(min_length=1, max_length=KEY_LENGTH, pattern="^[!-~]+$")]
"""What makes a refund happen once."""


class RefundCreate(Schema):
    """What is to be given back: `amount` of the payment's currency, or all that is left.

    `key` may come as the header Idempotency-Key instead; where both do, it is `key`. Without either, each request is a
    refund of its own.
    """

    key: RefundKey | None = None
    amount: Annotated[Amount, Field(gt=0)] | None = None
    currency: CurrencyCode | None = Field(None, description="The payment's own; said, it is checked")
    reason: Text | None = None

    @model_validator(mode="after")
    def _says_of_what(self) -> Self:
        if self.amount is None and self.currency is not None:
            raise ValueError("a currency goes with an amount")
        return self


class RefundRead(Schema):
    """A refund. One that is `processing` is on its way."""

    refund_id: RefundId
    payment_id: PaymentId
    status: RefundStatus
    amount: Amount
    currency: str
    reason: str | None
    failure_reason: str | None
    requested_by: str
    created_at: Moment
    updated_at: Moment
