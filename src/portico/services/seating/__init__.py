"""Seating: the places of shows, and who holds them."""

from portico.kit import Service
from portico.services.seating import api, consumers
from portico.services.seating.models import Base
from portico.services.seating.seat_map import SeatMaps, open_seat_maps
from portico.services.seating.settings import SeatingSettings

service = Service(
    name="seating",
    summary="Places of shows, and who holds them",
    module=__name__,
    routers=[api.router],
    consumers=[consumers.apply_show],
    tables=Base.metadata,
    settings=SeatingSettings,
    resources={SeatMaps: open_seat_maps},
    calls=["identity"],
)
