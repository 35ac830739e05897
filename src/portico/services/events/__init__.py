"""Events: shows, and their lifecycle on sale. The API calls a show an event; in code an event is a message."""

from portico.contracts.events import ShowCreated, ShowDeleted, ShowStatusChanged, ShowUpdated
from portico.kit import Service
from portico.services.events import api, consumers, jobs
from portico.services.events.availability import AvailableSeats, open_available_seats
from portico.services.events.models import Table
from portico.services.events.status_scheduler import StatusScheduler, open_status_scheduler, run_status_scheduler

service = Service(
    name="events",
    summary="Events: dates, venues, prices and the lifecycle of shows on sale",
    module=__name__,
    routers=[api.router],
    consumers=[consumers.apply_exhaustion],
    jobs=[jobs.finish_planned_changes],
    background=[run_status_scheduler],
    publishes=[ShowCreated, ShowUpdated, ShowStatusChanged, ShowDeleted],
    tables=Table.metadata,
    resources={AvailableSeats: open_available_seats, StatusScheduler: open_status_scheduler},
    calls=["identity", "seating"],
)
