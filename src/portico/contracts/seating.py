"""The client and the events of seating: places of a show, holds, the waiting list."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from portico.contracts.events import SectionPlan, ShowId
from portico.kit import Client, Event, Identifier, Money, Summary, UserId
from portico.kit.foundation import json_number

_MAX_SHOWS = 100  # shows in one request


class HoldId(Identifier, prefix="hold"):
    """Id of a hold."""


class WaitlistEntryId(Identifier, prefix="wait"):
    """Id of an entry in the waiting list."""


class QueueId(Identifier, prefix="queue"):
    """Id of a place in a waiting room."""


HoldStatus = Literal["ACTIVE", "CLAIMED", "SOLD", "RELEASED", "EXPIRED"]


class SeatsEvent(Event):
    """Base of the events about the places of one hold. `seats` is empty for standing sections."""

    event_id: ShowId
    hold_id: HoldId
    user_id: UserId
    quantity: int
    seats: tuple[str, ...]


class SeatsHeld(SeatsEvent, type="seats.held", version=1, aggregate="hold_id"):
    """Places are held for a user."""


class SeatsReleased(SeatsEvent, type="seats.released", version=1, aggregate="hold_id"):
    """Places of a hold or of a cancelled booking are free again, or offered to the waiting list."""


class SeatsSold(SeatsEvent, type="seats.sold", version=1, aggregate="hold_id"):
    """The places of a hold are sold."""


class SalesExhausted(Event, type="seats.exhausted", version=1, aggregate="event_id"):
    """Every place of the show that is not blocked is sold. `number` increases with each change between the two states."""

    event_id: ShowId
    number: int


class SalesResumed(Event, type="seats.returned", version=1, aggregate="event_id"):
    """Places of an exhausted show are free to the public again: the waiting list left them."""

    event_id: ShowId
    number: int


class WaitlistEvent(Event):
    """Base of the events about an offer of `quantity` places to a user in the waiting list."""

    entry_id: WaitlistEntryId
    event_id: ShowId
    user_id: UserId
    hold_id: HoldId
    quantity: int
    expires_at: datetime


class WaitlistOffered(WaitlistEvent, type="waitlist.offered", version=1, aggregate="entry_id"):
    """Places are held for a user in the waiting list until `expires_at`."""


class WaitlistLapsed(WaitlistEvent, type="waitlist.lapsed", version=1, aggregate="entry_id"):
    """An offer ended without a booking."""


class HeldSeat(Summary):
    """A place of a hold. `seat_id`, `row` and `number` are None in a standing section."""

    seat_id: str | None = None
    section: str
    row: str | None = None
    number: int | None = None
    price: Decimal


class HoldSummary(Summary):
    """A hold as other services see it. `places` has the price of every place, also of standing ones, after discounts.

    booking_id: the booking that claimed it or that it was sold to.
    """

    hold_id: HoldId
    event_id: ShowId
    user_id: UserId
    status: HoldStatus
    quantity: int
    places: tuple[HeldSeat, ...]
    amount: Decimal
    discount: Decimal
    currency: str
    expires_at: datetime
    booking_id: str | None = None


class Availability(Summary):
    """Number of places of a show that are available (not held, sold or blocked), and number of held or sold places."""

    event_id: ShowId
    available: int
    used: int


class SeatingClient(Client, service="seating"):
    """Take holds for users, claim and sell them, return places. Calls that change data are idempotent."""

    async def availability(self, event_ids: Iterable[ShowId]) -> dict[ShowId, Availability]:
        """Return the availability of these shows. Unknown ones are left out."""
        wanted = list(dict.fromkeys(event_ids))
        found: dict[ShowId, Availability] = {}
        for start in range(0, len(wanted), _MAX_SHOWS):
            params = {"event_id": wanted[start : start + _MAX_SHOWS]}
            answer = await self.get("/inventory/availability", params=params, answer=list[Availability])
            found.update((each.event_id, each) for each in answer)
        return found

    async def apply_layout(
        self, event_id: ShowId, sections: Sequence[SectionPlan], price: Money, *, revision: int
    ) -> Availability:
        """Replace the sections and prices of a show by those of its next revision. Used places must remain.

        Args:
            event_id: the show.
            sections: its sections.
            price: price of a place in a section without its own price, in the show's currency.
            revision: the next revision of the show.

        Raises:
            Refused: 409 `seats_in_use` if the new layout has fewer places than are held, sold or blocked;
                `currency_in_use` if the currency changes while places are held or sold.
        """
        body = {
            "sections": [each.model_dump(mode="json") for each in sections],
            "price": json_number(price.minor, price.currency),
            "currency": price.currency,
            "revision": revision,
        }
        return await self.put(f"/inventory/{event_id}/layout", json=body, answer=Availability)

    async def retire(self, event_id: ShowId, *, revision: int) -> None:
        """Close a show that is about to be deleted, so that no place can be held. Only a later revision reopens it.

        Raises:
            Refused: 409 `event_in_use` if a place is held or sold.
        """
        await self.delete(f"/inventory/{event_id}/layout", params={"revision": revision})

    async def take_hold(self, hold_id: HoldId, event_id: ShowId, user_id: UserId, **wanted: Any) -> HoldSummary:
        """Hold places for a user, with an id that the caller chose.

        Args:
            hold_id: the id of the new hold.
            event_id: the show.
            user_id: who gets the places.
            wanted: `quantity` with `section`, or `seats`; `code`; `admission`, the user's token of the waiting room.

        Raises:
            Refused: with the problem of `POST …/holds`; nothing is held.
        """
        body = {"user_id": user_id, **{name: value for name, value in wanted.items() if value is not None}}
        return await self.put(f"/inventory/{event_id}/holds/{hold_id}", json=body, answer=HoldSummary)

    async def hold(self, hold_id: HoldId, event_id: ShowId, *, user_id: UserId) -> HoldSummary:
        """Return a hold of this user. Raises Refused with 404 `hold_not_found` if there is none."""
        return await self.get(_path_of_user(event_id, user_id, hold_id), answer=HoldSummary)

    async def release(self, hold_id: HoldId, event_id: ShowId, *, user_id: UserId) -> None:
        """Release an active hold of this user. Its places become free.

        Raises:
            Refused: 409 `hold_in_use` while it is being paid; `hold_used` if its places are sold.
        """
        await self.delete(_path_of_user(event_id, user_id, hold_id))

    async def claim(self, hold_id: HoldId, event_id: ShowId, *, booking_id: str, user_id: UserId) -> HoldSummary:
        """Claim an active hold for a booking that is being paid. It does not expire until it is released or sold.

        Raises:
            Refused: 404 `hold_not_found` if this user has no such hold; 409 `hold_expired`, `hold_in_use`, `hold_used`.
        """
        return await self._claimed(event_id, hold_id, "claim", {"booking_id": booking_id, "user_id": user_id})

    async def release_claim(self, hold_id: HoldId, event_id: ShowId, *, booking_id: str, keep: bool) -> HoldSummary:
        """Release the claim: return the hold to its user for at least `HOLD_GRACE` (`keep`), or free its places."""
        return await self._claimed(event_id, hold_id, "release", {"booking_id": booking_id, "keep": keep})

    async def sell(self, hold_id: HoldId, event_id: ShowId, *, booking_id: str) -> HoldSummary:
        """Mark the places of a claimed hold as sold to the booking.

        Raises:
            Refused: 409 `hold_lost` if the hold is not claimed by this booking; 409 `event_cancelled`.
        """
        return await self._claimed(event_id, hold_id, "sale", {"booking_id": booking_id})

    async def return_places(
        self, hold_id: HoldId, event_id: ShowId, *, booking_id: str, key: str, places: Sequence[dict[str, Any]]
    ) -> None:
        """Return sold places of a booking, once per `key`.

        Args:
            hold_id: the hold that was sold.
            event_id: the show.
            booking_id: the booking that it was sold to.
            key: idempotency key of this return; a repeat with the same key changes nothing.
            places: each `{"seat_id": …}` or, in a standing section, `{"section": …}`.
        """
        body = {"booking_id": booking_id, "key": key, "places": list(places)}
        await self.put(f"/inventory/{event_id}/holds/{hold_id}/return", json=body, answer=HoldSummary)

    async def _claimed(self, event_id: ShowId, hold_id: HoldId, change: str, body: dict[str, Any]) -> HoldSummary:
        return await self.put(f"/inventory/{event_id}/holds/{hold_id}/{change}", json=body, answer=HoldSummary)


def _path_of_user(event_id: ShowId, user_id: UserId, hold_id: HoldId) -> str:
    return f"/inventory/{event_id}/users/{user_id}/holds/{hold_id}"
