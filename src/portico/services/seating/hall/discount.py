"""Discount of a code on the price of a place, in minor units."""

from dataclasses import dataclass
from typing import Final

_WHOLE: Final = 100


@dataclass(frozen=True, slots=True)
class Discount:
    """What a code takes off the price of each place.

    percent_off: percentage of the price; the discount is rounded half up.
    amount_off: in minor units.
    """

    percent_off: int = 0
    amount_off: int = 0

    def of(self, price: int) -> int:
        """Return the discount on a place with this price, in minor units. It is at most the price."""
        return min(price, (price * self.percent_off + _WHOLE // 2) // _WHOLE + self.amount_off)
