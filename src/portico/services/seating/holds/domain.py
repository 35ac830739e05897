"""Rules of holds: how a hold is taken, claimed, sold, given back and ended, within the places of one show."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from portico.contracts.events import ShowId
from portico.contracts.seating import (
    HoldId,
    HoldStatus,
    SeatsEvent,
    SeatsHeld,
    SeatsReleased,
    WaitlistEntryId,
)
from portico.kit import Event, UserId
from portico.services.seating.errors import (
    EventNotFound,
    HoldInUse,
    HoldNotFound,
    HoldUsed,
    SaleClosed,
    SeatLimitReached,
    SoldOut,
)
from portico.services.seating.hall.choice import best_available, check_chosen
from portico.services.seating.hall.places import Selection
from portico.services.seating.holds.locked_show import LockedShow

HOLDING: Final = frozenset[HoldStatus]({"ACTIVE", "CLAIMED"})
ENDED: Final = frozenset[HoldStatus]({"RELEASED", "EXPIRED"})


CheckAdmission = Callable[[LockedShow, datetime], None]
"""Raises AdmissionRequired if a waiting room is on that did not admit the user."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The places that a user wants: a number of the best ones, or chosen seats."""

    quantity: int
    section: str | None = None
    together: bool = False
    accessible: bool = False
    seats: tuple[str, ...] = ()


class HeldPlace(NamedTuple):
    """A place of a hold. `seat_id`, `row` and `number` are None in a standing section. The price is in minor units."""

    seat_id: str | None
    section_number: int
    section: str
    row: str | None
    number: int | None
    price: int
    is_returned: bool = False


@dataclass(slots=True)
class Hold:
    """A hold: all of its places or none.

    `known` says whether it is stored already; `changed` whether it has to be written. `entry_id` is the entry in the
    waiting list that the hold is an offer to.
    """

    hold_id: HoldId
    show_id: ShowId
    user_id: UserId
    status: HoldStatus
    places: list[HeldPlace]
    discount: int
    currency: str
    is_adjacent: bool
    expires_at: datetime
    created_at: datetime
    booking_id: str | None = None
    return_keys: list[str] = field(default_factory=list)
    changes: int = 0
    entry_id: WaitlistEntryId | None = None
    known: bool = True
    changed: bool = False

    @property
    def quantity(self) -> int:
        return len(self.places)

    @property
    def amount(self) -> int:
        """What the places cost, in minor units."""
        return sum(each.price for each in self.places)

    @property
    def used(self) -> int:
        """The number of places that count towards the user's limit."""
        if self.status in ENDED:
            return 0
        return sum(not each.is_returned for each in self.places)

    @property
    def seat_ids(self) -> tuple[str, ...]:
        return tuple(each.seat_id for each in self.places if each.seat_id is not None)

    def has_ended(self, now: datetime) -> bool:
        """Return whether its time is over, also before its places are freed."""
        return self.status in ENDED or (self.status == "ACTIVE" and self.expires_at <= now)

    def status_at(self, now: datetime) -> HoldStatus:
        """Return the status that callers see: a hold whose time is over has expired."""
        return "EXPIRED" if self.status == "ACTIVE" and self.expires_at <= now else self.status

    def change_to(self, status: HoldStatus) -> None:
        self.status, self.changed = status, True
        self.changes += 1


class Usage(NamedTuple):
    """How many places of a show a user holds and has booked."""

    held: int = 0
    booked: int = 0


