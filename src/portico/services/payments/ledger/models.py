from datetime import datetime
from typing import Any, Literal

from sqlalchemy import BigInteger, ForeignKey, event
from sqlalchemy.orm import Mapped, mapped_column

from portico.contracts.payments import PaymentId
from portico.kit.data import ExactText, Sequence, identifier
from portico.kit.foundation.ids import Identifier
from portico.services.payments.models import Table

AccountName = Literal["provider", "orders", "refunds"]
TransactionKind = Literal["charge", "refund"]

PROVIDER: AccountName = "provider"
"""What the provider holds for us."""
ORDERS: AccountName = "orders"
"""What orders brought, as a debt to those who ordered: its balance is negative."""
REFUNDS: AccountName = "refunds"
"""What was given back of that."""


class LedgerIsAppendOnly(RuntimeError):
    """A row of the ledger was to be changed or deleted; a mistake is put right by a transaction that says the opposite."""


class TransactionId(Identifier, prefix="txn"):
    """A transaction of the ledger: entries that sum to zero."""


class LedgerTransaction(Table):
    """Why money moved: a charge or a refund, once for each, since `reference` is unique."""

    __tablename__ = "ledger_transactions"

    transaction_id: Mapped[TransactionId] = identifier()
    kind: Mapped[str] = mapped_column(ExactText(20))
    reference: Mapped[str] = mapped_column(ExactText(48), unique=True)
    payment_id: Mapped[PaymentId] = mapped_column(index=True)
    created_at: Mapped[datetime]


class LedgerEntry(Table):
    """One side of a transaction: `amount_minor` to `account`, or from it where it is negative."""

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
