from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, Integer, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from portico.contracts.payments import PaymentId, RefundId, RefundStatus
from portico.kit.data import ExactText, identifier
from portico.kit.foundation.money import Money, json_number
from portico.services.payments.models import Table
from portico.services.payments.payments.domain import next_wait, rest_after

KEY_LENGTH: Final = 200
NOTE_LENGTH: Final = 255


class Refund(Table):
    """Something that is given back of a payment. Its id is the idempotency key at the provider.

    Rows are guarded by the lock on their payment. `asked_minor` is None where all was asked for that was left. `settle_at` is when the provider is to be asked again; of one that
    failed, when another is to be begun in its place, since its payment was voided.
    """

    __tablename__ = "refunds"

    refund_id: Mapped[RefundId] = identifier()
    payment_id: Mapped[PaymentId]
    charge_id: Mapped[str] = mapped_column(ExactText(255))
    key: Mapped[str] = mapped_column(ExactText(KEY_LENGTH))
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    asked_minor: Mapped[int | None] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(ExactText(3))
    reason: Mapped[str | None]
    requested_by: Mapped[str] = mapped_column(ExactText())
    status: Mapped[RefundStatus] = mapped_column(ExactText(20))
    failure_reason: Mapped[str | None] = mapped_column(ExactText(NOTE_LENGTH))
    attempts: Mapped[int] = mapped_column(Integer)
    settle_at: Mapped[datetime | None] = mapped_column(index=True)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("payment_id", "key"),)

    @property
    def money(self) -> Money:
        return Money(self.amount_minor, self.currency)

    @property
    def amount(self) -> float:
        """What is given back, as people write it."""
        return json_number(self.amount_minor, self.currency)

    @property
    def is_open(self) -> bool:
        """Whether it is on its way still."""
        return self.status == "processing"

    def is_of(self, asked_minor: int | None, reason: str | None) -> bool:
        """Whether this is what was asked for, by the same key."""
        return (asked_minor, reason) == (self.asked_minor, self.reason)

    def await_outcome(self, now: datetime) -> None:
        """The provider did not say what became of it: ask again later, and ever later."""
        self.settle_at = now + next_wait(self.attempts)
        self.attempts += 1

    def be_followed(self, refusals: int, now: datetime) -> None:
        """It failed, and the provider has refused so often by now: another is to be begun later, and ever later."""
        self.settle_at = now + rest_after(refusals)

    def end(self, status: RefundStatus, now: datetime, *, reason: str | None = None) -> None:
        """It is known what became of it."""
        self.status, self.settle_at, self.updated_at = status, None, now
        self.failure_reason = None if reason is None else reason[:NOTE_LENGTH]
