from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, func, insert, select

from portico.contracts.payments import PaymentId
from portico.kit import Money, Reader, UnitOfWork
from portico.kit.data import Statement
from portico.services.payments.ledger.domain import Balance, Collected, Imbalance, Seller
from portico.services.payments.ledger.models import (
    ORDERS,
    PROVIDER,
    IncomeAccount,
    LedgerEntry,
    LedgerTransaction,
    TransactionId,
    TransactionKind,
    posting,
)
from portico.services.payments.models import Payment

TRANSACTIONS: Any = LedgerTransaction.__table__
ENTRIES: Any = LedgerEntry.__table__
_T, _E = TRANSACTIONS.c, ENTRIES.c
_PURCHASED: dict[Seller, Any] = {"orders": Payment.order_id, "bookings": Payment.booking_id}
_INSERT_TRANSACTION, _INSERT_ENTRY = Statement(insert(TRANSACTIONS)), Statement(insert(ENTRIES))


@dataclass(frozen=True, slots=True)
class Posting:
    """A charge or a refund of `amount` to be posted. `reference` is the payment or the refund."""

    kind: TransactionKind
    reference: str
    payment_id: PaymentId
    amount: Money
    income: IncomeAccount = ORDERS


async def post(work: UnitOfWork, posted: Posting) -> None:
    """Post a charge or a refund. The unique index on `reference` rejects a second posting."""
    await post_all(work, [posted])


async def post_all(work: UnitOfWork, postings: Sequence[Posting]) -> None:
    """Post charges and refunds. The unique index on `reference` rejects a second posting."""
    identified = [(TransactionId.new(), each) for each in postings]
    transactions = [
        {
            "transaction_id": transaction_id,
            "kind": each.kind,
            "reference": str(each.reference),
            "payment_id": each.payment_id,
            "created_at": work.now,
        }
        for transaction_id, each in identified
    ]
    await work.write_each(_INSERT_TRANSACTION, transactions)
    entries = [
        {
            "transaction_id": transaction_id,
            "account": account,
            "amount_minor": minor,
            "currency": each.amount.currency,
        }
        for transaction_id, each in identified
        for account, minor in posting(each.kind, each.amount, income=each.income)
    ]
    await work.write_each(_INSERT_ENTRY, entries)


async def balances(reader: Reader) -> list[Balance]:
    """Return the balance of every account in every currency. The balances of a currency sum to zero."""
    statement = (
        select(_E.account, _E.currency, func.sum(_E.amount_minor).label("minor"))
        .group_by(_E.account, _E.currency)
        .order_by(_E.currency, _E.account)
    )
    return [Balance(row.account, row.currency, int(row.minor)) for row in await reader.rows(statement)]


async def imbalances(reader: Reader, transaction_ids: Iterable[TransactionId]) -> list[Imbalance]:
    """Return the transactions whose entries do not sum to zero."""
    total = func.sum(_E.amount_minor)
    statement: Any = (
        select(_E.transaction_id, _T.payment_id, _E.currency, total.label("minor"))
        .join(TRANSACTIONS, _T.transaction_id == _E.transaction_id)
        .where(_E.transaction_id.in_(list(transaction_ids)))
        .group_by(_E.transaction_id, _T.payment_id, _E.currency)
        .having(total != 0)
    )
    found = await reader.rows(statement)
    return [Imbalance(row.transaction_id, row.payment_id, row.currency, int(row.minor)) for row in found]


async def held_for(reader: Reader, payment_ids: Iterable[PaymentId]) -> dict[PaymentId, dict[str, int]]:
    """Return the `provider` balance of each payment, in minor units by currency."""
    statement = (
        select(_T.payment_id, _E.currency, func.sum(_E.amount_minor).label("minor"))
        .join(ENTRIES, _E.transaction_id == _T.transaction_id)
        .where(_T.payment_id.in_(list(payment_ids)), _E.account == PROVIDER)
        .group_by(_T.payment_id, _E.currency)
    )
    found: dict[PaymentId, dict[str, int]] = {}
    for row in await reader.rows(statement):
        found.setdefault(row.payment_id, {})[row.currency] = int(row.minor)
    return found


async def transactions_after(reader: Reader, after: str | None, *, limit: int) -> Sequence[Any]:
    """Return transactions by id, after the id `after`."""
    statement = select(_T.transaction_id, _T.payment_id).order_by(_T.transaction_id).limit(limit)
    if after is not None:
        statement = statement.where(_T.transaction_id > after)
    return await reader.rows(statement)


async def collected_for(reader: Reader, seller: Seller, references: Iterable[str]) -> dict[str, Collected]:
    """Return what was collected for each of these orders or bookings.

    Args:
        reader: the database.
        seller: the service that has sold them.
        references: their ids.
    """
    purchased = _PURCHASED[seller]
    is_charged = Payment.charged_at.is_not(None)
    collected = func.sum(case((is_charged, Payment.amount_minor - Payment.refunded_minor), else_=0))
    refunded = func.sum(case((Payment.status == "succeeded", Payment.refunded_minor), else_=0))
    moving = func.sum(case((Payment.status == "processing", 1), (Payment.refunding_minor > 0, 1), else_=0))
    statement = (
        select(
            purchased.label("reference"),
            Payment.currency,
            collected.label("minor"),
            refunded.label("refunded"),
            moving.label("moving"),
        )
        .where(purchased.in_(list(references)))
        .group_by(purchased, Payment.currency)
    )
    found: dict[str, Collected] = {}
    for row in (await reader.execute(statement)).all():
        known = found.get(row.reference, Collected({}, {}))
        found[row.reference] = Collected(
            {**known.minor, row.currency: int(row.minor)},
            {**known.refunded, row.currency: int(row.refunded)},
            is_moving=known.is_moving or bool(row.moving),
        )
    return found
