"""Rules of holds: how a hold is taken, claimed, sold, given back and ended, within the places of one show."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from portico.contracts.seating import (
    HoldId,
    HoldStatus,
    SeatsEvent,
    SeatsHeld,
    SeatsReleased,
    WaitlistEntryId,
)
from portico.kit import Event, UserId
from portico.services.seating.codes.domain import Code, code_key
from portico.services.seating.errors import (
    CodeUnknown,
    EventNotFound,
    HoldInUse,
    HoldNotFound,
    HoldUsed,
    SaleClosed,
    SeatLimitReached,
    SoldOut,
)
from portico.services.seating.hall.choice import best_available, check_chosen
from portico.services.seating.hall.layout import Seat
from portico.services.seating.hall.places import Selection
from portico.services.seating.holds.domain import HeldPlace, Hold, Usage, Wanted
from portico.services.seating.holds.locked_show import LockedShow

CheckAdmission = Callable[[LockedShow, datetime], None]
"""Raises AdmissionRequired if a waiting room is on that did not admit the user."""


@dataclass(slots=True)
class HoldBatch:
    """A locked show, some of its holds, and the events of a batch of requests.

    Args:
        show: the show.
        holds: the holds that the requests name and that exist.
        usage: how many places the users have who want to take some.
        codes: the codes that the requests and the holds name and that exist.
        now: the time, in UTC.
    """

    show: LockedShow
    holds: dict[HoldId, Hold]
    usage: dict[UserId, Usage]
    codes: dict[str, Code]
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
            CodeUnknown, CodeNotValidNow, CodeExhausted: the code cannot be used.
            AdmissionRequired: the user is not admitted from the waiting room.
            SeatLimitReached: the user would have too many places.
            UnknownSeat, UnknownSection: there are no such places.
            SeatTaken, NotEnoughSeats, NoAdjacentSeats, AccessibleOnly, LeavesSingleSeat: the places cannot be held.
        """
        if hold_id in self.holds:
            return self.of_user(self.get(hold_id), user_id)
        code = self._check_sale(wanted)
        check_admission(self.show, self.now)
        self.check_limit(user_id, wanted.quantity)
        return self._add(hold_id, user_id, self._choose(wanted), lasting=lasting, code=code)

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
        code: Code | None = None,
    ) -> Hold:
        reason = "held" if entry_id is None else "offered"
        seats = self.show.move(selection, "F", "H", hold_id=hold_id, reason=reason)
        places = self._held_places(seats, selection.standing)
        discount = 0
        if code is not None:
            discounts = [code.discount.of(each.price) for each in places]
            places = [each._replace(price=each.price - off) for each, off in zip(places, discounts, strict=True)]
            discount = sum(discounts)
        hold = Hold(
            hold_id,
            self.show.show_id,
            user_id,
            "ACTIVE",
            places,
            discount=discount,
            currency=self.show.currency,
            is_adjacent=_is_adjacent(selection),
            expires_at=self.now + lasting,
            created_at=self.now,
            entry_id=entry_id,
            code_key=None if code is None else code.code_key,
            known=False,
            changed=True,
        )
        self.holds[hold_id] = hold
        usage = self.usage.get(user_id, Usage())
        self.usage[user_id] = Usage(usage.held + hold.quantity, usage.booked)
        if code is not None:
            code.count(hold.quantity)
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
        self.give_back_code(hold, hold.quantity)
        if (usage := self.usage.get(hold.user_id)) is not None:
            self.usage[hold.user_id] = usage._replace(held=usage.held - hold.quantity)
        self.publish(SeatsReleased, hold, hold.places)

    def set_blocked(self, *, seats: Sequence[str], blocked: bool) -> None:
        """Block free seats of the house, or free blocked ones: all or none.

        Raises:
            EventNotFound: the show was deleted.
            UnknownSeat: a seat does not exist.
            SeatTaken: a seat is held or sold.
        """
        show = self.show
        if show.is_closed:
            raise EventNotFound(event_id=show.show_id)
        indexes = show.places.layout.indexes_of(seats)
        if blocked:
            show.note(Selection(tuple(show.places.block(indexes))), "B", hold_id=None, reason="blocked")
        else:
            show.note(Selection(tuple(show.places.unblock(indexes))), "F", hold_id=None, reason="unblocked")

    def give_back_code(self, hold: Hold, quantity: int) -> None:
        """Count places of a hold no longer for its code, unless the code was deleted."""
        if hold.code_key is not None and (code := self.codes.get(hold.code_key)) is not None:
            code.count(-quantity)

    def _check_sale(self, wanted: Wanted) -> Code | None:
        """Check that places can be held now, and return the code."""
        show = self.show
        if show.is_closed:
            raise EventNotFound(event_id=show.show_id)
        if show.status == "SOLD_OUT":
            raise SoldOut(event_id=show.show_id)
        code = self._code(wanted)
        can_begin = show.status == "ON_SALE" and show.has_begun_at(self.now)
        if code is not None and code.kind == "PRESALE":
            can_begin = show.status in {"ON_SALE", "UPCOMING"}
        if not can_begin or self.now >= show.sale_ends_at:
            raise SaleClosed(event_status=show.status, opens_at=show.sale_starts_at, closes_at=show.sale_ends_at)
        return code

    def _code(self, wanted: Wanted) -> Code | None:
        if wanted.code is None:
            return None
        code = self.codes.get(code_key(wanted.code))
        if code is None:
            raise CodeUnknown(used_code=wanted.code)
        code.check(wanted.quantity, self.now)
        return code

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

    def _held_places(self, seats: Iterable[Seat], standing: Mapping[int, int]) -> list[HeldPlace]:
        sections, prices = self.show.places.layout.sections, self.show.prices
        places = []
        for seat in seats:
            number, name = seat.section.number, seat.section.name
            places.append(HeldPlace(seat.seat_id, number, name, seat.row, seat.number, prices[number - 1]))
        for number, quantity in standing.items():
            place = HeldPlace(None, number, sections[number - 1].name, None, None, prices[number - 1])
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
            kind.without_validation(
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
