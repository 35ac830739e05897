"""SQL of tickets, their keys, revoked codes, transfers and holders. A ticket is locked before its transfers."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, bindparam, delete, func, select, true, update

from portico.contracts.bookings import BookingId, SoldPlace, TicketId
from portico.contracts.events import ShowId
from portico.kit import Principal, Reader, Repository, UnitOfWork, UserId
from portico.kit.data import Statement, insert_if_absent, newest_first
from portico.services.bookings.models import Booking
from portico.services.bookings.repository import READ_ALL
from portico.services.bookings.tickets.errors import TicketNotFound, TransferNotFound
from portico.services.bookings.tickets.models import Holder, RevokedCode, Ticket, TicketKey, Transfer

_HOLDERS: Any = Holder.__table__
_KEYS: Any = TicketKey.__table__
_B: Any = Booking.__table__.c
_TICKETS: Any = Ticket.__table__
_T = _TICKETS.c
_TRANSFERS: Any = Transfer.__table__

_MAX_DELETED: Final = 1000  # transfers in one statement

# Statements of the hot path: a check-in at the doors.
_USE = Statement(
    update(_TICKETS)
    .where(_T.serial == bindparam("of_serial"), _T.status == "VALID")
    .values(status="USED", checked_in_at=bindparam("at"), updated_at=bindparam("now"), revision=_T.revision + 1)
)
_USED = Statement(
    select(_T.ticket_id, _T.booking_id, _T.event_id, _T.section, _T.seat_id, _HOLDERS.c.name.label("holder_name"))
    .outerjoin(_HOLDERS, _HOLDERS.c.user_id == _T.user_id)
    .where(_T.serial == bindparam("of_serial"))
)


class TicketKeyRows:
    """The keys that sign ticket codes."""

    def __init__(self, source: Reader) -> None:
        self.source = source

    async def all(self) -> Sequence[TicketKey]:
        """Return all keys, oldest first."""
        return await self.source.all(select(TicketKey).order_by(TicketKey.number))

    async def last_number(self) -> int:
        """Return the number of the newest key; 0 if there is none."""
        found: int | None = (await self.source.execute(select(func.max(_KEYS.c.number)))).scalar_one()
        return found or 0


async def insert_key(work: UnitOfWork, values: Mapping[str, Any]) -> None:
    """Insert a ticket key unless its number is taken."""
    await insert_if_absent(work, _KEYS, dict(values))


class Tickets(Repository[Ticket]):
    model, not_found, order = Ticket, TicketNotFound, newest_first(Ticket.ticket_id)

    def visible_to(self, caller: Principal) -> ColumnElement[bool]:
        """Return the condition for the tickets that `caller` may see: all with `bookings:read`, otherwise its own."""
        return true() if caller.may(READ_ALL) else Ticket.user_id == caller.subject

    async def of_booking(self, booking_id: BookingId, *, lock: bool = False) -> Sequence[Ticket]:
        """Return the tickets of a booking in the order of its places."""
        statement: Select[Any] = select(Ticket).where(Ticket.booking_id == booking_id).order_by(Ticket.place)
        return await self.source.all(_locking(statement) if lock else statement)

    async def lock_by_serial(self, serials: Collection[str]) -> dict[str, Ticket]:
        """Return the tickets whose current codes have these serials, locked."""
        statement: Select[Any] = select(Ticket).where(Ticket.serial.in_(serials)).order_by(Ticket.ticket_id)
        return {row.serial: row for row in await self.source.all(_locking(statement))}

    async def by_id(self, ticket_ids: Collection[TicketId]) -> dict[TicketId, Ticket]:
        """Return these tickets."""
        statement: Select[Any] = select(Ticket).where(Ticket.ticket_id.in_(ticket_ids))
        return {row.ticket_id: row for row in await self.source.all(statement)}

    async def sold_places(self, event_id: ShowId, after: TicketId | None, limit: int) -> list[SoldPlace]:
        """Return the live tickets of a show by id."""
        statement = (
            select(_T.ticket_id, _T.booking_id, _B.hold_id, _T.section, _T.seat_id)
            .join(Booking.__table__, _B.booking_id == _T.booking_id)
            .where(_T.event_id == event_id, _T.status != "CANCELLED")
            .order_by(_T.ticket_id)
            .limit(limit)
        )
        if after is not None:
            statement = statement.where(_T.ticket_id > after)
        return [SoldPlace.model_validate(row._asdict()) for row in await self.source.rows(statement)]


async def use_ticket(work: UnitOfWork, serial: str, *, at: datetime) -> Any | None:
    """Mark a valid ticket as used at the moment `at`. Return its ids, its place and `holder_name`, or None if it is not valid.

    Of two transactions that use a ticket, the second waits for the first and then finds it used.
    """
    values = {"of_serial": serial}
    if not await work.write(_USE, {**values, "at": at, "now": work.now}):
        return None
    (row,) = await work.rows(_USED, values)
    return row


class RevokedCodes:
    """The serials of revoked codes."""

    def __init__(self, source: Reader) -> None:
        self.source = source

    async def known(self, serials: Collection[str]) -> set[str]:
        """Return those of `serials` that are revoked."""
        statement: Select[Any] = select(RevokedCode.serial).where(RevokedCode.serial.in_(serials))
        return set(await self.source.all(statement))

    async def since(self, event_id: ShowId, since: datetime | None, limit: int) -> Sequence[RevokedCode]:
        """Return the codes of a show that were revoked at or after `since`, oldest first."""
        statement: Select[Any] = select(RevokedCode).where(RevokedCode.event_id == event_id)
        if since is not None:
            statement = statement.where(RevokedCode.revoked_at >= since)
        return await self.source.all(statement.order_by(RevokedCode.revoked_at, RevokedCode.serial).limit(limit))


class Transfers(Repository[Transfer]):
    model, not_found, order = Transfer, TransferNotFound, newest_first(Transfer.transfer_id)

    async def pending(self, ticket_ids: Collection[TicketId]) -> Sequence[Transfer]:
        """Return the pending transfers of these tickets, locked, also expired ones."""
        statement: Select[Any] = select(Transfer).where(
            Transfer.ticket_id.in_(ticket_ids), Transfer.status == "PENDING"
        )
        return await self.work.all(_locking(statement.order_by(Transfer.transfer_id)))

    async def created_since(self, ticket_id: TicketId, since: datetime) -> Sequence[datetime]:
        """Return when the ticket was offered after this moment, oldest first."""
        created = _TRANSFERS.c.created_at
        statement = select(created).where(_TRANSFERS.c.ticket_id == ticket_id, created > since).order_by(created)
        return [row.created_at for row in await self.source.rows(statement)]


async def delete_transfers(work: UnitOfWork, *, before: datetime) -> bool:
    """Delete transfers that expired before this moment. Return whether there may be more."""
    statement = select(_TRANSFERS.c.transfer_id).where(_TRANSFERS.c.expires_at < before).limit(_MAX_DELETED)
    found = [row.transfer_id for row in await work.rows(statement)]
    if found:
        await work.execute(delete(_TRANSFERS).where(_TRANSFERS.c.transfer_id.in_(found)))
    return len(found) == _MAX_DELETED


class Holders:
    """Names and addresses of users."""

    def __init__(self, source: Reader) -> None:
        self.source = source

    async def find(self, user_id: UserId) -> Holder | None:
        """Return the user, or None if identity's event was not delivered yet."""
        return await self.source.get(Holder, user_id)

    async def names(self, user_ids: Iterable[UserId]) -> dict[UserId, str | None]:
        """Return the names of these users, as far as they are known."""
        wanted = set(user_ids)
        if not wanted:
            return {}
        statement = select(_HOLDERS.c.user_id, _HOLDERS.c.name).where(_HOLDERS.c.user_id.in_(wanted))
        return {row.user_id: row.name for row in await self.source.rows(statement)}


async def save_holder(work: UnitOfWork, user_id: UserId, *, name: str, email_key: str) -> None:
    """Store a user's name and address."""
    values = {"name": name, "email_key": email_key}
    if not await insert_if_absent(work, _HOLDERS, {"user_id": user_id, **values}):
        await work.execute(update(_HOLDERS).where(_HOLDERS.c.user_id == user_id).values(values))


async def delete_holder(work: UnitOfWork, user_id: UserId) -> None:
    """Delete a user's name and address."""
    await work.execute(delete(_HOLDERS).where(_HOLDERS.c.user_id == user_id))


def _locking(statement: Select[Any]) -> Select[Any]:
    return statement.with_for_update().execution_options(populate_existing=True)
