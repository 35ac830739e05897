from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import BigInteger, Index, Integer
from sqlalchemy.orm import Mapped, mapped_column

from portico.contracts.orders import OrderId
from portico.contracts.payments import PaymentId, PaymentStatus
from portico.kit.auth import UserId
from portico.kit.data import ExactText, identifier, revision
from portico.kit.foundation.money import Money, json_number
from portico.services.payments.models import Table
from portico.services.payments.payments.domain import Charge, next_wait
from portico.services.payments.refunds.errors import NotRefundable, RefundExceedsCharge

KEY_LENGTH: Final = 200
METHOD_LENGTH: Final = 100
REASON_LENGTH: Final = 255

_LAST_LOOK: Final = timedelta(minutes=15)


class PaymentKey(Table):
    """What a key stands for: a payment, or nothing for ever where it was voided before it was used."""

    __tablename__ = "payment_keys"

    key: Mapped[str] = mapped_column(ExactText(KEY_LENGTH), primary_key=True)
    payment_id: Mapped[PaymentId | None]
    created_at: Mapped[datetime]


class Payment(Table):
    """A charge, and what was given back of it. Its id is the idempotency key at the provider.

    `settle_at` is when the provider is to be asked next; until then an attempt may be under way. `refunding_minor` is
    on its way back, `refunded_minor` is there.
    """

    __tablename__ = "payments"

    payment_id: Mapped[PaymentId] = identifier()
    order_id: Mapped[OrderId]
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

    __table_args__ = (Index(None, "user_id", "payment_id"), Index(None, "order_id", "payment_id"))

    @property
    def money(self) -> Money:
        return Money(self.amount_minor, self.currency)

    @property
    def amount(self) -> float:
        """The charge as people write it."""
        return json_number(self.amount_minor, self.currency)

    @property
    def refunded(self) -> float:
        """What was given back, as people write it."""
        return json_number(self.refunded_minor, self.currency)

    @property
    def left_minor(self) -> int:
        """What can still be given back."""
        return self.amount_minor - self.refunded_minor - self.refunding_minor if self.charged_at else 0

    @property
    def is_open(self) -> bool:
        """Whether it is not known yet what became of the charge."""
        return self.status == "processing"

    def is_of(self, charge: Charge) -> bool:
        """Whether `charge` asks for this one."""
        return charge == Charge(self.order_id, self.user_id, self.money, self.method)

    def attempt(self, now: datetime, *, within: float) -> None:
        """The provider is about to be asked to charge, and will have been in `within` seconds."""
        self.settle_at = now + timedelta(seconds=within)

    def await_outcome(self, now: datetime) -> None:
        """The provider did not say what became of it: ask later, and ever later."""
        self.settle_at = now + next_wait(self.attempts)
        self.attempts += 1

    def succeed(self, charge_id: str, now: datetime) -> None:
        """The money is there."""
        self.status = "voided" if self.voided_at else "succeeded"
        self.charge_id, self.charged_at, self.updated_at = charge_id, now, now
        self.settle_at = None

    def fail(self, reason: str, now: datetime, *, charge_id: str | None = None) -> None:
        """The provider refused."""
        self.status, self.failure_reason = "failed", reason[:REASON_LENGTH]
        self.charge_id, self.settle_at, self.updated_at = charge_id, None, now

    def void(self, now: datetime) -> None:
        """From now on nothing is charged; what was, is to be given back."""
        if self.voided_at is None:
            self.voided_at = self.updated_at = now
        if self.status == "succeeded":
            self.status = "voided"

    def end_uncharged(self, now: datetime) -> None:
        """It was voided and the provider knows of no charge. One more look later finds one that was long on its way."""
        self.status = "voided"
        self.settle_at, self.updated_at = now + _LAST_LOOK, now

    def end_last_look(self, now: datetime) -> None:
        """It found nothing. Said by who looked before the time for it had come, it changes nothing."""
        if self.settle_at is not None and self.settle_at <= now:
            self.settle_at = None

    def reserve_refund(self, minor: int, now: datetime) -> None:
        """Set `minor` aside to be given back. Raises NotRefundable, RefundExceedsCharge."""
        if self.charged_at is None:
            raise NotRefundable(payment_id=self.payment_id, state=self.status)
        if minor > self.left_minor or not self.left_minor:
            left = json_number(self.left_minor, self.currency)
            raise RefundExceedsCharge(payment_id=self.payment_id, left=left, currency=self.currency)
        self.refunding_minor += minor
        self.updated_at = now

    def end_refund(self, minor: int, now: datetime, *, given_back: bool) -> None:
        """What was set aside was given back, or was not and is free again."""
        self.refunding_minor -= minor
        self.updated_at = now
        if given_back:
            self.refunded_minor += minor
