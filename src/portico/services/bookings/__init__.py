"""Bookings of places of shows, and the saga that makes them."""

from portico.contracts.bookings import (
    BookingCancelled,
    BookingConfirmed,
    BookingCreated,
    BookingExpired,
    BookingFailed,
)
from portico.kit import Service
from portico.services.bookings import api
from portico.services.bookings.models import Base

service = Service(
    name="bookings",
    summary="Bookings of places of shows",
    module=__name__,
    routers=[api.router],
    publishes=[BookingCreated, BookingConfirmed, BookingFailed, BookingCancelled, BookingExpired],
    tables=Base.metadata,
    calls=["identity"],
)
