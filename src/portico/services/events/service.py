from collections.abc import Callable, Sequence
from typing import Final

from portico.contracts.events import ShowCreated, ShowId, ShowStatus, ShowStatusChanged
from portico.kit import UnitOfWork
from portico.services.events.models import Show
from portico.services.events.repository import Shows
from portico.services.events.schemas import ShowCreate

SCHEDULE: Final = "schedule"
"""Subject of the notifications that wake the status scheduler: the time of the next change may be another one."""

Check = Callable[[Show], None]


async def create_show(work: UnitOfWork, draft: ShowCreate) -> Show:
    """Create a show. Raises LayoutInvalid, SeatTotalDiffers, SaleWindowInvalid, UnknownCurrency, TooPrecise."""
    show = Shows(work).add(Show.create(work.now, **draft.fields()))
    await work.flush()  # sets the revision
    work.publish(ShowCreated(**show.event_fields()))
    work.changes(SCHEDULE)
    return show


async def change_status(work: UnitOfWork, show_id: ShowId, wanted: ShowStatus, *, reopen: bool, check: Check) -> Show:
    """Change the status of a show that passes `check`, which is called with the row locked.

    Raises ShowNotFound, IllegalTransition, and what `check` raises.
    """
    show = await Shows(work).get(show_id, lock=True)
    check(show)
    previous = show.change_status(wanted, reopen=reopen, now=work.now)
    if previous is not None:
        await _publish_status(work, show, previous)
        if previous == "UPCOMING":
            await _apply_supply(work, show)  # a presale may have sold every place
        work.changes(SCHEDULE)
    return show


async def advance_shows(work: UnitOfWork, show_ids: Sequence[ShowId]) -> None:
    """Change the statuses that are due by the clock."""
    for show in await Shows(work).lock_all(show_ids):
        if (status := show.next_status(work.now)) is not None:
            await _publish_status(work, show, show.take_status(status, work.now))
            await _apply_supply(work, show)


async def apply_exhaustion(work: UnitOfWork, show_id: ShowId, number: int, *, is_exhausted: bool) -> None:
    """Take over from seating whether every place of a show is sold. Outdated messages change nothing."""
    show = await Shows(work).find(show_id, lock=True)
    if show is not None and show.set_exhausted(number, is_exhausted=is_exhausted):
        await _apply_supply(work, show)


async def _apply_supply(work: UnitOfWork, show: Show) -> None:
    if (status := show.supply_status()) is not None:
        await _publish_status(work, show, show.take_status(status, work.now))


async def _publish_status(work: UnitOfWork, show: Show, previous: ShowStatus) -> None:
    """Write a change of status and publish it."""
    await work.flush()
    work.publish(ShowStatusChanged(**show.event_fields(), previous_status=previous))
