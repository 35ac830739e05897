from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from portico.contracts.orders import OrderId
from portico.contracts.payments import PaymentId, PaymentStatus, RefundId, RefundStatus
from portico.kit import Amount, CurrencyCode, Moment, Schema, Text, UserId
from portico.services.payments.models import KEY_LENGTH, METHOD_LENGTH

KEY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._~:/\-]*$"

Key = Annotated[str, StringConstraints(min_length=1, max_length=KEY_LENGTH, pattern=KEY_PATTERN)]
"""Idempotency key of a charge: letters, digits and `-._~:/`."""

RefundKey = Annotated[str, StringConstraints(min_length=1, max_length=KEY_LENGTH, pattern="^[!-~]+$")]
"""Idempotency key of a refund."""

PositiveAmount = Annotated[Amount, Field(gt=0)]


class PaymentCreate(Schema):
    """A charge. `key` may be sent in the header Idempotency-Key instead; `key` takes precedence."""

    key: Key | None = None
    order_id: OrderId
    user_id: UserId
    amount: PositiveAmount
    currency: CurrencyCode
    method: Annotated[str, StringConstraints(min_length=1, max_length=METHOD_LENGTH, pattern="^[!-~]+$")] = Field(
        description="The provider's name for the payment method", examples=["pm_ok"]
    )


class PaymentRead(Schema):
    """A payment. `refunded` is the sum of its completed refunds."""

    payment_id: PaymentId
    order_id: OrderId
    user_id: UserId
    status: PaymentStatus
    amount: Amount
    refunded: Amount
    currency: str
    method: str
    failure_reason: str | None
    created_at: Moment
    updated_at: Moment


class VoidRead(Schema):
    """A voided key, the payment that had used it, and the sum of that payment's completed refunds."""

    key: str
    status: Literal["voided"] = "voided"
    payment_id: PaymentId | None = None
    refunded: Amount | None = None
    currency: str | None = None


class RefundCreate(Schema):
    """A refund of `amount` in the payment's currency, or of the whole remainder.

    `key` may be sent in the header Idempotency-Key instead; `key` takes precedence. Without a key, each request is a
    refund of its own.
    """

    key: RefundKey | None = None
    amount: PositiveAmount | None = None
    currency: CurrencyCode | None = Field(None, description="Must be the payment's currency if given")
    reason: Text | None = None

    @model_validator(mode="after")
    def _currency_needs_amount(self) -> Self:
        if self.amount is None and self.currency is not None:
            raise ValueError("'currency' requires 'amount'")
        return self


class RefundRead(Schema):
    """A refund. The outcome of one in status `processing` is unknown."""

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


class WebhookAnswer(Schema):
    """What was done with a webhook: `repeated` was handled before, `ignored` concerns no payment or refund known here."""

    event_id: str
    outcome: Literal["handled", "repeated", "ignored"]
