from portico.contracts.bookings import BookingId
from portico.kit import Reads, Router, SignedIn
from portico.services.bookings.errors import BookingNotFound
from portico.services.bookings.models import Booking
from portico.services.bookings.repository import Bookings
from portico.services.bookings.schemas import BookingRead

router = Router(prefix="/bookings", tags=["bookings"], description="Bookings of places of shows, and their progress")


@router.get("/{booking_id}", response_model=BookingRead, errors=[BookingNotFound])
async def read_booking(booking_id: BookingId, caller: SignedIn, reads: Reads) -> Booking:
    """Return one of the caller's bookings, or any booking with `bookings:read`."""
    return await Bookings(reads).get_visible(booking_id, caller)
