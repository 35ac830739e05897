"""Offers: places that come free are held for the oldest party in the waiting list that they suffice for."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from portico.contracts.events import ShowStatus
from portico.contracts.seating import HoldId, WaitlistEvent, WaitlistLapsed, WaitlistOffered
from portico.kit import ServiceContext, UnitOfWork
from portico.services.seating.errors import SeatLimitReached
from portico.services.seating.hall.choice import count_choosable
from portico.services.seating.holds.batch import HoldBatch
from portico.services.seating.holds.domain import ENDED, Hold, Usage
from portico.services.seating.holds.locked_show import LockedShow
from portico.services.seating.holds.repository import load_usage
from portico.services.seating.settings import SeatingSettings
from portico.services.seating.waitlist.repository import change_status, mark_offered, waiting_entries

_OFFERING: Final = frozenset[ShowStatus]({"ON_SALE", "SOLD_OUT"})
_PAGE: Final = 100  # entries read at once


class Offers:
    """Makes and closes the offers of a show, in the transaction of the changes that cause them.

    Args:
        lasting: how long an offer is valid.
        max_seats: how many places of a show one user may have, unless the show has its own limit.
    """

    def __init__(self, *, lasting: timedelta, max_seats: int) -> None:
        self._lasting = lasting
        self.max_seats = max_seats

    async def offer_freed_places(self, work: UnitOfWork, batch: HoldBatch) -> None:
        """Hold the free places for waiting parties, the oldest first. A party that wants more places keeps its place.

        Nothing is offered outside the sale, or while an administrator has set the show to SOLD_OUT. A party is also passed over
        if its user would have too many places.
        """
        batch.show.has_freed = False
        if not accepts_offers(batch.show, batch.now):
            return
        last, available = 0, count_choosable(batch.show.places)
        while available:
            entries = await waiting_entries(work, batch.show.show_id, after=last, max_quantity=available, limit=_PAGE)
            if not entries:
                return
            last = entries[-1].number
            missing = {each.user_id for each in entries} - batch.usage.keys()
            batch.usage |= dict.fromkeys(missing, Usage()) | await load_usage(work, batch.show.show_id, missing)
            for entry in entries:
                if entry.quantity <= available and await self._offer(work, batch, entry):
                    available -= entry.quantity

    async def _offer(self, work: UnitOfWork, batch: HoldBatch, entry: Any) -> bool:
        try:
            batch.check_limit(entry.user_id, entry.quantity)
        except SeatLimitReached:
            return False
        hold = batch.offer(HoldId.new(), entry.entry_id, entry.user_id, entry.quantity, lasting=self._lasting)
        await mark_offered(work, entry.entry_id, hold.hold_id)
        batch.events.append(_event(WaitlistOffered, hold))
        return True

    async def close_offers(self, work: UnitOfWork, offers: Iterable[Hold]) -> None:
        """Store that offers are booked or have lapsed, for those whose holds are sold or have ended."""
        for hold in offers:
            if hold.entry_id is None:
                continue
            if hold.status == "SOLD":
                await change_status(work, hold.entry_id, "OFFERED", "BOOKED")
            elif hold.status in ENDED and await change_status(work, hold.entry_id, "OFFERED", "LAPSED"):
                work.publish(_event(WaitlistLapsed, hold))


def accepts_offers(show: LockedShow, now: datetime) -> bool:
    """Return whether free places of the show are offered to its waiting list now."""
    return not show.is_closed and show.status in _OFFERING and not show.sold_out_by_hand and show.is_open_at(now)


def offers_of(context: ServiceContext) -> Offers:
    """Return what makes the offers of the service."""
    settings = context.settings_of(SeatingSettings)
    return Offers(lasting=timedelta(seconds=settings.waitlist_offer_expires_in), max_seats=settings.max_seats_per_user)


def _event(kind: type[WaitlistEvent], hold: Hold) -> WaitlistEvent:
    if hold.entry_id is None:
        raise ValueError(f"Hold {hold.hold_id} is no offer")
    return kind(
        entry_id=hold.entry_id,
        event_id=hold.show_id,
        user_id=hold.user_id,
        hold_id=hold.hold_id,
        quantity=hold.quantity,
        expires_at=hold.expires_at,
    )
