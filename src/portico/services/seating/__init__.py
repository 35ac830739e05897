"""Seating: the places of shows, and who holds them."""

from portico.contracts.seating import SalesExhausted, SalesResumed, SeatsHeld, SeatsReleased, SeatsSold
from portico.kit import Service
from portico.services.seating import api, consumers
from portico.services.seating.holds import api as holds
from portico.services.seating.holds.expiry import HoldExpiry, open_hold_expiry, run_hold_expiry
from portico.services.seating.holds.writer import HoldWriter, open_hold_writer
from portico.services.seating.models import Base
from portico.services.seating.seat_map import SeatMaps, open_seat_maps
from portico.services.seating.settings import SeatingSettings

service = Service(
    name="seating",
    summary="Places of shows, and who holds them",
    module=__name__,
    routers=[api.router, holds.router],
    consumers=[consumers.apply_show],
    background=[run_hold_expiry],
    publishes=[SeatsHeld, SeatsReleased, SeatsSold, SalesExhausted, SalesResumed],
    tables=Base.metadata,
    settings=SeatingSettings,
    resources={SeatMaps: open_seat_maps, HoldWriter: open_hold_writer, HoldExpiry: open_hold_expiry},
    calls=["identity"],
)
