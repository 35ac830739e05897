"""Use cases of tickets: issue, void, transfer."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from portico.contracts.bookings import (
    TicketCancelled,
    TicketId,
    TicketIssued,
    TicketTransferred,
    TransferId,
    TransferOffered,
)
from portico.kit import Principal, Reader, UnitOfWork
from portico.services.bookings.models import Booking
from portico.services.bookings.tickets.domain import Serial, fold_email, new_serial
from portico.services.bookings.tickets.errors import (
    AccountUnknown,
    OwnAddress,
    TicketNotFound,
    TooManyTransfers,
    TransferEnded,
    TransferNotFound,
    TransferPending,
)
from portico.services.bookings.tickets.models import Ticket, Transfer
from portico.services.bookings.tickets.repository import Holders, Tickets, Transfers
from portico.services.bookings.tickets.signing_keys import TicketKeys

MAX_OFFERS: Final = 5
OFFER_WINDOW: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SignedTicket:
    """A ticket with its holder's name and its code, which is signed on each read and never stored.

    qr: path of the code's QR code.
    """

    row: Ticket
    holder_name: str | None
    code: str
    qr: str

    @property
    def revision(self) -> int:
        """The ticket's revision."""
        return self.row.revision

    def __getattr__(self, name: str) -> Any:
        return getattr(self.row, name)


async def issue(work: UnitOfWork, booking: Booking) -> Sequence[Ticket]:
    """Issue a ticket for each place of a booking, and return all of them. A repeat issues none.

    The caller has locked the booking.
    """
    issued = await Tickets(work).of_booking(booking.booking_id)
    known = {ticket.place for ticket in issued}
    missing = [
        Ticket(
            booking_id=booking.booking_id,
            place=number,
            event_id=booking.event_id,
            user_id=booking.user_id,
            section=place["section"],
            seat_id=place["seat_id"],
            serial=new_serial(),
            status="VALID",
            price_minor=place["price_minor"],
            created_at=work.now,
            updated_at=work.now,
        )
        for number, place in enumerate(booking.places)
        if number not in known
    ]
    work.add_all(missing)
    for ticket in missing:
        work.publish(ticket.to_event(TicketIssued))
    return [*issued, *missing]


async def void(
    work: UnitOfWork, booking: Booking, ticket_ids: Collection[TicketId] | None = None, *, is_final: bool = False
) -> Sequence[Ticket]:
    """Void tickets of a booking and revoke their codes. Return those that were not void before.

    Args:
        work: the caller has locked the booking in it.
        booking: the booking.
        ticket_ids: which tickets; all if None.
        is_final: whether used and transferred tickets are voided too, because the show is cancelled.

    Raises:
        TicketNotFound: the booking does not have one of these tickets.
        TicketUsed: one was used. Nothing is voided.
        TicketTransferred: another person holds one. Nothing is voided.
    """
    tickets = {ticket.ticket_id: ticket for ticket in await Tickets(work).of_booking(booking.booking_id, lock=True)}
    for ticket_id in ticket_ids or ():
        if ticket_id not in tickets:
            raise TicketNotFound(ticket_id=ticket_id)
    live = [
        ticket
        for ticket_id, ticket in tickets.items()
        if ticket.status != "CANCELLED" and (ticket_ids is None or ticket_id in ticket_ids)
    ]
    if not is_final:
        for ticket in live:
            ticket.ensure_buyer_can_cancel()
    for ticket in live:
        work.add(ticket.cancel(now=work.now))
        holder_id = None if ticket.user_id == booking.user_id else ticket.user_id
        work.publish(ticket.to_event(TicketCancelled, holder_id=holder_id))
    for transfer in await Transfers(work).pending([ticket.ticket_id for ticket in live]):
        transfer.withdraw(now=work.now)
    return live


