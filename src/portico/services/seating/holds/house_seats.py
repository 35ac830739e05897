"""House seats: seats that are kept back from the sale."""

from collections.abc import Sequence

from portico.services.seating.errors import EventNotFound
from portico.services.seating.hall.places import Selection
from portico.services.seating.holds.batch import HoldBatch


def set_blocked(batch: HoldBatch, *, seats: Sequence[str], blocked: bool) -> None:
    """Block free seats, or free blocked ones: all or none.

    Raises:
        EventNotFound: the show was deleted.
        UnknownSeat: a seat does not exist.
        SeatTaken: a seat is held or sold.
    """
    show = batch.show
    if show.is_closed:
        raise EventNotFound(event_id=show.show_id)
    indexes = show.places.layout.indexes_of(seats)
    if blocked:
        show.note(Selection(tuple(show.places.block(indexes))), "B", hold_id=None, reason="blocked")
    else:
        show.note(Selection(tuple(show.places.unblock(indexes))), "F", hold_id=None, reason="unblocked")
