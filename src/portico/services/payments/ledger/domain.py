"""What is written for what happened. Every posting sums to zero."""

from portico.kit.foundation.money import Money
from portico.services.payments.ledger.models import ORDERS, PROVIDER, REFUNDS, AccountName, TransactionKind

Posting = tuple[tuple[AccountName, int], tuple[AccountName, int]]


def posting(kind: TransactionKind, amount: Money) -> Posting:
    """The entries of a charge (the provider holds what an order brought) or of a refund (which it gives back)."""
    if kind == "charge":
        return (PROVIDER, amount.minor), (ORDERS, -amount.minor)
    return (PROVIDER, -amount.minor), (REFUNDS, amount.minor)
