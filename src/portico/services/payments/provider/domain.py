"""What payments asks of a provider. The shape is Stripe's: charges by idempotency key, refunds, a list, signed events."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from portico.kit.data.unit_of_work import current_unit_of_work
from portico.kit.foundation.money import Money

ChargeStatus = Literal["processing", "succeeded", "failed"]


@dataclass(frozen=True, slots=True)
class ChargeOrder:
    """What is to be charged.

    Args:
        key: the idempotency key; the provider charges once by it, whatever comes how often.
        amount: more than nothing.
        method: the provider's word for what to charge.
        reference: ours for what is paid, for the provider's own lists.
    """

    key: str
    amount: Money
    method: str
    reference: str


@dataclass(frozen=True, slots=True)
class ProviderCharge:
    """A charge as the provider has it. `refunded` is what was given back of it so far."""

    charge_id: str
    key: str
    status: ChargeStatus
    amount: Money
    refunded: Money
    failure_reason: str | None = None


@dataclass(frozen=True, slots=True)
class ProviderRefund:
    """A refund as the provider has it."""

    refund_id: str
    key: str
    status: Literal["processing", "succeeded", "failed"]
    amount: Money
    failure_reason: str | None = None


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """What a webhook says: something became of a charge or a refund. Neither is there where it tells of something else."""

    event_id: str
    type: str
    charge: ProviderCharge | None = None
    refund: ProviderRefund | None = None


class ProviderUnavailable(Exception):
    """No answer that says what happened: the request may have taken effect, now or later. Ask by its key."""


class ProviderRefused(Exception):
    """The provider will not do this, and did not: the reason is its word for why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PaymentProvider(Protocol):
    """Who moves the money. Its methods are never called while a transaction is open, and say so where one is."""

    @property
    def name(self) -> str:
        """Its name in `POST /payments/webhooks/{name}`."""

    async def charge(self, order: ChargeOrder) -> ProviderCharge:
        """Charge once by `order.key`; a repeat answers with the same charge as it is by then.

        Raises ProviderRefused, ProviderUnavailable.
        """

    async def find_charge(self, key: str) -> ProviderCharge | None:
        """The charge by this idempotency key; None where none has reached the provider. Raises ProviderUnavailable."""

    async def refund(self, key: str, charge_id: str, amount: Money) -> ProviderRefund:
        """Give back once by `key`; a repeat answers with the same refund. Raises ProviderRefused, ProviderUnavailable."""

    async def charges(self, *, after: str | None, limit: int) -> Sequence[ProviderCharge]:
        """The charges after the one called `after`, the oldest first. Raises ProviderUnavailable."""

    def event(self, body: bytes, signature: str | None, *, now: datetime) -> ProviderEvent:
        """What a webhook says. Raises SignatureInvalid, SignatureOld, BadRequest."""


class CalledInTransaction(RuntimeError):
    """The provider was called while a transaction is open; it would be held for as long as the provider takes."""


def refuse_in_transaction() -> None:
    """Raises CalledInTransaction where this task has a transaction open."""
    work = current_unit_of_work.get()
    if work is not None and work.began:
        raise CalledInTransaction("commit what is to be done, call the provider, then record what became of it")
