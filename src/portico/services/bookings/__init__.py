"""Bookings of places of shows, and the saga that makes them."""

from portico.contracts.bookings import (
    BookingCancelled,
    BookingConfirmed,
    BookingCreated,
    BookingExpired,
    BookingFailed,
    BookingRescheduled,
    TicketCancelled,
    TicketCheckedIn,
    TicketIssued,
    TicketRescheduled,
    TicketTransferred,
    TransferOffered,
)
from portico.kit import Service
from portico.services.bookings import api, cancellation, consumers, reschedule, saga, show_cancellation
from portico.services.bookings.check_ins import api as check_ins
from portico.services.bookings.check_ins.writer import CheckInWriter, open_check_in_writer
from portico.services.bookings.models import Base
from portico.services.bookings.settings import BookingsSettings
from portico.services.bookings.tickets import api as tickets
from portico.services.bookings.tickets import consumers as holders
from portico.services.bookings.tickets import jobs
from portico.services.bookings.tickets.signing_keys import TicketKeys, open_ticket_keys

service = Service(
    name="bookings",
    summary="Bookings of places of shows, their tickets, and check-ins",
    module=__name__,
    routers=[tickets.places, api.router, tickets.of_booking, tickets.tickets, tickets.transfers, check_ins.router],
    consumers=[consumers.save_show, consumers.forget_show, holders.save_user, holders.forget_user],
    jobs=[jobs.rotate_ticket_keys, jobs.delete_old_transfers],
    publishes=[
        BookingCreated,
        BookingConfirmed,
        BookingFailed,
        BookingCancelled,
        BookingRescheduled,
        BookingExpired,
        TicketIssued,
        TicketCheckedIn,
        TicketRescheduled,
        TicketCancelled,
        TransferOffered,
        TicketTransferred,
    ],
    sagas=[
        saga.make_booking,
        saga.release_hold_of_ended_booking,
        cancellation.cancel_tickets,
        show_cancellation.cancel_show,
        reschedule.announce_new_date,
    ],
    tables=Base.metadata,
    settings=BookingsSettings,
    resources={TicketKeys: open_ticket_keys, CheckInWriter: open_check_in_writer},
    calls=["identity", "seating", "payments"],
    secrets=["secret_key", "service_secret"],
)
