"""The client and the events of bookings: bookings and their tickets."""

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict

from portico.contracts.events import ShowId
from portico.contracts.seating import HoldId
from portico.kit import Amount, Client, Event, Identifier, Summary, UserId


class BookingId(Identifier, prefix="bkg"):
    """Id of a booking."""


class TicketId(Identifier, prefix="tkt"):
    """Id of a ticket."""


class TransferId(Identifier, prefix="trf"):
    """Id of the offer of a ticket to another person."""


class CheckInId(Identifier, prefix="chk"):
    """Id of a check-in."""


BookingStatus = Literal["PENDING", "CONFIRMED", "CANCELLED", "FAILED", "EXPIRED"]
TicketStatus = Literal["VALID", "USED", "CANCELLED"]


class BookingEvent(Event):
    """Base of all booking events: the state of the booking after the change."""

    booking_id: BookingId
    event_id: ShowId
    user_id: UserId
    quantity: int
    amount: Amount
    currency: str
    refunded: Amount
    failure_reason: str | None


class BookingCreated(BookingEvent, type="booking.created", version=1, aggregate="booking_id"):
    """A booking was made. Its payment follows."""


class BookedPlace(BaseModel):
    """A place of a booking. `row` and `number` are None in a standing section."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    section: str
    row: str | None
    number: int | None


class BookingConfirmed(BookingEvent, type="booking.confirmed", version=1, aggregate="booking_id"):
    """A booking is paid, its places are sold and its tickets issued."""

    places: tuple[BookedPlace, ...]


class BookingFailed(BookingEvent, type="booking.failed", version=1, aggregate="booking_id"):
    """A booking failed. `failure_reason` is a code, such as `payment_declined`, `hold_lost` or `event_cancelled`."""


class BookingCancelled(BookingEvent, type="booking.cancelled", version=1, aggregate="booking_id"):
    """A booking was cancelled. `remaining` is the number of its places that are still booked: 0 if it was cancelled in whole.

    is_show_cancelled: whether the show was cancelled.
    """

    remaining: int
    is_show_cancelled: bool


class RescheduledShow(BaseModel):
    """A show after its date or venue changed.

    full_refund_until: until when the buyer can cancel for a full refund; None if the change does not allow it.
    revision: the show's revision; if a newer one is known, this is outdated.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    event_name: str
    event_date: datetime
    time_zone: str
    venue_name: str
    full_refund_until: datetime | None
    revision: int


class BookingRescheduled(BookingEvent, type="booking.rescheduled", version=1, aggregate="booking_id"):
    """The show of a confirmed booking has a new date or venue."""

    show: RescheduledShow


class BookingExpired(BookingEvent, type="booking.expired", version=1, aggregate="booking_id"):
    """A booking had no outcome in time and was given up."""


class TicketEvent(Event):
    """Base of all ticket events. `seat` is None in a standing section."""

    ticket_id: TicketId
    booking_id: BookingId
    event_id: ShowId
    seat: str | None


class TicketIssued(TicketEvent, type="ticket.issued", version=1, aggregate="ticket_id"):
    """A ticket was issued."""


class TicketCheckedIn(TicketEvent, type="ticket.checked_in", version=1, aggregate="ticket_id"):
    """A ticket was used at a gate."""


class TransferOffered(TicketEvent, type="ticket.transfer_offered", version=1, aggregate="ticket_id"):
    """A ticket was offered to the owner of the address `email`, who can accept it until `expires_at`.

    from_name: name of the user who offers it, if known.
    """

    transfer_id: TransferId
    email: str
    from_name: str | None
    expires_at: datetime


class TicketTransferred(TicketEvent, type="ticket.transferred", version=1, aggregate="ticket_id"):
    """A ticket belongs to another person, under a new code."""


class TicketRescheduled(TicketEvent, type="ticket.rescheduled", version=1, aggregate="ticket_id"):
    """The show of a ticket that was transferred to the user `holder_id` has a new date or venue."""

    holder_id: UserId
    show: RescheduledShow


class TicketCancelled(TicketEvent, type="ticket.cancelled", version=1, aggregate="ticket_id"):
    """A ticket is permanently void.

    holder_id: the user that the ticket was transferred to; None if the buyer had it. Only a cancelled show voids a
        transferred ticket.
    """

    holder_id: UserId | None


class SoldPlace(Summary):
    """A live ticket of a confirmed booking, for reconciliation. `seat_id` is None in a standing section."""

    ticket_id: TicketId
    booking_id: BookingId
    hold_id: HoldId
    section: str
    seat_id: str | None = None


class BookingTotal(Summary):
    """What a booking costs, for the reconciliation of payments.

    amount: what was paid; 0 for a booking that was never confirmed.
    refunded: the part of `amount` that bookings has refunded or is about to refund.
    """

    booking_id: BookingId
    user_id: UserId
    status: BookingStatus
    amount: Decimal
    refunded: Decimal
    currency: str
    created_at: datetime


class BookingsClient(Client, service="bookings"):
    """Read sold places and totals. For services only."""

    async def sold_places(self, event_id: ShowId, *, after: TicketId | None, limit: int) -> list[SoldPlace]:
        """Return live tickets of the show, by id, after this one."""
        params = {"event_id": event_id, "limit": limit, **({"after": after} if after else {})}
        return await self.get("/bookings/places", params=params, answer=list[SoldPlace])

    async def totals(
        self, *, booking_id: Collection[BookingId] = (), after: BookingId | None = None, limit: int = 1000
    ) -> list[BookingTotal]:
        """Return one page of totals of bookings, oldest first.

        Args:
            booking_id: only these bookings, at most 100; all if empty.
            after: the last booking of the previous page.
            limit: page size, at most 1000.
        """
        params = {"booking_id": list(booking_id), "after": after, "limit": limit}
        return await self.get("/bookings/totals", params=params, answer=list[BookingTotal])
