from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from portico.contracts.payments import PaymentId
from portico.kit.data import Reader
from portico.services.payments.ledger.commands import ENTRIES, TRANSACTIONS
from portico.services.payments.ledger.models import PROVIDER, TransactionId

E, T = ENTRIES.c, TRANSACTIONS.c


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account holds of a currency, in minor units."""

    account: str
    currency: str
    minor: int


@dataclass(frozen=True, slots=True)
class Imbalance:
    """A transaction whose entries do not sum to zero."""

    transaction_id: TransactionId
    payment_id: PaymentId
    currency: str
    minor: int


async def balances(reader: Reader) -> list[Balance]:
    """What every account holds, by currency. For each currency they sum to zero."""
    statement = (
        select(E.account, E.currency, func.sum(E.amount_minor).label("minor"))
        .group_by(E.account, E.currency)
        .order_by(E.currency, E.account)
    )
    return [Balance(row.account, row.currency, int(row.minor)) for row in await reader.rows(statement)]


async def imbalances(reader: Reader, transaction_ids: Iterable[TransactionId]) -> list[Imbalance]:
    """Those of these transactions that break the ledger's one rule."""
    total = func.sum(E.amount_minor)
    statement: Any = (
        select(E.transaction_id, T.payment_id, E.currency, total.label("minor"))
        .join(TRANSACTIONS, T.transaction_id == E.transaction_id)
        .where(E.transaction_id.in_(list(transaction_ids)))
        .group_by(E.transaction_id, T.payment_id, E.currency)
        .having(total != 0)
    )
    found = await reader.rows(statement)
    return [Imbalance(row.transaction_id, row.payment_id, row.currency, int(row.minor)) for row in found]


async def held_for(reader: Reader, payment_ids: Iterable[PaymentId]) -> dict[PaymentId, dict[str, int]]:
    """What the provider holds for each of these payments as the ledger has it, in minor units by currency."""
    statement = (
        select(T.payment_id, E.currency, func.sum(E.amount_minor).label("minor"))
        .join(ENTRIES, E.transaction_id == T.transaction_id)
        .where(T.payment_id.in_(list(payment_ids)), E.account == PROVIDER)
        .group_by(T.payment_id, E.currency)
    )
    found: dict[PaymentId, dict[str, int]] = {}
    for row in await reader.rows(statement):
        found.setdefault(row.payment_id, {})[row.currency] = int(row.minor)
    return found


async def transactions_after(reader: Reader, after: str | None, *, limit: int) -> Sequence[Any]:
    """Transactions in the order of their ids, after the one called `after`."""
    statement = select(T.transaction_id, T.payment_id).order_by(T.transaction_id).limit(limit)
    if after is not None:
        statement = statement.where(T.transaction_id > after)
    return await reader.rows(statement)
