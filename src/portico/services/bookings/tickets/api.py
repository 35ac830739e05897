import asyncio
from typing import Annotated, Any

from fastapi import Query, Response

from portico.contracts.bookings import BookingId, SoldPlace, TicketId, TransferId
from portico.contracts.events import ShowId
from portico.kit import (
    Context,
    FromService,
    InvalidCursor,
    NumberedPage,
    Reader,
    Reads,
    Router,
    SignedIn,
    Slice,
    Work,
    inject,
    numbered_list,
)
from portico.kit.http import MAX_LIMIT
from portico.services.bookings.errors import BookingNotFound
from portico.services.bookings.repository import Bookings
from portico.services.bookings.settings import BookingsSettings
from portico.services.bookings.tickets import service
from portico.services.bookings.tickets.errors import (
    AccountUnknown,
    OwnAddress,
    TicketCancelled,
    TicketNotFound,
    TicketUsed,
    TooManyTransfers,
    TransferEnded,
    TransferExpired,
    TransferNotFound,
    TransferPending,
)
from portico.services.bookings.tickets.models import Ticket, Transfer
from portico.services.bookings.tickets.qr_codes import MEDIA_TYPES, QrFormat, draw_qr_code
from portico.services.bookings.tickets.repository import Tickets
from portico.services.bookings.tickets.schemas import SoldPlaceRead, TicketRead, TransferCreate, TransferRead
from portico.services.bookings.tickets.service import SignedTicket
from portico.services.bookings.tickets.signing_keys import TicketKeys

places = Router(prefix="/bookings/places", tags=["tickets"])
of_booking = Router(prefix="/bookings/{booking_id}/tickets", tags=["tickets"])
tickets = Router(prefix="/tickets", tags=["tickets"], description="Tickets, their codes and QR codes")
transfers = Router(prefix="/transfers", tags=["transfers"], description="Tickets that are given to other people")

Keys = Annotated[TicketKeys, inject(TicketKeys)]
_TICKETS = numbered_list("tickets", TicketRead)
_IMAGES: dict[str, Any] = {
    "response_class": Response,
    "responses": {200: {"content": {media: {} for media in MEDIA_TYPES.values()}}},
}


@places.get("", response_model=list[SoldPlaceRead])
async def list_sold_places(
    _caller: FromService,
    reads: Reads,
    event_id: ShowId,
    after: Annotated[TicketId | None, Query(description="The last ticket of the previous page")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = MAX_LIMIT,
) -> list[SoldPlace]:
    """List the live tickets of a show by id, for services."""
    return await Tickets(reads).sold_places(event_id, after, limit)


@of_booking.get("", response_model=_TICKETS, errors=[BookingNotFound, InvalidCursor])
async def list_tickets_of_booking(
    booking_id: BookingId, caller: SignedIn, page: NumberedPage, reads: Reads, keys: Keys, context: Context
) -> Slice[SignedTicket]:
    """List the tickets of one of the caller's bookings, or of any with `bookings:read`. Transferred ones are not listed."""
    await Bookings(reads).get_visible(booking_id, caller)
    found = await Tickets(reads).page_visible(page, caller, Ticket.booking_id == booking_id)
    return await _signed(reads, keys, found, context)


@tickets.get("", response_model=_TICKETS, errors=[InvalidCursor])
async def list_tickets(
    caller: SignedIn, page: NumberedPage, reads: Reads, keys: Keys, context: Context, event_id: ShowId | None = None
) -> Slice[SignedTicket]:
    """List the tickets that the caller holds, or all with `bookings:read`; newest first."""
    of_show = None if event_id is None else Ticket.event_id == event_id
    return await _signed(reads, keys, await Tickets(reads).page_visible(page, caller, of_show), context)


@tickets.get("/{ticket_id}", response_model=TicketRead, errors=[TicketNotFound])
async def read_ticket(
    ticket_id: TicketId, caller: SignedIn, reads: Reads, keys: Keys, context: Context
) -> SignedTicket:
    """Return a ticket that the caller holds, or any with `bookings:read`."""
    ticket = await Tickets(reads).get_visible(ticket_id, caller)
    return (await service.sign_tickets(reads, keys, [ticket], prefix=context.system.prefix))[0]


@tickets.get("/{ticket_id}/qr", errors=[TicketNotFound], framework=_IMAGES)
async def read_qr_code(
    ticket_id: TicketId,
    caller: SignedIn,
    reads: Reads,
    keys: Keys,
    context: Context,
    image: Annotated[QrFormat, Query(alias="format")] = "svg",
) -> Response:
    """Return the QR code of a ticket's code as an image."""
    ticket = await Tickets(reads).get_visible(ticket_id, caller)
    signed = (await service.sign_tickets(reads, keys, [ticket], prefix=context.system.prefix))[0]
    drawn = await asyncio.to_thread(draw_qr_code, signed.code, image)
    return Response(drawn, media_type=MEDIA_TYPES[image], headers={"cache-control": "private, no-store"})


@tickets.post(
    "/{ticket_id}/transfer",
    status_code=201,
    response_model=TransferRead,
    errors=[TicketNotFound, TicketUsed, TicketCancelled, TransferPending, OwnAddress, TooManyTransfers],
)
async def offer_ticket(
    ticket_id: TicketId, body: TransferCreate, caller: SignedIn, work: Work, context: Context
) -> Transfer:
    """Offer a ticket that the caller holds to the owner of an email address, until `expires_at`."""
    lifetime = context.settings_of(BookingsSettings).transfer_expires_in
    return await service.offer(work, ticket_id, caller, email=body.email, lifetime=lifetime)


@transfers.post(
    "/{transfer_id}/accept",
    response_model=TicketRead,
    stores_response=False,  # the answer has the ticket's code, and a repeat changes nothing
    errors=[TransferNotFound, TransferExpired, TransferEnded, TicketUsed, TicketCancelled, AccountUnknown],
)
async def accept_ticket(
    transfer_id: TransferId, caller: SignedIn, work: Work, keys: Keys, context: Context
) -> SignedTicket:
    """Accept a ticket that was offered to the caller's email address. Its old code is revoked."""
    ticket = await service.accept(work, transfer_id, caller)
    await work.flush()
    return (await service.sign_tickets(work, keys, [ticket], prefix=context.system.prefix))[0]


@transfers.delete("/{transfer_id}", status_code=204, errors=[TransferNotFound, TransferEnded, AccountUnknown])
async def withdraw_transfer(transfer_id: TransferId, caller: SignedIn, work: Work) -> None:
    """Withdraw an offer that the caller made, or decline one that was made to the caller's address."""
    await service.withdraw(work, transfer_id, caller)


async def _signed(reader: Reader, keys: TicketKeys, found: Slice[Ticket], context: Context) -> Slice[SignedTicket]:
    rows = await service.sign_tickets(reader, keys, found.rows, prefix=context.system.prefix)
    return found.with_rows(rows)
