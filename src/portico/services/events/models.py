"""Tables of events, and the rules on them. A show is what the API calls an event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Self

from sqlalchemy import BigInteger, Index, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, validates

from portico.contracts.events import OrphanRule, ShowEvent, ShowId, ShowStatus, WaitingRoomMode
from portico.kit import Money, TableRules, identifier, revision
from portico.kit.data import ExactText, LongText, Payload
from portico.kit.foundation import fold
from portico.services.events.domain import (
    ALL,
    COMPLETED_AFTER,
    ENDED,
    FULL_REFUND_FOR,
    MAX_NAME_LENGTH,
    MAX_WORDS_LENGTH,
    MAX_ZONE_LENGTH,
    Section,
    general_section,
    layout_fault,
    local_date,
    local_time,
    next_statuses,
    spaced_words,
)
from portico.services.events.errors import (
    IllegalTransition,
    LayoutInvalid,
    SaleWindowInvalid,
    SeatTotalDiffers,
    ShowEnded,
)


class Table(TableRules, DeclarativeBase):
    """Base of the tables of events."""


@dataclass(frozen=True, slots=True)
class Revision:
    """What a change of fields means for others.

    needs_seating: whether seating must accept it first, because it has new sections or a new currency.
    """

    needs_seating: bool
    is_rescheduled: bool


class Show(Table):
    """A show that is put on sale.

    `sale_ends_at` and `refundable_until` are None while they follow the date of the show. `local_date` is the date in the
    show's time zone; it, `category_key` and `venue_words` are for filters. `sold_out_by_hand` tells that an administrator set
    SOLD_OUT. `open_at` and `complete_at` are when the show becomes ON_SALE and COMPLETED by itself; None if it does not.
    `is_exhausted`: every place is sold, according to the message `exhausted_number` of seating.
    """

    __tablename__ = "shows"

    event_id: Mapped[ShowId] = identifier(autoincrement=False)
    event_name: Mapped[str] = mapped_column(String(MAX_NAME_LENGTH))
    event_date: Mapped[datetime]
    local_date: Mapped[str] = mapped_column(ExactText(10))
    venue_name: Mapped[str] = mapped_column(String(MAX_NAME_LENGTH))
    venue_words: Mapped[str] = mapped_column(ExactText(MAX_WORDS_LENGTH))
    time_zone: Mapped[str] = mapped_column(ExactText(MAX_ZONE_LENGTH))
    total_seats: Mapped[int]
    sections_data: Mapped[list[dict[str, Any]]] = mapped_column(Payload)
    status: Mapped[ShowStatus] = mapped_column(ExactText(12))
    sold_out_by_hand: Mapped[bool]
    sale_start_time: Mapped[datetime | None]
    sale_ends_at: Mapped[datetime | None]
    price_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(ExactText(3))
    description: Mapped[str | None] = mapped_column(LongText)
    category: Mapped[str | None] = mapped_column(String(MAX_NAME_LENGTH))
    category_key: Mapped[str | None] = mapped_column(ExactText(MAX_NAME_LENGTH))
    max_seats_per_user: Mapped[int | None]
    orphan_rule: Mapped[OrphanRule] = mapped_column(ExactText(10))
    waiting_room: Mapped[WaitingRoomMode] = mapped_column(ExactText(10))
    refundable_until: Mapped[datetime | None]
    refund_percent: Mapped[int]
    full_refund_until: Mapped[datetime | None]
    open_at: Mapped[datetime | None]
    complete_at: Mapped[datetime | None]
    is_exhausted: Mapped[bool]
    exhausted_number: Mapped[int]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    revision: Mapped[int] = revision()

    __table_args__ = (
        Index(None, "event_date", "event_id"),
        Index(None, "status", "event_date", "event_id"),
        Index(None, "category_key", "event_date", "event_id"),
        Index(None, "open_at"),
        Index(None, "complete_at"),
    )

    @classmethod
    def create(cls, now: datetime, **fields: Any) -> Self:
        """Return a new show.

        Args:
            now: the current time.
            fields: the fields of `POST /events`, with their defaults.

        Raises:
            LayoutInvalid, SeatTotalDiffers, SaleWindowInvalid, UnknownCurrency, TooPrecise
        """
        show = cls(
            sold_out_by_hand=False, full_refund_until=None, created_at=now, is_exhausted=False, exhausted_number=0
        )
        show.status = fields.pop("status")
        show.set_layout(fields.pop("sections"), fields.pop("total_seats"))
        show._set_fields(fields)
        show.record_change(now)
        show.set_available(ALL)
        return show

    def revise(self, changes: Mapping[str, Any], now: datetime) -> Revision | None:
        """Apply the fields of `changes` that differ, all or none. Return None if none does.

        A new date or venue reopens full refunds.

        Args:
            changes: fields of `PUT /events/{event_id}` without the status.
            now: the current time.

        Raises:
            ShowEnded, LayoutInvalid, SeatTotalDiffers, SaleWindowInvalid, UnknownCurrency, TooPrecise
        """
        fields = {**changes}
        layout = self._new_layout(fields.pop("sections", None), fields.pop("total_seats", None))
        fields = {name: value for name, value in fields.items() if getattr(self, _COLUMNS.get(name, name)) != value}
        if layout is None and not fields:
            return None
        if self.status in ENDED:
            raise ShowEnded(current=self.status)
        if layout is not None:
            self.set_layout(layout, changes.get("total_seats", sum(each.places for each in layout)))
        self._set_fields(fields)
        is_rescheduled = not fields.keys().isdisjoint({"event_date", "venue_name"})
        if is_rescheduled:
            # Cancellations are open until then, but those who did not come are not refunded in full.
            self.full_refund_until = min(now + FULL_REFUND_FOR, max(self.event_date, self.cancellable_until))
        self.record_change(now)
        needs_seating = layout is not None or "currency" in fields
        return Revision(needs_seating=needs_seating, is_rescheduled=is_rescheduled)

    def _new_layout(self, sections: Sequence[Section] | None, total_seats: int | None) -> Sequence[Section] | None:
        """Return the wanted sections if they differ. A number alone resizes the only section of a standing show."""
        if sections is None:
            if total_seats in {None, self.total_seats}:
                return None
            only = self.sections[0]
            is_resizable = len(self.sections_data) == 1 and only.capacity is not None
            return [replace(only, capacity=total_seats)] if is_resizable else self.sections
        if [each.data for each in sections] == self.sections_data and total_seats in {None, self.total_seats}:
            return None
        return sections

    def _set_fields(self, fields: Mapping[str, Any]) -> None:
        """Set fields and what follows from them. Raises SaleWindowInvalid, UnknownCurrency, TooPrecise."""
        for name, value in fields.items():
            if name not in {"price", "currency"}:
                setattr(self, _COLUMNS.get(name, name), value)
        self.set_prices(fields.get("price"), fields.get("currency"))
        self.set_times()

    @property
    def sections(self) -> list[Section]:
        """The sections, best first."""
        return [Section.of_data(each) for each in self.sections_data]

    @property
    def price(self) -> Decimal:
        """The price of a place in a section without a price of its own."""
        return Money(self.price_minor, self.currency).amount

    @property
    def sale_end_time(self) -> datetime:
        """When the sale ends."""
        return self.sale_ends_at or self.event_date

    @property
    def cancellable_until(self) -> datetime:
        """Until when buyers can cancel."""
        return self.refundable_until or self.event_date

    @property
    def local_time(self) -> str:
        """The date and time in the show's time zone, RFC 3339."""
        return local_time(self.event_date, self.time_zone)

    @property
    def available_seats(self) -> int | None:
        """How many places are neither held nor sold nor blocked; None if seating cannot tell. It is not stored here."""
        return self.__dict__.get("_available_seats")

    def set_available(self, available: int | None) -> None:
        """Set the number of available places; None if it is not known, ALL for all places."""
        self.__dict__["_available_seats"] = self.total_seats if available == ALL else available

    @property
    def related_revision(self) -> int:
        """A number that differs for each number of available places, which change without a new revision."""
        return 0 if self.available_seats is None else self.available_seats + 1

    @validates("category")
    def _set_category_key(self, _key: str, category: str | None) -> str | None:
        self.category_key = None if category is None else category_key(category)
        return category

    @validates("venue_name")
    def _set_venue_words(self, _key: str, venue_name: str) -> str:
        self.venue_words = spaced_words(venue_name)
        return venue_name

    def set_layout(self, sections: Sequence[Section] | None, total_seats: int) -> None:
        """Set the sections; None stands for one standing section. Raises LayoutInvalid, SeatTotalDiffers."""
        layout = [general_section(total_seats)] if sections is None else list(sections)
        if fault := layout_fault(layout):
            raise LayoutInvalid(reason=fault)
        places = sum(each.places for each in layout)
        if places != total_seats:
            raise SeatTotalDiffers(places=places, total_seats=total_seats)
        self.total_seats = total_seats
        self.sections_data = [each.data for each in layout]

    def set_prices(self, price: Decimal | None, currency: str | None) -> None:
        """Set the price and the currency; None keeps one. Raises UnknownCurrency, TooPrecise, also for a section's price."""
        money = Money.of(self.price if price is None else price, currency or self.currency)
        self.price_minor, self.currency = money.minor, money.currency
        for section in self.sections:
            if section.price is not None:
                Money.of(section.price, money.currency)

    def set_times(self) -> None:
        """Set what follows from the date and the sale's times. Raises SaleWindowInvalid."""
        if self.sale_start_time is not None and self.sale_start_time >= self.sale_end_time:
            raise SaleWindowInvalid
        self.local_date = local_date(self.event_date, self.time_zone)

    def record_change(self, now: datetime) -> None:
        """Record a change by hand: the show becomes COMPLETED a day after it at the earliest."""
        self.complete_at = max(self.event_date, now) + COMPLETED_AFTER
        self._after_change(now)

    def _after_change(self, now: datetime) -> None:
        self.updated_at = now
        self.open_at = self.sale_start_time if self.status == "UPCOMING" else None
        if self.status in ENDED:
            self.complete_at = None

    def change_status(self, wanted: ShowStatus, *, reopen: bool, now: datetime) -> ShowStatus | None:
        """Change the status as an administrator asks.

        Return the previous status; None if it is the wanted one already. Raises IllegalTransition.
        """
        current = self.status
        if wanted == current:
            return None
        legal = next_statuses(current, is_over=now > self.event_date, reopen=reopen)
        if wanted not in legal:
            raise IllegalTransition(current=current, wanted=wanted, legal=legal)
        self.status = wanted
        self.sold_out_by_hand = wanted == "SOLD_OUT"
        self.record_change(now)
        return current

    def next_status(self, now: datetime) -> ShowStatus | None:
        """Return the status that the show takes by itself; None if it keeps its own."""
        if self.complete_at is not None and self.complete_at <= now:
            return "COMPLETED"
        if self.status == "UPCOMING":
            is_due = self.open_at is not None and self.open_at <= now < self.sale_end_time
            return "ON_SALE" if is_due else None
        return None

    def supply_status(self) -> ShowStatus | None:
        """Return the status that follows from whether places are left; None if it is the current one."""
        if self.status == "ON_SALE" and self.is_exhausted:
            return "SOLD_OUT"
        if self.status == "SOLD_OUT" and not self.is_exhausted and not self.sold_out_by_hand:
            return "ON_SALE"
        return None

    def take_status(self, status: ShowStatus, now: datetime) -> ShowStatus:
        """Change the status without an administrator. Return the previous one."""
        previous, self.status, self.sold_out_by_hand = self.status, status, False
        self._after_change(now)
        return previous

    def set_exhausted(self, number: int, *, is_exhausted: bool) -> bool:
        """Record whether every place is sold. Return False if a later message was handled before."""
        if number <= self.exhausted_number:
            return False
        self.exhausted_number, self.is_exhausted = number, is_exhausted
        return True

    def event_fields(self) -> dict[str, Any]:
        """Return the fields of events about the show. Call it after the flush, which increments the revision."""
        plain = {name: getattr(self, name) for name in ShowEvent.model_fields if name != "sections"}
        return {**plain, "sections": tuple(each.plan for each in self.sections)}


class PlannedChange(Table):
    """A change that seating must accept first: new sections, a new currency, or the deletion of the show.

    It is stored before seating is called, so that it is finished after a crash: seating may have accepted it.

    changes: the fields that were sent; None for a deletion.
    """

    __tablename__ = "planned_changes"

    event_id: Mapped[ShowId] = mapped_column(primary_key=True, autoincrement=False)
    changes: Mapped[dict[str, Any] | None] = mapped_column(Payload)
    planned_at: Mapped[datetime] = mapped_column(index=True)


_COLUMNS = {"sale_end_time": "sale_ends_at", "cancellable_until": "refundable_until"}
"""Columns with another name than the field."""


def category_key(category: str) -> str:
    """Return a category without case and accents."""
    return fold(category.strip())[:MAX_NAME_LENGTH]
