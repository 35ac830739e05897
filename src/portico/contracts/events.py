"""The client and the events of the service `events`: shows that are put on sale.

Ticketing's API calls a show an event (`eventId`). The code calls it a show, because an event is a message of a service.
"""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from portico.kit import Amount, Client, Event, IntegerIdentifier, Summary


class ShowId(IntegerIdentifier):
    """Id of a show."""


ShowStatus = Literal["UPCOMING", "ON_SALE", "SOLD_OUT", "CANCELLED", "COMPLETED"]

OrphanRule = Literal["AVOID", "REFUSE"]
"""Rule for seats that leave a single free seat: AVOID allows them; REFUSE rejects them if there are other seats."""

WaitingRoomMode = Literal["OFF", "ON", "AUTO"]


class SectionPlan(BaseModel):
    """A section of a show's hall: seated with `rows` and `seats_per_row`, or standing with `capacity`.

    The sections of a show are numbered from 1, best first.

    price: price of a place; None for the show's price.
    accessible: accessible seats, as row and number within the section ("A-1").
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    name: str
    rows: int | None = None
    seats_per_row: int | None = None
    capacity: int | None = None
    price: Amount | None = None
    accessible: tuple[str, ...] = ()

    @property
    def places(self) -> int:
        """The number of places in the section."""
        return self.capacity if self.capacity is not None else (self.rows or 0) * (self.seats_per_row or 0)


class ShowEvent(Event):
    """Base of the events that carry the complete state of a show after the change, or before its deletion.

    revision: increases with each change; an event with a smaller revision is outdated.
    sold_out_by_hand: whether an administrator set SOLD_OUT; offers from the waiting list stop until it is reopened.
    cancellable_until: when buyers can cancel at the latest.
    full_refund_until: until when a cancellation refunds in full, after a change of date or venue.
    """

    event_id: ShowId
    event_name: str
    event_date: datetime
    venue_name: str
    time_zone: str
    total_seats: int
    status: ShowStatus
    sold_out_by_hand: bool
    sale_start_time: datetime | None
    sale_end_time: datetime
    price: Amount
    currency: str
    description: str | None
    category: str | None
    sections: tuple[SectionPlan, ...]
    max_seats_per_user: int | None
    orphan_rule: OrphanRule
    waiting_room: WaitingRoomMode
    cancellable_until: datetime
    refund_percent: int
    full_refund_until: datetime | None
    revision: int


class ShowCreated(ShowEvent, type="event.created", version=1, aggregate="event_id"):
    """A show was created."""


class ShowUpdated(ShowEvent, type="event.updated", version=1, aggregate="event_id"):
    """A show was changed. `is_rescheduled` is true if its date or venue changed."""

    is_rescheduled: bool


class ShowStatusChanged(ShowEvent, type="event.status_changed", version=1, aggregate="event_id"):
    """The status of a show changed."""

    previous_status: ShowStatus


class ShowDeleted(ShowEvent, type="event.deleted", version=1, aggregate="event_id"):
    """A show was deleted before any place was held or sold. The event has its last state."""


class ShowSummary(Summary):
    """A show as other services see it."""

    event_id: ShowId
    event_name: str
    event_date: datetime
    venue_name: str
    status: ShowStatus
    cancellable_until: datetime
    refund_percent: int
    full_refund_until: datetime | None


class EventsClient(Client, service="events"):
    """Read shows."""

    async def show(self, event_id: ShowId) -> ShowSummary:
        """Return the show. Raises Refused with status 404 if it does not exist."""
        return await self.get(f"/events/{event_id}", answer=ShowSummary)
