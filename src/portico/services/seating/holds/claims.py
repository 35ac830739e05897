"""Rules of holds that are being paid: a booking claims a hold, sells it or gives it back, and returns sold places."""

from collections.abc import Iterable
from datetime import timedelta
from typing import NamedTuple

from portico.contracts.bookings import BookingId
from portico.contracts.seating import HoldId, SeatsReleased, SeatsSold
from portico.kit import UserId
from portico.services.seating.errors import EventCancelled, HoldExpired, HoldInUse, HoldLost, HoldUsed
from portico.services.seating.holds.batch import HoldBatch
from portico.services.seating.holds.domain import HeldPlace, Hold


class SoldPlaceKey(NamedTuple):
    """A sold place: a seat by its id, or any place of a standing section by the section's name."""

    seat_id: str | None = None
    section: str | None = None


def claim(batch: HoldBatch, hold_id: HoldId, *, booking_id: BookingId, user_id: UserId) -> Hold:
    """Claim an active hold for a booking. A repeated call changes nothing.

    A claim that arrives after its booking has given the hold back is refused: nothing would end it.

    Raises:
        HoldNotFound: the user has no such hold.
        HoldExpired: its time is over, or it was given back.
        HoldLost: this booking has given it back.
        HoldInUse: another booking has claimed it.
        HoldUsed: its places are sold to another booking.
    """
    hold = batch.of_user(batch.get(hold_id), user_id)
    if hold.has_ended(batch.now):
        raise HoldExpired(hold_id=hold_id)
    if _given_back(booking_id) in hold.return_keys:
        raise HoldLost(hold_id=hold_id, booking_id=booking_id)
    if hold.status == "ACTIVE":
        hold.booking_id = booking_id
        hold.change_to("CLAIMED")
    elif hold.booking_id != booking_id:
        if hold.status == "SOLD":
            raise HoldUsed(hold_id=hold_id, booking_id=str(hold.booking_id))
        raise HoldInUse(hold_id=hold_id)
    return hold


def release_claim(batch: HoldBatch, hold_id: HoldId, *, booking_id: BookingId, keep: bool, grace: timedelta) -> Hold:
    """Give a claimed hold back: to its user for `grace` at least (`keep`), or to the public.

    A hold that this booking does not claim stays as it is, and the booking cannot claim it any more.

    Raises:
        HoldNotFound: there is no such hold.
        HoldUsed: its places are sold.
    """
    hold = batch.get(hold_id)
    if hold.status == "SOLD":
        raise HoldUsed(hold_id=hold_id, booking_id=str(hold.booking_id))
    if _given_back(booking_id) not in hold.return_keys:
        hold.return_keys = [*hold.return_keys, _given_back(booking_id)]
        hold.changed = True
    if hold.status != "CLAIMED" or hold.booking_id != booking_id:
        return hold
    if not keep or batch.show.is_closed or batch.show.status == "CANCELLED":
        batch.end(hold, "RELEASED", reason="given back")
        return hold
    hold.booking_id = None
    hold.expires_at = max(hold.expires_at, batch.now + grace)
    hold.change_to("ACTIVE")
    return hold


def sell(batch: HoldBatch, hold_id: HoldId, *, booking_id: BookingId) -> Hold:
    """Mark the places of a claimed hold as sold. A repeated call changes nothing.

    Raises:
        HoldNotFound: there is no such hold.
        HoldLost: the booking does not claim it.
        EventCancelled: the show was cancelled.
    """
    hold = batch.get(hold_id)
    if hold.booking_id != booking_id or hold.status not in {"CLAIMED", "SOLD"}:
        raise HoldLost(hold_id=hold_id, booking_id=booking_id)
    if hold.status == "CLAIMED":
        if batch.show.is_closed or batch.show.status == "CANCELLED":
            raise EventCancelled(event_id=batch.show.show_id)
        batch.show.move(batch.selection(hold.places), "H", "S", hold_id=hold_id, reason="sold")
        hold.change_to("SOLD")
        batch.publish(SeatsSold, hold, hold.places)
    return hold


def return_places(
    batch: HoldBatch, hold_id: HoldId, *, booking_id: BookingId, key: str, places: Iterable[SoldPlaceKey]
) -> Hold:
    """Return sold places of a booking, once per `key`. Places that are not sold to it are ignored. Raises HoldNotFound."""
    hold = batch.get(hold_id)
    if hold.status != "SOLD" or hold.booking_id != booking_id or key in hold.return_keys:
        return hold
    sold = list(hold.places)
    returned: list[HeldPlace] = []
    for each in places:
        for index, place in enumerate(sold):
            if not place.is_returned and _is_named(place, each):
                returned.append(place)
                sold[index] = place._replace(is_returned=True)
                break
    hold.places, hold.return_keys = sold, [*hold.return_keys, key]
    hold.change_to("SOLD")
    if returned:
        batch.show.move(batch.selection(returned), "S", "F", hold_id=hold_id, reason="returned")
        batch.give_back_code(hold, len(returned))
        batch.publish(SeatsReleased, hold, returned)
    return hold


def _given_back(booking_id: BookingId) -> str:
    """Return the key that notes that a booking has given the hold back."""
    return f"given back by {booking_id}"


def _is_named(place: HeldPlace, key: SoldPlaceKey) -> bool:
    if place.seat_id is None:
        return key.seat_id is None and key.section == place.section
    return key.seat_id == place.seat_id
