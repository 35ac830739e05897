from typing import Any

from sqlalchemy import insert

from portico.contracts.payments import PaymentId
from portico.kit.data import UnitOfWork
from portico.kit.data.statements import Prepared
from portico.kit.foundation.money import Money
from portico.services.payments.ledger.domain import posting
from portico.services.payments.ledger.models import LedgerEntry, LedgerTransaction, TransactionId, TransactionKind

TRANSACTIONS: Any = LedgerTransaction.__table__
ENTRIES: Any = LedgerEntry.__table__
_TRANSACT, _ENTER = Prepared(insert(TRANSACTIONS)), Prepared(insert(ENTRIES))


async def post(work: UnitOfWork, kind: TransactionKind, reference: str, payment_id: PaymentId, amount: Money) -> None:
    """Write that `amount` was charged or given back. The unique index on `reference` refuses a second time."""
    transaction_id = TransactionId.new()
    transaction = {
        "transaction_id": transaction_id,
        "kind": kind,
        "reference": str(reference),
        "payment_id": payment_id,
        "created_at": work.now,
    }
    await _TRANSACT.write(work, transaction)
    entries = [
        {
            "transaction_id": transaction_id,
            "account": account,
            "amount_minor": minor,
            "currency": amount.currency,
        }
        for account, minor in posting(kind, amount)
    ]
    await _ENTER.write_each(work, entries)
