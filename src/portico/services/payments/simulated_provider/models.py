from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, Integer
from sqlalchemy.orm import Mapped, mapped_column

from portico.kit import Identifier, Money
from portico.kit.data import ExactText, LongText, Sequence
from portico.services.payments.models import Table
from portico.services.payments.provider import ProviderCharge, ProviderRefund, ProviderRefused

PROVIDER_KEY_LENGTH: Final = 64


class ChargeId(Identifier, prefix="ch"):
    """Id of a charge at the simulated provider."""


class ProviderRefundId(Identifier, prefix="re"):
    """Id of a refund at the simulated provider."""


class SimulatedCharge(Table):
    """A charge at the simulated provider.

    With status `unprocessed` the request failed and there is no charge. `requests` counts the requests with its key.
    """

    __tablename__ = "simulated_charges"

    key: Mapped[str] = mapped_column(ExactText(PROVIDER_KEY_LENGTH), primary_key=True)
    charge_id: Mapped[ChargeId] = mapped_column(unique=True)
    reference: Mapped[str] = mapped_column(ExactText())
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(ExactText(3))
    method: Mapped[str] = mapped_column(ExactText(100))
    status: Mapped[str] = mapped_column(ExactText(20))
    failure_reason: Mapped[str | None] = mapped_column(ExactText(100))
    refunded_minor: Mapped[int] = mapped_column(BigInteger)
    settles_at: Mapped[datetime | None] = mapped_column(index=True)
    requests: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime]

    def repeat(self) -> None:
        """Count another request with the same key; it creates the charge if the first request failed."""
        self.requests += 1
        if self.status == "unprocessed":
            self.status = "succeeded"

    def settle(self, now: datetime) -> bool:
        """Let a slow charge succeed if it is due; return whether it did."""
        if self.settles_at is None or self.settles_at > now:
            return False
        self.status, self.settles_at = "succeeded", None
        return True

    def refund(self, key: str, amount: Money, now: datetime) -> "SimulatedRefund":
        """Return a refund of this charge. Raises ProviderRefused."""
        if amount.currency != self.currency or amount.minor > self.amount_minor - self.refunded_minor:
            raise ProviderRefused("charge_already_refunded")
        self.refunded_minor += amount.minor
        return SimulatedRefund(
            key=str(key),
            refund_id=ProviderRefundId.new(),
            charge_id=self.charge_id,
            amount_minor=amount.minor,
            currency=amount.currency,
            created_at=now,
        )

    def to_provider_charge(self) -> ProviderCharge:
        """Return the charge as the provider reports it."""
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

    key: Mapped[str] = mapped_column(ExactText(PROVIDER_KEY_LENGTH), primary_key=True)
    refund_id: Mapped[ProviderRefundId]
    charge_id: Mapped[ChargeId] = mapped_column(index=True)
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(ExactText(3))
    created_at: Mapped[datetime]

    def to_provider_refund(self) -> ProviderRefund:
        """Return the refund as the provider reports it."""
        return ProviderRefund(
            refund_id=self.refund_id,
            key=self.key,
            status="succeeded",
            amount=Money(self.amount_minor, self.currency),
        )


class SimulatedWebhook(Table):
    """A webhook that the simulated provider has to deliver. It is deleted once it was accepted."""

    __tablename__ = "simulated_webhooks"

    number: Mapped[int] = mapped_column(Sequence, primary_key=True, autoincrement=True)
    body: Mapped[str] = mapped_column(LongText)
    send_at: Mapped[datetime] = mapped_column(index=True)
    attempts: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime]
