from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import BigInteger, Index, Integer, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from portico.contracts.bookings import BookingId
from portico.contracts.orders import OrderId
from portico.contracts.payments import PaymentId, PaymentStatus, RefundId, RefundStatus
from portico.kit import Money, TableRules, UserId, identifier, revision
from portico.kit.data import ExactText
from portico.kit.foundation import json_number, seconds_until
from portico.services.payments.domain import (
    PaymentRequest,
    Reference,
    RefundRequest,
    refund_retry_delay,
    settlement_delay,
)
from portico.services.payments.errors import NotRefundable, RefundExceedsCharge

KEY_LENGTH: Final = 200
METHOD_LENGTH: Final = 100
REASON_LENGTH: Final = 255
PROVIDER_LENGTH: Final = 40
EVENT_ID_LENGTH: Final = 255
REPORTED_CURRENCY_LENGTH: Final = 10  # what a provider reports may be no ISO 4217 code

MAX_PAYMENT_WAIT: Final = timedelta(minutes=15)
"""Maximum time until the provider is asked again about a charge: the final check of one that is over."""


class Table(TableRules, DeclarativeBase):
    """Base class of the tables of payments."""


class ReportedAmount:
    """The amount that the provider reported for a charge or a refund, if it is not the amount that was requested.

    Set while the outcome is unknown for that reason.
    """

    reported_minor: Mapped[int | None] = mapped_column(BigInteger)
    reported_currency: Mapped[str | None] = mapped_column(ExactText(REPORTED_CURRENCY_LENGTH))

    @property
    def reported(self) -> Money | None:
        """The amount that the provider reported instead of the requested one."""
        if self.reported_minor is None or self.reported_currency is None:
            return None
        return Money(self.reported_minor, self.reported_currency)

    @reported.setter
    def reported(self, amount: Money | None) -> None:
        self.reported_minor = None if amount is None else amount.minor
        self.reported_currency = None if amount is None else amount.currency


class PaymentKey(Table):
    """The payment of an idempotency key. Without a payment, the key was voided before it was used."""

    __tablename__ = "payment_keys"

    key: Mapped[str] = mapped_column(ExactText(KEY_LENGTH), primary_key=True)
    payment_id: Mapped[PaymentId | None]
    created_at: Mapped[datetime]


