from typing import Annotated

from pydantic import Field, StringConstraints

from portico.contracts.orders import OrderId
from portico.contracts.payments import PaymentId, PaymentStatus
from portico.kit.auth import UserId
from portico.kit.foundation.money import Amount, CurrencyCode
from portico.kit.http import Moment, Schema
from portico.services.payments.payments.models import KEY_LENGTH, METHOD_LENGTH

KEY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._~:/\-]*$"

Key = Annotated[str, StringConstraints(min_length=1, max_length=KEY_LENGTH, pattern=KEY_PATTERN)]
"""What makes a charge happen once: letters, digits and `-._~:/`."""

Sum = Annotated[Amount, Field(gt=0)]
"""More than nothing."""


class PaymentCreate(Schema):
    """What is to be charged. `key` may come as the header Idempotency-Key instead; where both do, it is `key`."""

    key: Key | None = None
    order_id: OrderId
    user_id: UserId
    amount: Sum
    currency: CurrencyCode
    method: Annotated[str, StringConstraints(min_length=1, max_length=METHOD_LENGTH, pattern="^[!-~]+$")] = Field(
        description="The provider's word for what to charge", examples=["pm_ok"]
    )


class PaymentRead(Schema):
    """A payment. `refunded` is what was given back so far."""

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
