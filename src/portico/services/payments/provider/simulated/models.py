from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, Integer
from sqlalchemy.orm import Mapped, mapped_column

from portico.kit.data import ExactText, LongText, Sequence
from portico.kit.foundation.ids import Identifier
from portico.kit.foundation.money import Money
from portico.services.payments.models import Table
from portico.services.payments.provider.domain import ProviderCharge, ProviderRefund

KEY_LENGTH: Final = 64


class ChargeId(Identifier, prefix="ch"):
    """A charge at the simulated provider."""


class ProviderRefundId(Identifier, prefix="re"):
    """A refund at the simulated provider."""


class SimulatedCharge(Table):
    """A charge at the simulated provider. `lost` is a request that it met with an error: there is no charge yet.

    `asked` counts the requests that came with its key.
    """

    __tablename__ = "simulated_charges"

    key: Mapped[str] = mapped_column(ExactText(KEY_LENGTH), primary_key=True)
    charge_id: Mapped[ChargeId] = mapped_column(unique=True)
    reference: Mapped[str] = mapped_column(ExactText())
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(ExactText(3))
    method: Mapped[str] = mapped_column(ExactText(100))
    status: Mapped[str] = mapped_column(ExactText(20))
    failure_reason: Mapped[str | None] = mapped_column(ExactText(100))
    refunded_minor: Mapped[int] = mapped_column(BigInteger)
    settles_at: Mapped[datetime | None] = mapped_column(index=True)
    asked: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime]

    @property
    def told(self) -> ProviderCharge:
        """What the provider says of it."""
        return ProviderCharge(
            charge_id=self.charge_id,
            key=self.key,
            status="succeeded" if self.status == "succeeded" else "failed" if self.status == "failed" else "processing",
            amount=Money(self.amount_minor, self.currency),
            refunded=Money(self.refunded_minor, self.currency),
            failure_reason=self.failure_reason,
        )


class SimulatedRefund(Table):
    """A refund at the simulated provider."""

    __tablename__ = "simulated_refunds"

    key: Mapped[str] = mapped_column(ExactText(KEY_LENGTH), primary_key=True)
    refund_id: Mapped[ProviderRefundId]
    charge_id: Mapped[ChargeId] = mapped_column(index=True)
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(ExactText(3))
    created_at: Mapped[datetime]

    @property
    def told(self) -> ProviderRefund:
        """What the provider says of it."""
        return ProviderRefund(
            refund_id=self.refund_id,
            key=self.key,
            status="succeeded",
            amount=Money(self.amount_minor, self.currency),
        )


class SimulatedWebhook(Table):
    """A webhook that the simulated provider has yet to send; one that was taken is deleted."""

    __tablename__ = "simulated_webhooks"

    number: Mapped[int] = mapped_column(Sequence, primary_key=True, autoincrement=True)
    body: Mapped[str] = mapped_column(LongText)
    send_at: Mapped[datetime] = mapped_column(index=True)
    attempts: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime]
