"""Seating: the places of shows, and who holds them."""

from functools import partial

from portico.contracts.seating import (
    SalesExhausted,
    SalesResumed,
    SeatsHeld,
    SeatsReleased,
    SeatsSold,
    WaitlistLapsed,
    WaitlistOffered,
)
from portico.kit import Service
from portico.services.seating import api, consumers
from portico.services.seating.holds import api as holds
from portico.services.seating.holds.expiry import HoldExpiry, open_hold_expiry, run_hold_expiry
from portico.services.seating.holds.writer import HoldWriter, open_hold_writer
from portico.services.seating.models import Base
from portico.services.seating.seat_map import SeatMaps, open_seat_maps
from portico.services.seating.settings import SeatingSettings
from portico.services.seating.waitlist import api as waitlist
from portico.services.seating.waitlist.offers import offers_of

service = Service(
    name="seating",
    summary="Places of shows, and who holds them",
    module=__name__,
    routers=[api.router, holds.router, waitlist.router],
    consumers=[consumers.apply_show],
    background=[run_hold_expiry],
    publishes=[SeatsHeld, SeatsReleased, SeatsSold, SalesExhausted, SalesResumed, WaitlistOffered, WaitlistLapsed],
    tables=Base.metadata,
    settings=SeatingSettings,
    resources={
        SeatMaps: open_seat_maps,
        HoldWriter: partial(open_hold_writer, follower_of=offers_of),
        HoldExpiry: open_hold_expiry,
    },
    calls=["identity"],
)
