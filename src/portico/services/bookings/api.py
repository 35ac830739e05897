from collections.abc import Sequence
from typing import Annotated

from fastapi import Query

from portico.contracts.bookings import BookingId
from portico.kit import FromService, Reads, Router, SignedIn
from portico.kit.http import LARGEST_LIMIT
from portico.services.bookings.errors import BookingNotFound
from portico.services.bookings.models import Booking
from portico.services.bookings.repository import Bookings
from portico.services.bookings.schemas import BookingRead, BookingTotalRead

router = Router(prefix="/bookings", tags=["bookings"], description="Bookings of places of shows, and their progress")


MOST_IDS = 100


@router.get("/totals", response_model=list[BookingTotalRead])
async def list_totals(
    _caller: FromService,
    reads: Reads,
    booking_id: Annotated[list[BookingId] | None, Query(max_length=MOST_IDS, description="Only these")] = None,
    after: Annotated[BookingId | None, Query(description="The last booking of the previous page")] = None,
    limit: Annotated[int, Query(ge=1, le=LARGEST_LIMIT)] = LARGEST_LIMIT,
) -> Sequence[Booking]:
    """List what bookings cost, oldest first, for services."""
    return await Bookings(reads).totals(booking_id or (), after, limit)


@router.get("/{booking_id}", response_model=BookingRead, errors=[BookingNotFound])
async def read_booking(booking_id: BookingId, caller: SignedIn, reads: Reads) -> Booking:
    """Return one of the caller's bookings, or any booking with `bookings:read`."""
    return await Bookings(reads).get_visible(booking_id, caller)
