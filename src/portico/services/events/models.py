"""Tables of events, and the rules on them. A show is what the API calls an event."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Self

from sqlalchemy import BigInteger, Index, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from portico.contracts.events import OrphanRule, ShowEvent, ShowId, ShowStatus, WaitingRoomMode
from portico.kit import Money, TableRules, identifier, revision
from portico.kit.data import ExactText, LongText, Payload
from portico.kit.foundation import fold
from portico.services.events.domain import (
    ALL,
    COMPLETED_AFTER,
    ENDED,
    LONGEST_NAME,
    LONGEST_ZONE,
    Section,
    general_section,
    layout_fault,
    local_date,
    local_time,
    next_statuses,
)
from portico.services.events.errors import IllegalTransition, LayoutInvalid, SaleWindowInvalid, SeatTotalDiffers


class Table(TableRules, DeclarativeBase):
    """Base of the tables of events."""


class Show(Table):
    """A show that is put on sale.

    `sale_ends_at` and `refundable_until` are None while they follow the date of the show. `local_date` is the date in the
    show's time zone, and `category_key` the category without case and accents: both are for filters. `sold_out_by_hand`
    tells that an administrator set SOLD_OUT. `complete_at` is when the show becomes COMPLETED by itself; None once it has
    ended.
    """

    __tablename__ = "shows"

    event_id: Mapped[ShowId] = identifier(autoincrement=False)
    event_name: Mapped[str] = mapped_column(String(LONGEST_NAME))
    event_date: Mapped[datetime]
    local_date: Mapped[str] = mapped_column(ExactText(10))
    venue_name: Mapped[str] = mapped_column(String(LONGEST_NAME))
    time_zone: Mapped[str] = mapped_column(ExactText(LONGEST_ZONE))
    total_seats: Mapped[int]
    sections_data: Mapped[list[dict[str, Any]]] = mapped_column(Payload)
    status: Mapped[ShowStatus] = mapped_column(ExactText(12))
    sold_out_by_hand: Mapped[bool]
    sale_start_time: Mapped[datetime | None]
    sale_ends_at: Mapped[datetime | None]
    price_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(ExactText(3))
    description: Mapped[str | None] = mapped_column(LongText)
    category: Mapped[str | None] = mapped_column(String(LONGEST_NAME))
    category_key: Mapped[str | None] = mapped_column(ExactText(LONGEST_NAME))
    max_seats_per_user: Mapped[int | None]
    orphan_rule: Mapped[OrphanRule] = mapped_column(ExactText(10))
    waiting_room: Mapped[WaitingRoomMode] = mapped_column(ExactText(10))
    refundable_until: Mapped[datetime | None]
    refund_percent: Mapped[int]
    full_refund_until: Mapped[datetime | None]
    complete_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    revision: Mapped[int] = revision()

    __table_args__ = (
        Index(None, "event_date", "event_id"),
        Index(None, "status", "event_date", "event_id"),
        Index(None, "category_key", "event_date", "event_id"),
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
        show = cls(sold_out_by_hand=False, full_refund_until=None, created_at=now, updated_at=now)
        for name in _PLAIN:
            setattr(show, name, fields[name])
        show.sale_ends_at = fields["sale_end_time"]
        show.refundable_until = fields["cancellable_until"]
        show.set_category(fields["category"])
        show.set_layout(fields["sections"], fields["total_seats"])
        show.set_prices(fields["price"], fields["currency"])
        show.set_times()
        show.touch(now)
        show.set_available(ALL)
        return show

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

    def set_category(self, category: str | None) -> None:
        """Set the category."""
        self.category = category
        self.category_key = None if category is None else category_key(category)

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

    def set_prices(self, price: Decimal, currency: str) -> None:
        """Set the price; those of the sections must fit the currency too. Raises UnknownCurrency, TooPrecise."""
        self.price_minor, self.currency = Money.of(price, currency).minor, currency
        for section in self.sections:
            if section.price is not None:
                Money.of(section.price, currency)

    def set_times(self) -> None:
        """Set what follows from the date and the sale's times. Raises SaleWindowInvalid."""
        if self.sale_start_time is not None and self.sale_start_time >= self.sale_end_time:
            raise SaleWindowInvalid
        self.local_date = local_date(self.event_date, self.time_zone)

    def touch(self, now: datetime) -> None:
        """Record a change by hand: the show becomes COMPLETED a day after it at the earliest."""
        self.updated_at = now
        self.complete_at = None if self.status in ENDED else max(self.event_date, now) + COMPLETED_AFTER

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
        self.touch(now)
        return current

    def event_fields(self) -> dict[str, Any]:
        """Return the fields of events about the show. Call it after the flush, which increments the revision."""
        plain = {name: getattr(self, name) for name in ShowEvent.model_fields if name != "sections"}
        return {**plain, "sections": tuple(each.plan for each in self.sections)}


_PLAIN = (
    "event_name",
    "event_date",
    "venue_name",
    "time_zone",
    "status",
    "sale_start_time",
    "description",
    "max_seats_per_user",
    "orphan_rule",
    "waiting_room",
    "refund_percent",
)
"""Columns that hold what the caller sent."""


def category_key(category: str) -> str:
    """Return a category without case and accents."""
    return fold(category.strip())[:LONGEST_NAME]