async def offer(work: UnitOfWork, ticket_id: TicketId, caller: Principal, *, email: str, lifetime: float) -> Transfer:
    """Offer a ticket that the caller holds to the owner of an email address, for `lifetime` seconds.

    Raises:
        TicketNotFound: the caller does not hold the ticket.
        TicketUsed, TicketCancelled: it cannot be used any more.
        TransferPending: it is already offered.
        OwnAddress: the address is the caller's.
        TooManyTransfers: it was offered MAX_OFFERS times within OFFER_WINDOW.
    """
    ticket = await Tickets(work).get(ticket_id, lock=True)
    if ticket.user_id != caller.user_id:
        raise TicketNotFound(ticket_id=ticket_id)
    ticket.ensure_can_be_offered()
    holder = await Holders(work).find(caller.user_id)
    if holder is not None and holder.email_key == fold_email(email):
        raise OwnAddress
    for earlier in await Transfers(work).pending([ticket_id]):
        if earlier.is_open(work.now):
            raise TransferPending(ticket_id=ticket_id, transfer_id=earlier.transfer_id)
        earlier.withdraw(now=work.now)
    await _ensure_not_offered_too_often(work, ticket_id)
    transfer = Transfer(
        ticket_id=ticket_id,
        from_user_id=caller.user_id,
        email=email.strip(),
        status="PENDING",
        expires_at=work.now + timedelta(seconds=lifetime),
        created_at=work.now,
    )
    work.add(transfer)
    work.publish(
        ticket.to_event(
            TransferOffered,
            transfer_id=transfer.transfer_id,
            email=transfer.email,
            from_name=None if holder is None else holder.name,
            expires_at=transfer.expires_at,
        )
    )
    return transfer


async def accept(work: UnitOfWork, transfer_id: TransferId, caller: Principal) -> Ticket:
    """Give the offered ticket to the caller under a new code. A repeat changes nothing.

    Raises:
        TransferNotFound: there is none for the caller's address.
        TransferExpired, TransferEnded: it cannot be accepted any more.
        TicketUsed, TicketCancelled: the ticket cannot be used any more.
        AccountUnknown: the caller's address is not known yet.
    """
    transfer = await Transfers(work).get(transfer_id)
    await _ensure_is_for(work, transfer, caller)
    ticket = await Tickets(work).get(transfer.ticket_id, lock=True)
    transfer = await Transfers(work).get(transfer_id, lock=True)
    if transfer.status == "ACCEPTED" and ticket.user_id == transfer.to_user_id == caller.user_id:
        return ticket
    transfer.ensure_open(work.now)
    ticket.ensure_can_be_offered()
    transfer.accept(caller.user_id, now=work.now)
    work.add(ticket.hand_over(caller.user_id, now=work.now))
    work.publish(ticket.to_event(TicketTransferred))
    return ticket


async def withdraw(work: UnitOfWork, transfer_id: TransferId, caller: Principal) -> None:
    """End an offer, as who made it or as who got it. A repeat changes nothing.

    Raises:
        TransferNotFound: the caller neither made it nor got it.
        TransferEnded: it was accepted.
    """
    transfer = await Transfers(work).get(transfer_id)
    if transfer.from_user_id != caller.user_id:
        await _ensure_is_for(work, transfer, caller)
    await Tickets(work).get(transfer.ticket_id, lock=True)
    transfer = await Transfers(work).get(transfer_id, lock=True)
    if transfer.status == "ACCEPTED":
        raise TransferEnded(transfer_id=transfer_id, current=transfer.status)
    transfer.withdraw(now=work.now)


async def sign_tickets(
    reader: Reader, keys: TicketKeys, tickets: Sequence[Ticket], *, prefix: str
) -> list[SignedTicket]:
    """Return tickets with their codes and their holders' names. `prefix` is that of the system's paths."""
    names = await Holders(reader).names(ticket.user_id for ticket in tickets)
    codes = await keys.sign([(ticket.event_id, Serial(ticket.serial)) for ticket in tickets])
    return [
        SignedTicket(ticket, names.get(ticket.user_id), code, f"{prefix}/tickets/{ticket.ticket_id}/qr")
        for ticket, code in zip(tickets, codes, strict=True)
    ]


async def _ensure_not_offered_too_often(work: UnitOfWork, ticket_id: TicketId) -> None:
    offered = await Transfers(work).created_since(ticket_id, work.now - OFFER_WINDOW)
    if len(offered) >= MAX_OFFERS:
        raise TooManyTransfers(retry_after=(offered[-MAX_OFFERS] + OFFER_WINDOW - work.now).total_seconds())


async def _ensure_is_for(reader: Reader, transfer: Transfer, caller: Principal) -> None:
    holder = await Holders(reader).find(caller.user_id)
    if holder is None:
        raise AccountUnknown
    if holder.email_key != fold_email(transfer.email):
        raise TransferNotFound(transfer_id=transfer.transfer_id)
