"""The halls of shows in memory: a batch reads the states of all seats only if another process has changed them."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from portico.contracts.events import ShowId
from portico.services.seating.hall.places import Places


@dataclass(frozen=True, slots=True)
class Hall:
    """The places of a show at a version, and the price of a place in each section in minor units."""

    show_id: ShowId
    version: int
    places: Places
    prices: Sequence[int]


class Halls:
    """The halls that this process has changed last.

    A transaction takes a hall out, changes it, and returns it after the commit. If it fails, the hall is lost and read again.

    Args:
        limit: maximum number of halls; the least recently used ones are dropped.
    """

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._halls: OrderedDict[ShowId, Hall] = OrderedDict()

    def take(self, show_id: ShowId, version: int) -> Hall | None:
        """Remove and return the hall of a show if it has this version."""
        found = self._halls.pop(show_id, None)
        return found if found is not None and found.version == version else None

    def put(self, hall: Hall) -> None:
        """Keep a hall whose changes are committed."""
        self._halls[hall.show_id] = hall
        self._halls.move_to_end(hall.show_id)
        if len(self._halls) > self._limit:
            self._halls.popitem(last=False)
