from datetime import datetime
from typing import Any, Literal

from sqlalchemy import BigInteger, ForeignKey, event
from sqlalchemy.orm import Mapped, mapped_column

from portico.contracts.payments import PaymentId
from portico.kit import Identifier, Money, identifier
from portico.kit.data import ExactText, Sequence
from portico.services.payments.models import Payment, Table

IncomeAccount = Literal["orders", "bookings"]
AccountName = Literal["provider", "orders", "bookings", "refunds"]
TransactionKind = Literal["charge", "refund"]
Posting = tuple[tuple[AccountName, int], tuple[AccountName, int]]

PROVIDER: AccountName = "provider"
"""The money that the provider holds for the shop."""
ORDERS: IncomeAccount = "orders"
"""The money that orders brought in; its balance is negative."""
BOOKINGS: IncomeAccount = "bookings"
"""The money that bookings brought in; its balance is negative."""
REFUNDS: AccountName = "refunds"
"""The money that was refunded."""


def income_account(payment: Payment) -> IncomeAccount:
    """Return the account that a charge of this payment comes from."""
    return ORDERS if payment.booking_id is None else BOOKINGS


def posting(kind: TransactionKind, amount: Money, *, income: IncomeAccount = ORDERS) -> Posting:
    """Return the two entries of a charge (from `income` to provider) or of a refund (from provider to refunds)."""
    if kind == "charge":
        return (PROVIDER, amount.minor), (income, -amount.minor)
    return (PROVIDER, -amount.minor), (REFUNDS, amount.minor)


class LedgerIsAppendOnly(RuntimeError):
    """A ledger row was about to be changed or deleted. Correct a mistake with a transaction that reverses it."""


class TransactionId(Identifier, prefix="txn"):
    """Id of a ledger transaction."""


class LedgerTransaction(Table):
    """A charge or a refund. Its entries sum to zero. `reference` is unique, so that each is posted once."""

    __tablename__ = "ledger_transactions"

    transaction_id: Mapped[TransactionId] = identifier()
    kind: Mapped[str] = mapped_column(ExactText(20))
    reference: Mapped[str] = mapped_column(ExactText(48), unique=True)
    payment_id: Mapped[PaymentId] = mapped_column(index=True)
    created_at: Mapped[datetime]


class LedgerEntry(Table):
    """One side of a transaction: `amount_minor` is added to `account`; a negative amount is taken from it."""

    __tablename__ = "ledger_entries"

    entry_id: Mapped[int] = mapped_column(Sequence, primary_key=True, autoincrement=True)
    transaction_id: Mapped[TransactionId] = mapped_column(ForeignKey("ledger_transactions.transaction_id"), index=True)
    account: Mapped[str] = mapped_column(ExactText(40))
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(ExactText(3))


def _refuse(_mapper: Any, _connection: Any, row: object) -> None:
    raise LedgerIsAppendOnly(type(row).__name__)


for _table in (LedgerTransaction, LedgerEntry):
    event.listen(_table, "before_update", _refuse)
    event.listen(_table, "before_delete", _refuse)
