from datetime import timedelta
from typing import Final

from portico.kit import ServiceContext, job
from portico.services.bookings.tickets.repository import delete_transfers
from portico.services.bookings.tickets.signing_keys import TicketKeys

_TRANSFER_RETENTION: Final = timedelta(days=30)


@job(name="rotate-ticket-keys", every=timedelta(hours=1))
async def rotate_ticket_keys(context: ServiceContext) -> None:
    """Create the next key that signs ticket codes when the current one is old enough."""
    await context.resource(TicketKeys).rotate_if_due()


@job(name="delete-old-transfers", every=timedelta(hours=1))
async def delete_old_transfers(context: ServiceContext) -> None:
    """Delete transfers that expired 30 days ago: they contain addresses."""
    more = True
    while more:
        async with context.transaction() as work:
            more = await delete_transfers(work, before=work.now - _TRANSFER_RETENTION)
