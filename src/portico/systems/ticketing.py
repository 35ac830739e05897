"""Ticketing: shows on sale, their seats, bookings and tickets. Its API calls a show an event and is camelCase."""

from portico.kit import System
from portico.services.bookings import service as bookings
from portico.services.events import service as events
from portico.services.identity import service as identity
from portico.services.notifications import service as notifications
from portico.services.payments import service as payments
from portico.services.search import service as search
from portico.services.seating import service as seating

ticketing = System(
    "ticketing",
    summary="Shows on sale: no seat has two holders",
    gateway=8000,
    services={
        identity: 8001,
        events: 8002,
        seating: 8003,
        bookings: 8004,
        search: 8005,
        payments: 8006,
        notifications: 8007,
    },
    case="camel",
    prefix="/api",
    lists="pages",
    names={identity: "auth", seating: "inventory"},
    roles={
        "attendee": [],
        "scanner": ["check-ins:write"],
        "organizer": [
            "events:write",
            "inventory:read",
            "inventory:write",
            "bookings:read",
            "bookings:write",
            "check-ins:write",
            "search:write",
            "payments:read",
        ],
        "administrator": ["*"],
    },
    default_role="attendee",
)
