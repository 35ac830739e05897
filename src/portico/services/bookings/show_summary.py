"""The summary of a show: its bookings and tickets in numbers."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import func, select

from portico.contracts.events import ShowId
from portico.kit import Money, Reader
from portico.services.bookings.models import Booking
from portico.services.bookings.repository import Shows
from portico.services.bookings.tickets.models import Ticket

_B: Any = Booking.__table__.c
_T: Any = Ticket.__table__.c


@dataclass(frozen=True, slots=True)
class ShowSummary:
    """The bookings of a show that were paid, in its currency, and its tickets."""

    confirmed: int
    cancelled: int
    tickets: int
    checked_in: int
    gross_minor: int
    refunded_minor: int
    currency: str

    @property
    def gross(self) -> Decimal:
        """What was paid, in major units."""
        return Money(self.gross_minor, self.currency).amount

    @property
    def refunded(self) -> Decimal:
        """What was refunded, in major units."""
        return Money(self.refunded_minor, self.currency).amount

    @property
    def net(self) -> Decimal:
        """What is kept, in major units."""
        return Money(self.gross_minor - self.refunded_minor, self.currency).amount


async def summarize_show(reader: Reader, event_id: ShowId) -> ShowSummary:
    """Return the bookings and tickets of a show in numbers. Raises EventNotFound."""
    show = await Shows(reader).get(event_id)
    paid, refunded = func.sum(_B.amount_minor), func.sum(_B.refunded_minor)
    bookings: Any = (
        select(_B.status, func.count().label("number"), paid.label("paid"), refunded.label("refunded"))
        .where(_B.event_id == event_id, _B.confirmed_at.is_not(None), _B.currency == show.currency)
        .group_by(_B.status)
    )
    tickets: Any = select(_T.status, func.count().label("number")).where(_T.event_id == event_id).group_by(_T.status)
    by_status = {row.status: row for row in await reader.rows(bookings)}
    of_tickets = {row.status: int(row.number) for row in await reader.rows(tickets)}
    counts = {status: int(row.number) for status, row in by_status.items()}
    return ShowSummary(
        confirmed=counts.get("CONFIRMED", 0),
        cancelled=counts.get("CANCELLED", 0),
        tickets=sum(number for status, number in of_tickets.items() if status != "CANCELLED"),
        checked_in=of_tickets.get("USED", 0),
        gross_minor=sum(int(row.paid) for row in by_status.values()),
        refunded_minor=sum(int(row.refunded) for row in by_status.values()),
        currency=show.currency,
    )
