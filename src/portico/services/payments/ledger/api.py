from typing import Annotated

from fastapi import Query

from portico.kit import Context, InvalidCursor, Principal, Reads, Router, permitted
from portico.services.payments.ledger.domain import Position
from portico.services.payments.ledger.order_totals import OrderTotals
from portico.services.payments.ledger.schemas import ReconciliationRead
from portico.services.payments.ledger.service import Reconciliation
from portico.services.payments.provider import provider_of
from portico.services.payments.repository import READ_PERMISSION

router = Router(prefix="/ledger", tags=["ledger"])

PaymentsReader = Annotated[Principal, permitted(READ_PERMISSION)]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many rows to check")]
Cursor = Annotated[str | None, Query(max_length=1024, description="`next_cursor` of the previous page")]


@router.get("/reconcile", errors=[InvalidCursor], timeout=60)
async def reconcile(
    caller: PaymentsReader, reads: Reads, context: Context, limit: Limit = 1000, cursor: Cursor = None
) -> ReconciliationRead:
    """Compare ledger, payments, provider and orders, and list the mismatches.

    Each page checks `limit` rows: the payments, then the provider's charges, the ledger's transactions and the orders.
    Charges and refunds in progress are not mismatches.
    """
    reconciliation = Reconciliation(reads, provider_of(context), context.resource(OrderTotals))
    start = None if cursor is None else Position.of(cursor)
    return ReconciliationRead.of_report(await reconciliation.run(start, limit=limit))
