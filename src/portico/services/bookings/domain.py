"""Rules of bookings: the state machine, the places and prices of a hold, and refunds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypedDict

from portico.contracts.bookings import BookingStatus
from portico.contracts.seating import HoldSummary
from portico.kit import Money

LEGAL: Final[Mapping[BookingStatus, tuple[BookingStatus, ...]]] = {
    "PENDING": ("CONFIRMED", "FAILED", "EXPIRED", "CANCELLED"),
    "CONFIRMED": ("CANCELLED",),
    "CANCELLED": (),
    "FAILED": (),
    "EXPIRED": (),
}
"""The statuses that may follow each status."""

COMPLIMENTARY: Final = "comp"
"""The payment method of a booking that costs nothing."""


class Place(TypedDict):
    """A place of a booking as the row stores it. `seat_id`, `row` and `number` are None in a standing section.

    price_minor: the price paid for it, after discounts, in minor units of the booking's currency.
    """

    section: str
    seat_id: str | None
    row: str | None
    number: int | None
    price_minor: int


@dataclass(frozen=True, slots=True)
class Offer:
    """The places of a hold and what they cost in minor units.

    discount_minor: by how much `amount_minor` is smaller than the prices of the places without a code.
    """

    places: Sequence[Place]
    currency: str
    amount_minor: int
    discount_minor: int

    @property
    def amount(self) -> Money:
        """What is charged."""
        return Money(self.amount_minor, self.currency)


def offer_of(hold: HoldSummary, *, complimentary: bool) -> Offer:
    """Return the places of a hold at its prices, or at no price."""
    places = [
        Place(
            section=each.section,
            seat_id=each.seat_id,
            row=each.row,
            number=each.number,
            price_minor=0 if complimentary else Money.of(each.price, hold.currency).minor,
        )
        for each in hold.places
    ]
    amount = Money.of(hold.amount, hold.currency).minor
    discount = Money.of(hold.discount, hold.currency).minor
    return Offer(places, hold.currency, 0 if complimentary else amount, discount + (amount if complimentary else 0))


def refund_minor(price_minor: int, percent: int) -> int:
    """Return `percent` of a price in minor units, half up."""
    return (price_minor * percent + 50) // 100


def is_final(status: BookingStatus) -> bool:
    """Return whether no status can follow."""
    return not LEGAL[status]
