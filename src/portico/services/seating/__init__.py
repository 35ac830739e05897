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
from portico.kit.http import EventStreams, open_event_streams
from portico.services.seating import api, consumers
from portico.services.seating.admission import Admissions, open_admissions
from portico.services.seating.codes import api as codes
from portico.services.seating.holds import api as holds
from portico.services.seating.holds.expiry import HoldExpiry, open_hold_expiry, run_hold_expiry
from portico.services.seating.holds.writer import HoldWriter, open_hold_writer
from portico.services.seating.models import Base
from portico.services.seating.queue import api as queue
from portico.services.seating.queue.rooms import WaitingRooms, open_waiting_rooms, run_waiting_rooms
from portico.services.seating.queue.writer import QueueWriter, open_queue_writer
from portico.services.seating.reconciliation import api as reconciliation
from portico.services.seating.seat_map import SeatMaps, open_seat_maps
from portico.services.seating.settings import SeatingSettings
from portico.services.seating.waitlist import api as waitlist
from portico.services.seating.waitlist.offers import offers_of

service = Service(
    name="seating",
    summary="Places of shows, and who holds them",
    module=__name__,
    # The hottest route first: routes are matched in order.
    routers=[holds.router, api.router, codes.router, waitlist.router, queue.router, reconciliation.router],
    consumers=[consumers.apply_show, consumers.end_admission],
    background=[run_hold_expiry, run_waiting_rooms],
    publishes=[SeatsHeld, SeatsReleased, SeatsSold, SalesExhausted, SalesResumed, WaitlistOffered, WaitlistLapsed],
    tables=Base.metadata,
    settings=SeatingSettings,
    resources={
        SeatMaps: open_seat_maps,
        Admissions: open_admissions,
        HoldWriter: partial(open_hold_writer, follower_of=offers_of),
        HoldExpiry: open_hold_expiry,
        EventStreams: open_event_streams,
        QueueWriter: open_queue_writer,
        WaitingRooms: open_waiting_rooms,
    },
    calls=["identity"],
    optional_calls=["bookings"],
    secrets=["secret_key", "service_secret"],
)