class Payment(ReportedAmount, Table):
    """A charge of an order or a booking, and its refunds. The payment's id is the idempotency key at the provider.

    The provider is asked again at `settle_at`; until then an attempt may be under way. `refunding_minor` is the sum of
    the refunds in progress, `refunded_minor` the sum of the completed ones.
    """

    __tablename__ = "payments"

    payment_id: Mapped[PaymentId] = identifier()
    order_id: Mapped[OrderId | None]
    booking_id: Mapped[BookingId | None]
    user_id: Mapped[UserId]
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(ExactText(3))
    method: Mapped[str] = mapped_column(ExactText(METHOD_LENGTH))
    status: Mapped[PaymentStatus] = mapped_column(ExactText(20))
    failure_reason: Mapped[str | None] = mapped_column(ExactText(REASON_LENGTH))
    charge_id: Mapped[str | None] = mapped_column(ExactText(255))
    refunded_minor: Mapped[int] = mapped_column(BigInteger)
    refunding_minor: Mapped[int] = mapped_column(BigInteger)
    attempts: Mapped[int] = mapped_column(Integer)
    settle_at: Mapped[datetime | None] = mapped_column(index=True)
    voided_at: Mapped[datetime | None]
    charged_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    revision: Mapped[int] = revision()

    __table_args__ = (
        Index(None, "user_id", "payment_id"),
        Index(None, "order_id", "payment_id"),
        Index(None, "booking_id", "payment_id"),
    )

    @classmethod
    def start(cls, payment_id: PaymentId, request: PaymentRequest, *, attempt_limit: float, now: datetime) -> "Payment":
        """Return a payment whose first attempt to charge ends within `attempt_limit` seconds."""
        booking_id = request.reference if isinstance(request.reference, BookingId) else None
        return cls(
            payment_id=payment_id,
            order_id=OrderId(request.reference) if booking_id is None else None,
            booking_id=booking_id,
            user_id=request.user_id,
            amount_minor=request.amount.minor,
            currency=request.amount.currency,
            method=request.method,
            status="processing",
            failure_reason=None,
            charge_id=None,
            refunded_minor=0,
            refunding_minor=0,
            attempts=0,
            settle_at=now + timedelta(seconds=attempt_limit),
            voided_at=None,
            charged_at=None,
            reported_minor=None,
            reported_currency=None,
            created_at=now,
            updated_at=now,
            revision=1,
        )

    @property
    def reference(self) -> Reference:
        """The order or the booking that is paid."""
        return self.booking_id or OrderId(self.order_id or "")

    @property
    def money(self) -> Money:
        """The amount of the charge."""
        return Money(self.amount_minor, self.currency)

    @property
    def amount(self) -> float:
        """The amount of the charge as a JSON number of the currency."""
        return json_number(self.amount_minor, self.currency)

    @property
    def refunded(self) -> float:
        """The refunded amount as a JSON number of the currency."""
        return json_number(self.refunded_minor, self.currency)

    @property
    def refundable_minor(self) -> int:
        """The amount that can still be refunded, in minor units."""
        return self.amount_minor - self.refunded_minor - self.refunding_minor if self.charged_at else 0

    @property
    def collected_minor(self) -> int:
        """The charge less its completed refunds, in minor units."""
        return self.amount_minor - self.refunded_minor if self.charged_at else 0

    @property
    def is_processing(self) -> bool:
        """Whether the outcome of the charge is unknown."""
        return self.status == "processing"

    def matches(self, request: PaymentRequest) -> bool:
        """Whether this payment was made for an equal request."""
        return request == PaymentRequest(self.reference, self.user_id, self.money, self.method)

    def start_attempt(self, now: datetime, *, limit: float) -> None:
        """Record that the provider is asked to charge; the attempt ends within `limit` seconds."""
        self.settle_at = now + timedelta(seconds=limit)

    def postpone_settlement(self, now: datetime) -> None:
        """Ask the provider again later, with exponential backoff."""
        self.settle_at = now + settlement_delay(self.attempts)
        self.attempts += 1

    def succeed(self, charge_id: str, now: datetime) -> None:
        """Record that the provider charged."""
        self.status = "voided" if self.voided_at else "succeeded"
        self.charge_id, self.charged_at, self.updated_at = charge_id, now, now
        self.settle_at = self.reported = None

    def fail(self, reason: str, now: datetime, *, charge_id: str | None = None) -> None:
        """Record that the provider refused to charge."""
        self.status, self.failure_reason = "failed", reason[:REASON_LENGTH]
        self.charge_id, self.updated_at = charge_id, now
        self.settle_at = self.reported = None

    def void(self, now: datetime) -> None:
        """Forbid any further charge. The caller refunds what was charged."""
        if self.voided_at is None:
            self.voided_at = self.updated_at = now
        if self.status == "succeeded":
            self.status = "voided"

    def close_without_charge(self, now: datetime) -> None:
        """Close a voided payment that the provider does not know.

        The provider is asked once more later, because a request may have been delayed on its way.
        """
        self.status = "voided"
        self.settle_at, self.updated_at = now + MAX_PAYMENT_WAIT, now
        self.reported = None

    def finish_final_check(self, now: datetime) -> None:
        """Stop asking the provider, if the final check was due."""
        if self.settle_at is not None and seconds_until(self.settle_at, now, max_wait=MAX_PAYMENT_WAIT) <= 0:
            self.settle_at = None

    def start_refund(self, request: RefundRequest, now: datetime) -> "Refund":
        """Reserve the requested amount, or the whole remainder, and return its refund.

        Raises NotRefundable, RefundExceedsCharge, TooPrecise.
        """
        requested = request.minor_in(self.currency)
        minor = self.refundable_minor if requested is None else requested
        if self.charged_at is None:
            raise NotRefundable(payment_id=self.payment_id, state=self.status)
        if minor > self.refundable_minor or not self.refundable_minor:
            left = json_number(self.refundable_minor, self.currency)
            raise RefundExceedsCharge(payment_id=self.payment_id, left=left, currency=self.currency)
        self.refunding_minor += minor
        self.updated_at = now
        return Refund.start(self, request, minor=minor, now=now)

    def finish_refund(self, minor: int, now: datetime, *, succeeded: bool) -> None:
        """Release the reserved amount of a refund, and count it as refunded if the refund succeeded."""
        self.refunding_minor -= minor
        self.updated_at = now
        if succeeded:
            self.refunded_minor += minor


