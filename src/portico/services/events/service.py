from collections.abc import Callable

from portico.contracts.events import ShowCreated, ShowId, ShowStatus, ShowStatusChanged
from portico.kit import UnitOfWork
from portico.services.events.models import Show
from portico.services.events.repository import Shows
from portico.services.events.schemas import ShowCreate

Check = Callable[[Show], None]


async def create_show(work: UnitOfWork, draft: ShowCreate) -> Show:
    """Create a show. Raises LayoutInvalid, SeatTotalDiffers, SaleWindowInvalid, UnknownCurrency, TooPrecise."""
    show = Shows(work).add(Show.create(work.now, **draft.fields()))
    await work.flush()  # sets the revision
    work.publish(ShowCreated(**show.event_fields()))
    return show


async def change_status(work: UnitOfWork, show_id: ShowId, wanted: ShowStatus, *, reopen: bool, check: Check) -> Show:
    """Change the status of a show that passes `check`, which is called with the row locked.

    Raises ShowNotFound, IllegalTransition, and what `check` raises.
    """
    show = await Shows(work).get(show_id, lock=True)
    check(show)
    previous = show.change_status(wanted, reopen=reopen, now=work.now)
    if previous is not None:
        await publish_status(work, show, previous)
    return show


async def publish_status(work: UnitOfWork, show: Show, previous: ShowStatus) -> None:
    """Write the change of status and publish it."""
    await work.flush()
    work.publish(ShowStatusChanged(**show.event_fields(), previous_status=previous))
