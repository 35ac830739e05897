from collections.abc import Callable, Sequence
from typing import Final

from portico.contracts.events import ShowCreated, ShowDeleted, ShowId, ShowStatus, ShowStatusChanged, ShowUpdated
from portico.kit import UnitOfWork
from portico.services.events.models import Show
from portico.services.events.repository import Shows
from portico.services.events.schemas import ShowCreate, ShowUpdate

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
    await _change_status(work, show, wanted, reopen=reopen)
    return show


async def _change_status(work: UnitOfWork, show: Show, wanted: ShowStatus, *, reopen: bool) -> None:
    previous = show.change_status(wanted, reopen=reopen, now=work.now)
    if previous is None:
        return
    await _publish_status(work, show, previous)
    if previous == "UPCOMING":
        await _apply_supply(work, show)  # a presale may have sold every place
    work.changes(SCHEDULE)


async def revise_show(work: UnitOfWork, show: Show, changes: ShowUpdate) -> bool:
    """Apply changes to a locked show and publish them, all or none. Return whether seating must have accepted them.

    Raises:
        ShowEnded, IllegalTransition, LayoutInvalid, SeatTotalDiffers, SaleWindowInvalid, UnknownCurrency, TooPrecise
    """
    revision = show.revise(changes.fields(), work.now)
    if revision is not None:
        await work.flush()
        work.publish(ShowUpdated(**show.event_fields(), is_rescheduled=revision.is_rescheduled))
        work.changes(SCHEDULE)
    if changes.wanted_status is not None:
        await _change_status(work, show, changes.wanted_status, reopen=changes.reopen)
    return revision is not None and revision.needs_seating


async def delete_show(work: UnitOfWork, show: Show) -> None:
    """Delete a locked show that seating has closed."""
    work.publish(ShowDeleted(**show.event_fields() | {"revision": show.revision + 1}))
    await work.delete(show)


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