class Refund(ReportedAmount, Table):
    """A refund of a payment. Its id is the idempotency key at the provider.

    The lock on the payment's row guards its refunds. `requested_minor` is None if the whole remainder was requested. At
    `settle_at` the provider is asked again or, if the refund failed and its payment is voided, another refund starts.
    """

    __tablename__ = "refunds"

    refund_id: Mapped[RefundId] = identifier()
    payment_id: Mapped[PaymentId]
    charge_id: Mapped[str] = mapped_column(ExactText(255))
    key: Mapped[str] = mapped_column(ExactText(KEY_LENGTH))
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    requested_minor: Mapped[int | None] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(ExactText(3))
    reason: Mapped[str | None]
    requested_by: Mapped[str] = mapped_column(ExactText())
    status: Mapped[RefundStatus] = mapped_column(ExactText(20))
    failure_reason: Mapped[str | None] = mapped_column(ExactText(REASON_LENGTH))
    attempts: Mapped[int] = mapped_column(Integer)
    settle_at: Mapped[datetime | None] = mapped_column(index=True)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("payment_id", "key"),)

    @classmethod
    def start(cls, payment: Payment, request: RefundRequest, *, minor: int, now: datetime) -> "Refund":
        """Return a refund of `minor` units that the provider has not been asked for."""
        refund_id = RefundId.new()
        return cls(
            refund_id=refund_id,
            payment_id=payment.payment_id,
            charge_id=payment.charge_id or "",
            key=request.key or refund_id,
            amount_minor=minor,
            requested_minor=request.minor_in(payment.currency),
            currency=payment.currency,
            reason=request.reason,
            requested_by=request.requested_by,
            status="processing",
            attempts=0,
            settle_at=now,
            created_at=now,
            updated_at=now,
        )

    @property
    def money(self) -> Money:
        """The amount of the refund."""
        return Money(self.amount_minor, self.currency)

    @property
    def amount(self) -> float:
        """The amount of the refund as a JSON number of the currency."""
        return json_number(self.amount_minor, self.currency)

    @property
    def is_processing(self) -> bool:
        """Whether the outcome of the refund is unknown."""
        return self.status == "processing"

    def matches(self, request: RefundRequest) -> bool:
        """Whether this refund was made for the same amount and reason."""
        return (request.minor_in(self.currency), request.reason) == (self.requested_minor, self.reason)

    def postpone_settlement(self, now: datetime) -> None:
        """Ask the provider again later, with exponential backoff."""
        self.settle_at = now + settlement_delay(self.attempts)
        self.attempts += 1

    def schedule_replacement(self, failures: int, now: datetime) -> None:
        """Have another refund started after this one failed, later after each failure."""
        self.settle_at = now + refund_retry_delay(failures)

    def finish(self, status: RefundStatus, now: datetime, *, reason: str | None = None) -> None:
        """Record the outcome."""
        self.status, self.updated_at = status, now
        self.settle_at = self.reported = None
        self.failure_reason = None if reason is None else reason[:REASON_LENGTH]


class WebhookEvent(Table):
    """A provider's event that was handled; the same event is not handled again."""

    __tablename__ = "webhook_events"

    provider: Mapped[str] = mapped_column(ExactText(PROVIDER_LENGTH), primary_key=True)
    event_id: Mapped[str] = mapped_column(ExactText(EVENT_ID_LENGTH), primary_key=True)
    type: Mapped[str] = mapped_column(ExactText(100))
    received_at: Mapped[datetime] = mapped_column(index=True)
