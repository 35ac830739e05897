"""Use cases of the waiting list."""

from typing import Final

from portico.contracts.events import ShowId, ShowStatus
from portico.contracts.seating import WaitlistEntryId
from portico.kit import UnitOfWork, UserId
from portico.services.seating.errors import AlreadyWaiting, EventNotFound, SaleClosed, SeatsAvailable
from portico.services.seating.hall.choice import count_choosable
from portico.services.seating.holds.repository import load_holds
from portico.services.seating.holds.service import open_batch, save_batch
from portico.services.seating.waitlist.offers import Offers
from portico.services.seating.waitlist.repository import (
    ACTIVE,
    Entry,
    change_status,
    end_list,
    get_newest_entry,
    has_waiting,
    insert_entry,
    newest_entry,
)

_JOINABLE: Final = frozenset[ShowStatus]({"ON_SALE", "SOLD_OUT"})
_ENDED: Final = frozenset[ShowStatus]({"CANCELLED", "COMPLETED"})


async def join(work: UnitOfWork, show_id: ShowId, user_id: UserId, quantity: int, offers: Offers) -> Entry:
    """Add a user at the end of the waiting list of a show.

    Raises:
        EventNotFound: there is no such show.
        AlreadyWaiting: the user waits, or has an offer.
        SaleClosed: the sale is not open.
        SeatLimitReached: the user would have too many places.
        SeatsAvailable: the show is on sale and has as many places.
    """
    batch, version = await open_batch(work, show_id, max_seats=offers.max_seats, taker=user_id)
    show = batch.show
    if show.is_closed:
        raise EventNotFound(event_id=show_id)
    entry = await newest_entry(work, show_id, user_id)
    if entry is not None and entry.status in ACTIVE:
        raise AlreadyWaiting(entry_id=entry.entry_id)
    if show.status not in _JOINABLE or not show.is_open_at(work.now):
        raise SaleClosed(event_status=show.status, opens_at=show.sale_starts_at, closes_at=show.sale_ends_at)
    batch.check_limit(user_id, quantity)
    if show.status == "ON_SALE" and (available := count_choosable(show.places)) >= quantity:
        raise SeatsAvailable(available=available)
    await insert_entry(work, show_id, user_id, quantity, entry_id=WaitlistEntryId.new())
    await offers.offer_freed_places(work, batch)
    await save_batch(work, batch, version, offers)
    return await get_newest_entry(work, show_id, user_id)


async def leave(work: UnitOfWork, show_id: ShowId, user_id: UserId, offers: Offers) -> None:
    """Take a user off the waiting list of a show. An offer goes to the next party. Without an entry nothing changes.

    Raises:
        EventNotFound: there is no such show.
        HoldInUse: the offer is being paid.
    """
    batch, version = await open_batch(work, show_id, max_seats=offers.max_seats)
    # Read after the show is locked: until then, another change may make an offer or end it.
    entry = await newest_entry(work, show_id, user_id)
    if entry is None or entry.status not in ACTIVE:
        return
    if entry.hold_id is not None:
        batch.holds |= await load_holds(work, [entry.hold_id])
        batch.release(entry.hold_id, user_id)
    await change_status(work, entry.entry_id, entry.status, "LEFT")
    if batch.show.has_freed:
        await offers.offer_freed_places(work, batch)
    await save_batch(work, batch, version, offers)


async def follow_show(work: UnitOfWork, show_id: ShowId, offers: Offers) -> None:
    """Offer the places that a change of the show has brought. The waiting list of an ended show ends."""
    await work.flush()
    if not await has_waiting(work, show_id):
        return
    batch, version = await open_batch(work, show_id, max_seats=offers.max_seats)
    if batch.show.is_closed or batch.show.status in _ENDED:
        await end_list(work, show_id)
        return
    await offers.offer_freed_places(work, batch)
    await save_batch(work, batch, version, offers)
