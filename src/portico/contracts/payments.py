"""What other services may know of payments: how to charge, void and refund, and what is told of it."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import quote

from portico.contracts.orders import OrderId
from portico.kit import Client, Event, Identifier, Money, Summary, UserId
from portico.kit.foundation import json_number

PaymentStatus = Literal["processing", "succeeded", "failed", "voided"]
RefundStatus = Literal["processing", "succeeded", "failed"]

_MOST_OF_AN_ORDER = 100


class PaymentId(Identifier, prefix="pay"):
    """A payment: one charge, with what was given back of it."""


class RefundId(Identifier, prefix="rfnd"):
    """A refund of a payment, or of a part of it."""


class PaymentProcessed(Event, type="payment.processed", version=1, aggregate="payment_id"):
    """A charge has succeeded: the money is there. Amounts are whole minor units of `currency`."""

    payment_id: PaymentId
    order_id: OrderId
    user_id: UserId
    amount_minor: int
    currency: str


class PaymentFailed(Event, type="payment.failed", version=1, aggregate="payment_id"):
    """A charge was refused, and will not succeed any more. `reason` is the provider's word for why."""

    payment_id: PaymentId
    order_id: OrderId
    user_id: UserId
    amount_minor: int
    currency: str
    reason: str


class PaymentRefunded(Event, type="payment.refunded", version=1, aggregate="payment_id"):
    """Money was given back: `amount_minor` now, `refunded_minor` of this payment in all."""

    payment_id: PaymentId
    refund_id: RefundId
    order_id: OrderId
    user_id: UserId
    amount_minor: int
    refunded_minor: int
    currency: str


class PaymentSummary(Summary):
    """A payment as other services see it. `amount` and `refunded` are numbers of `currency`.

    `processing` says that the outcome is not known yet: nothing may be concluded from it.
    """

    payment_id: PaymentId
    order_id: OrderId
    user_id: UserId
    status: PaymentStatus
    amount: Decimal
    refunded: Decimal
    currency: str
    method: str
    failure_reason: str | None
    created_at: datetime


class RefundSummary(Summary):
    """A refund as other services see it. One that is `processing` is on its way, and will be asked after."""

    refund_id: RefundId
    payment_id: PaymentId
    status: RefundStatus
    amount: Decimal
    currency: str
    failure_reason: str | None


class VoidSummary(Summary):
    """A key that nothing is charged by: `payment_id` where something had been, `refunded` what was given back of it."""

    key: str
    status: Literal["voided"]
    payment_id: PaymentId | None
    refunded: Decimal | None
    currency: str | None


class PaymentsClient(Client, service="payments"):
    """Charges, voids and refunds. For services only."""

    async def charge(
        self, *, key: str, order_id: OrderId, user_id: UserId, amount: Money, method: str
    ) -> PaymentSummary:
        """Charge `amount`, once for all calls with the same `key`; each call answers how it stands by then.

        Asked again while it is `processing`, payments asks the provider. A charge that was refused is no error: its
        status is `failed`.

        Args:
            key: 1 to 200 letters, digits and `-._~:/`; `void` takes the same.
            order_id: what is paid.
            user_id: who pays.
            amount: more than nothing.
            method: the provider's word for what to charge (`pm_ok` at the simulated one).

        Raises:
            Refused: 409 `voided`, the key was voided; 422 `payment_key_reused`, it stands for another charge.
        """
        body = {**_sum(amount), "key": key, "order_id": order_id, "user_id": user_id, "method": method}
        return await self.post("/payments", json=body, key=key, answer=PaymentSummary)

    async def void(self, key: str) -> VoidSummary:
        """See to it that nothing is or stays charged by `key`, whether or not it was used yet.

        When this returns, whatever was charged is given back or on its way, and a charge by this key is refused.

        Raises:
            Refused: 409 `charge_in_flight`, the outcome of the charge is not known yet; ask again after `retry_after`.
        """
        return await self.put(f"/payments/voids/{quote(key, safe='')}", answer=VoidSummary)

    async def refund(self, payment_id: PaymentId, *, key: str, amount: Money | None = None) -> RefundSummary:
        """Give back `amount`, or all that is left, once for all calls with the same `key`.

        Raises:
            Refused: 409 `refund_exceeds_charge`, not so much is left; 409 `not_refundable`, nothing was charged.
        """
        body = {"key": key, **(_sum(amount) if amount else {})}
        return await self.post(f"/payments/{payment_id}/refunds", json=body, key=key, answer=RefundSummary)

    async def payment(self, payment_id: PaymentId) -> PaymentSummary:
        """The payment. Raises Refused with status 404 where there is none."""
        return await self.get(f"/payments/{payment_id}", answer=PaymentSummary)

    async def of_order(self, order_id: OrderId) -> list[PaymentSummary]:
        """The payments of an order, the newest first, a hundred at most."""
        params = {"order_id": order_id, "limit": _MOST_OF_AN_ORDER}
        return await self.get("/payments", params=params, answer=list[PaymentSummary])


def _sum(amount: Money) -> dict[str, Any]:
    return {"amount": json_number(amount.minor, amount.currency), "currency": amount.currency}
