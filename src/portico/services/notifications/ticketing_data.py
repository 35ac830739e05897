"""The data of ticketing's mails, by template, and samples of it."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from portico.kit import Amount, CurrencyCode

MAX_ITEMS: Final = 1000

Line = Annotated[str, StringConstraints(max_length=1000)]


class ShowData(BaseModel):
    """A show, as a mail names it."""

    model_config = ConfigDict(extra="ignore", frozen=True, from_attributes=True)

    event_name: Line
    event_date: AwareDatetime
    time_zone: Line
    venue_name: Line


class ShowMail(BaseModel):
    """The data of a mail about a show. `show` is None while its events were not delivered here."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    event_id: int
    show: ShowData | None = None


class PlaceData(BaseModel):
    """A place of a booking. `row` and `number` are None in a standing section."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    section: Line
    row: Line | None
    number: int | None

    @property
    def name(self) -> str:
        """The place in words: Stalls, row A, seat 12."""
        return self.section if self.row is None else f"{self.section}, row {self.row}, seat {self.number}"


class TicketsMail(ShowMail):
    """The data of the mail with the tickets of a booking."""

    booking_id: Line
    places: tuple[PlaceData, ...] = Field(max_length=MAX_ITEMS)
    amount: Amount
    currency: CurrencyCode


class CancellationMail(ShowMail):
    """The data of a mail about a booking that was cancelled, in whole if `remaining` is 0.

    refunded: what was or is being refunded for the booking in all.
    """

    booking_id: Line
    quantity: int
    remaining: int
    refunded: Amount
    currency: CurrencyCode
    is_show_cancelled: bool


class RescheduleMail(ShowMail):
    """The data of a mail about a new date or venue."""

    booking_id: Line
    full_refund_until: AwareDatetime | None


class HolderMail(ShowMail):
    """The data of a mail to the holder of a ticket that was transferred."""

    ticket_id: Line
    seat: Line | None


class RefundMail(BaseModel):
    """The data of a mail about one refund for a booking."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    booking_id: Line
    amount: Amount
    currency: CurrencyCode


class OfferMail(ShowMail):
    """The data of a mail about an offer, which is not sent after the offer has expired."""

    expires_at: AwareDatetime


class WaitlistOfferMail(OfferMail):
    """The data of a mail about places that are held for a user in the waiting list."""

    hold_id: Line
    quantity: int


class TransferMail(OfferMail):
    """The data of a mail about a ticket that is offered to the owner of the address `email`."""

    transfer_id: Line
    email: Line
    from_name: Line | None
    seat: Line | None


_BOOKING_ID: Final = "bkg_00000000000000000000000000"
_TICKET_ID: Final = "tkt_00000000000000000000000000"
_SHOW: Final[Mapping[str, Any]] = {
    "event_id": 1,
    "show": {
        "event_name": "Queen",
        "event_date": "2030-01-01T19:00:00Z",
        "time_zone": "Europe/Berlin",
        "venue_name": "Wembley Arena",
    },
}

TICKETING_DATA: Final[Mapping[str, tuple[type[BaseModel], Mapping[str, Any]]]] = {
    "tickets": (
        TicketsMail,
        {
            **_SHOW,
            "booking_id": _BOOKING_ID,
            "places": [
                {"section": "Stalls", "row": "A", "number": 12},
                {"section": "Floor", "row": None, "number": None},
            ],
            "amount": 99,
            "currency": "USD",
        },
    ),
    "booking-cancelled": (
        CancellationMail,
        {
            **_SHOW,
            "booking_id": _BOOKING_ID,
            "quantity": 2,
            "remaining": 1,
            "refunded": 49.5,
            "currency": "USD",
            "is_show_cancelled": False,
        },
    ),
    "booking-rescheduled": (
        RescheduleMail,
        {**_SHOW, "booking_id": _BOOKING_ID, "full_refund_until": "2029-12-01T12:00:00Z"},
    ),
    "ticket-rescheduled": (HolderMail, {**_SHOW, "ticket_id": _TICKET_ID, "seat": "1-A-12"}),
    "ticket-cancelled": (HolderMail, {**_SHOW, "ticket_id": _TICKET_ID, "seat": "1-A-12"}),
    "booking-refunded": (RefundMail, {"booking_id": _BOOKING_ID, "amount": 49.5, "currency": "USD"}),
    "waitlist-offer": (
        WaitlistOfferMail,
        {**_SHOW, "hold_id": "hold_00000000000000000000000000", "quantity": 2, "expires_at": "2029-12-01T12:00:00Z"},
    ),
    "ticket-transfer": (
        TransferMail,
        {
            **_SHOW,
            "transfer_id": "trf_00000000000000000000000000",
            "email": "bob@example.com",
            "from_name": "Ada Lovelace",
            "seat": "1-A-12",
            "expires_at": "2029-12-01T12:00:00Z",
        },
    ),
}
"""The model and the sample of each template's data."""