@dataclass(slots=True)
class HoldBatch:
    """A locked show, some of its holds, and the events of a batch of requests.

    Args:
        show: the show.
        holds: the holds that the requests name and that exist.
        usage: how many places the users have who want to take some.
        now: the time, in UTC.
    """

    show: LockedShow
    holds: dict[HoldId, Hold]
    usage: dict[UserId, Usage]
    now: datetime
    events: list[Event] = field(default_factory=list)

    def take(
        self, hold_id: HoldId, user_id: UserId, wanted: Wanted, *, lasting: timedelta, check_admission: CheckAdmission
    ) -> Hold:
        """Hold places for a user. A repeated call with the same id returns the hold as it is.

        Raises:
            EventNotFound: the show was deleted.
            HoldNotFound: the id belongs to another user's hold.
            SaleClosed, SoldOut: nothing can be held now.
            AdmissionRequired: the user is not admitted from the waiting room.
            SeatLimitReached: the user would have too many places.
            UnknownSeat, UnknownSection: there are no such places.
            SeatTaken, NotEnoughSeats, NoAdjacentSeats, AccessibleOnly, LeavesSingleSeat: the places cannot be held.
        """
        if hold_id in self.holds:
            return self.of_user(self.get(hold_id), user_id)
        self._check_sale()
        check_admission(self.show, self.now)
        self.check_limit(user_id, wanted.quantity)
        return self._add(hold_id, user_id, self._choose(wanted), lasting=lasting)

    def offer(
        self, hold_id: HoldId, entry_id: WaitlistEntryId, user_id: UserId, quantity: int, *, lasting: timedelta
    ) -> Hold:
        """Hold the best places for a user in the waiting list. The limit is checked by the caller.

        Raises:
            NotEnoughSeats: fewer places are free.
        """
        selection = best_available(self.show.places, quantity)
        return self._add(hold_id, user_id, selection, lasting=lasting, entry_id=entry_id)

    def _add(
        self,
        hold_id: HoldId,
        user_id: UserId,
        selection: Selection,
        *,
        lasting: timedelta,
        entry_id: WaitlistEntryId | None = None,
    ) -> Hold:
        self.show.move(selection, "F", "H", hold_id=hold_id, reason="held" if entry_id is None else "offered")
        hold = Hold(
            hold_id,
            self.show.show_id,
            user_id,
            "ACTIVE",
            self._held_places(selection),
            discount=0,
            currency=self.show.currency,
            is_adjacent=_is_adjacent(selection),
            expires_at=self.now + lasting,
            created_at=self.now,
            entry_id=entry_id,
            known=False,
            changed=True,
        )
        self.holds[hold_id] = hold
        usage = self.usage.get(user_id, Usage())
        self.usage[user_id] = usage._replace(held=usage.held + hold.quantity)
        self.publish(SeatsHeld, hold, hold.places)
        return hold

    def release(self, hold_id: HoldId, user_id: UserId) -> Hold:
        """Give the places of an active hold back. One that has ended stays as it is.

        Raises:
            HoldNotFound: the user has no such hold.
            HoldInUse: it is being paid.
            HoldUsed: its places are sold.
        """
        hold = self.of_user(self.get(hold_id), user_id)
        if hold.status == "CLAIMED":
            raise HoldInUse(hold_id=hold_id)
        if hold.status == "SOLD":
            raise HoldUsed(hold_id=hold_id, booking_id=str(hold.booking_id))
        if hold.status == "ACTIVE":
            self.end(hold, "RELEASED", reason="released")
        return hold

    def expire(self, hold_ids: Iterable[HoldId]) -> int:
        """Free the places of active holds whose time is over. Return how many holds ended."""
        is_cancelled = self.show.status == "CANCELLED"
        ended = 0
        for hold_id in hold_ids:
            hold = self.holds.get(hold_id)
            if hold is not None and hold.status == "ACTIVE" and hold.expires_at <= self.now:
                self.end(hold, *(("RELEASED", "cancelled") if is_cancelled else ("EXPIRED", "expired")))
                ended += 1
        return ended

    def end(self, hold: Hold, status: HoldStatus, reason: str) -> None:
        """Free the places of an active or claimed hold permanently."""
        self.show.move(self.selection(hold.places), "H", "F", hold_id=hold.hold_id, reason=reason)
        hold.change_to(status)
        if (usage := self.usage.get(hold.user_id)) is not None:
            self.usage[hold.user_id] = usage._replace(held=usage.held - hold.quantity)
        self.publish(SeatsReleased, hold, hold.places)

    def _check_sale(self) -> None:
        show = self.show
        if show.is_closed:
            raise EventNotFound(event_id=show.show_id)
        if show.status == "SOLD_OUT":
            raise SoldOut(event_id=show.show_id)
        if show.status != "ON_SALE" or not show.is_open_at(self.now):
            raise SaleClosed(event_status=show.status, opens_at=show.sale_starts_at, closes_at=show.sale_ends_at)

    def check_limit(self, user_id: UserId, quantity: int) -> None:
        """Raise SeatLimitReached if the user would have too many places with these."""
        usage = self.usage.get(user_id, Usage())
        if sum(usage) + quantity > self.show.max_seats:
            raise SeatLimitReached(limit=self.show.max_seats, held=usage.held, booked=usage.booked)

    def _choose(self, wanted: Wanted) -> Selection:
        places = self.show.places
        if wanted.seats:
            indexes = places.layout.indexes_of(wanted.seats)
            check_chosen(places, indexes, self.show.orphan_rule)
            return Selection(tuple(sorted(indexes)))
        section = None if wanted.section is None else places.layout.section(wanted.section)
        return best_available(
            places, wanted.quantity, section=section, together=wanted.together, accessible=wanted.accessible
        )

    def _held_places(self, selection: Selection) -> list[HeldPlace]:
        layout, prices = self.show.places.layout, self.show.prices
        places = []
        for index in selection.seats:
            seat = layout.seat(index)
            number, name = seat.section.number, seat.section.name
            places.append(HeldPlace(seat.seat_id, number, name, seat.row, seat.number, prices[number - 1]))
        for number, quantity in selection.standing.items():
            place = HeldPlace(None, number, layout.sections[number - 1].name, None, None, prices[number - 1])
            places.extend([place] * quantity)
        return places

    def selection(self, places: Iterable[HeldPlace]) -> Selection:
        """Return these places of a hold as a selection."""
        seats: list[str] = []
        standing: dict[int, int] = {}
        for each in places:
            if each.seat_id is None:
                standing[each.section_number] = standing.get(each.section_number, 0) + 1
            else:
                seats.append(each.seat_id)
        return Selection(tuple(self.show.places.layout.indexes_of(seats)), standing)

    def get(self, hold_id: HoldId) -> Hold:
        """Return a hold of the show. Raises HoldNotFound."""
        found = self.holds.get(hold_id)
        if found is None or found.show_id != self.show.show_id:
            raise HoldNotFound(hold_id=hold_id)
        return found

    def of_user(self, hold: Hold, user_id: UserId) -> Hold:
        """Return the hold if it is this user's. Raises HoldNotFound."""
        if hold.user_id != user_id:
            raise HoldNotFound(hold_id=hold.hold_id)
        return hold

    def publish(self, kind: type[SeatsEvent], hold: Hold, places: Sequence[HeldPlace]) -> None:
        """Publish an event about some places of a hold."""
        self.events.append(
            kind(
                event_id=hold.show_id,
                hold_id=hold.hold_id,
                user_id=hold.user_id,
                quantity=len(places),
                seats=tuple(each.seat_id for each in places if each.seat_id is not None),
            )
        )


def _is_adjacent(selection: Selection) -> bool:
    """Return whether the seats are side by side, or all places are in one standing section."""
    seats = selection.seats
    if selection.standing:
        return not seats and len(selection.standing) == 1
    return seats[-1] - seats[0] == len(seats) - 1
