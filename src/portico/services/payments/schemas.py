from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints, model_validator

from portico.contracts.bookings import BookingId
from portico.contracts.orders import OrderId
from portico.contracts.payments import PaymentId, PaymentStatus, RefundId, RefundStatus
from portico.kit import Amount, CurrencyCode, Line, Moment, Money, Schema, UserId
from portico.kit.foundation import EXPONENTS
from portico.services.payments.domain import Reference
from portico.services.payments.ledger.domain import Mismatch, MismatchKind, Neighbour, Report
from portico.services.payments.models import KEY_LENGTH, METHOD_LENGTH

KEY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._~:/\-]*$"

Key = Annotated[str, StringConstraints(min_length=1, max_length=KEY_LENGTH, pattern=KEY_PATTERN)]
"""Idempotency key of a charge: letters, digits and `-._~:/`."""

RefundKey = Annotated[str, StringConstraints(min_length=1, max_length=KEY_LENGTH, pattern="^[!-~]+$")]
"""Idempotency key of a refund."""

PositiveAmount = Annotated[Amount, Field(gt=0)]

SignedAmount = Annotated[Decimal, PlainSerializer(float, return_type=float, when_used="json")]
"""An amount that may be negative, as a JSON number."""


def _is_none(value: object) -> bool:
    return value is None


class PaymentCreate(Schema):
    """A charge of an order or of a booking. `key` may be sent in the header Idempotency-Key; `key` takes precedence."""

    key: Key | None = None
    order_id: OrderId | None = None
    booking_id: BookingId | None = None
    user_id: UserId
    amount: PositiveAmount
    currency: CurrencyCode
    method: Annotated[str, StringConstraints(min_length=1, max_length=METHOD_LENGTH, pattern="^[!-~]+$")] = Field(
        description="The provider's name for the payment method", examples=["pm_ok"]
    )

    @model_validator(mode="after")
    def _pays_one_purchase(self) -> Self:
        if (self.order_id is None) == (self.booking_id is None):
            raise ValueError("send either 'order_id' or 'booking_id'")
        return self

    @property
    def reference(self) -> Reference:
        return self.booking_id or OrderId(self.order_id or "")


class PaymentRead(Schema):
    """A payment. `refunded` is the sum of its completed refunds. It has an `order_id` or a `booking_id`."""

    payment_id: PaymentId
    order_id: OrderId | None = Field(exclude_if=_is_none)
    booking_id: BookingId | None = Field(exclude_if=_is_none)
    user_id: UserId
    status: PaymentStatus
    amount: Amount = Field(examples=[99.8])
    refunded: Amount = Field(examples=[0])
    currency: str = Field(examples=["USD"])
    method: str = Field(examples=["pm_ok"])
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
    amount: PositiveAmount | None = Field(None, examples=[49.9])
    currency: CurrencyCode | None = Field(None, description="Must be the payment's currency if given")
    reason: Line | None = Field(None, examples=["Arrived broken"])

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
    amount: Amount = Field(examples=[49.9])
    currency: str = Field(examples=["USD"])
    reason: str | None = Field(examples=["Arrived broken"])
    failure_reason: str | None
    requested_by: str = Field(examples=["user_01jd8m2v4x6z8q0s2t4w6y8a0b"])
    created_at: Moment
    updated_at: Moment


class WebhookQuery(BaseModel):
    """The query of a webhook: providers and operators add parameters of their own to its address."""

    model_config = ConfigDict(extra="allow")


class WebhookAnswer(Schema):
    """What was done with a webhook: `repeated` was handled before, `ignored` concerns no payment or refund known here.

    `event_id` is null if the webhook could not be read.
    """

    event_id: str | None = Field(examples=["evt_1"])
    outcome: Literal["handled", "repeated", "ignored"]


class AccountRead(Schema):
    """The balance of a ledger account in one currency."""

    account: str
    currency: str
    balance: SignedAmount


class MismatchRead(Schema):
    """Two records disagree: `expected` according to the first, `found` in the second."""

    kind: MismatchKind
    detail: str
    payment_id: PaymentId | None
    order_id: OrderId | None
    booking_id: BookingId | None = Field(exclude_if=_is_none)
    reference: str | None
    currency: str | None
    expected: SignedAmount
    found: SignedAmount


class Checked(Schema):
    """How many rows this page checked. `orders` and `bookings` are those of the services that the system has."""

    payments: int
    charges: int
    transactions: int
    orders: int | None = Field(None, exclude_if=_is_none)
    bookings: int | None = Field(None, exclude_if=_is_none)


class ReconciliationRead(Schema):
    """One page of the reconciliation. `matches` is true if all rows of this page were checked and agree.

    `skipped` names the systems that could not be asked. `accounts` is on the first page only.
    """

    matches: bool
    checked: Checked
    skipped: list[Neighbour]
    accounts: list[AccountRead] | None
    mismatches: list[MismatchRead]
    next_cursor: str | None

    @classmethod
    def of_report(cls, report: Report) -> Self:
        accounts = report.accounts
        return cls(
            matches=not report.mismatches and not report.skipped,
            checked=Checked(**report.checked),
            skipped=sorted(report.skipped),
            accounts=None
            if accounts is None
            else [
                AccountRead(
                    account=each.account, currency=each.currency, balance=Money(each.minor, each.currency).amount
                )
                for each in accounts
            ],
            mismatches=[_mismatch(each) for each in report.mismatches],
            next_cursor=None if report.next is None else report.next.cursor,
        )


def _mismatch(found: Mismatch) -> MismatchRead:
    return MismatchRead(
        kind=found.kind,
        detail=found.detail,
        payment_id=found.payment_id,
        order_id=found.order_id,
        booking_id=found.booking_id,
        reference=found.reference,
        currency=found.currency,
        expected=_amount(found.expected, found.currency),
        found=_amount(found.found, found.currency),
    )


def _amount(minor: int, currency: str | None) -> Decimal:
    """Return a decimal amount; in an unknown currency, the number of minor units that the provider reported."""
    return Money(minor, currency).amount if currency in EXPONENTS else Decimal(minor)
