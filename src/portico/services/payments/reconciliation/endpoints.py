from typing import Annotated

from fastapi import Query

from portico.kit.auth import Principal, permitted
from portico.kit.data import InvalidCursor
from portico.kit.http import Reads, Router
from portico.kit.runtime.context import Context
from portico.services.payments.payments.repository import READ
from portico.services.payments.provider.domain import PaymentProvider
from portico.services.payments.reconciliation.domain import Place
from portico.services.payments.reconciliation.queries import Books
from portico.services.payments.reconciliation.resources import OrderBook
from portico.services.payments.reconciliation.schemas import ReconciliationRead

router = Router(prefix="/ledger", tags=["ledger"])

MayRead = Annotated[Principal, permitted(READ)]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many rows of the books to go through")]
Cursor = Annotated[str | None, Query(max_length=1024, description="The `next_cursor` of the page before")]


@router.get("/reconcile", errors=[InvalidCursor], timeout=60)
async def reconcile(
    caller: MayRead, reads: Reads, context: Context, limit: Limit = 1000, cursor: Cursor = None
) -> ReconciliationRead:
    """Hold ledger, payments, provider and orders against one another, and list what does not match.

    Each page goes through `limit` rows: the payments, then the provider's charges, the ledger's transactions and the
    orders. What is on its way between two of the books is no mismatch.
    """
    provider = context.resource(PaymentProvider)  # type: ignore[type-abstract]  # the key of a resource, never made
    books = Books(reads, provider, context.resource(OrderBook))
    return ReconciliationRead.of_report(
        await books.reconcile(None if cursor is None else Place.of(cursor), limit=limit)
    )
