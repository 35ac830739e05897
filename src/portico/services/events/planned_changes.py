"""Changes that seating must accept first: new sections, a new currency, and deletions.

A change is planned in a transaction, then seating is called, then the change is made in another transaction. A plan whose
process died is finished by a job, or by the next change of the show: calls to seating can be repeated.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from portico.contracts.events import ShowId
from portico.contracts.seating import SeatingClient
from portico.kit import Money, Problem, ServiceContext, UnitOfWork, get_logger
from portico.kit.calls import CallError, Refused, Unreachable
from portico.services.events.errors import ChangeInProgress, CurrencyInUse, SeatsInUse, ShowInUse, ShowNotFound
from portico.services.events.models import PlannedChange, Show
from portico.services.events.repository import PlannedChanges, Shows
from portico.services.events.schemas import ShowUpdate
from portico.services.events.service import Check, delete_show, revise_show

logger = get_logger(__name__)

ABANDONED_AFTER: Final = timedelta(seconds=30)
"""Age from which the process that planned a change is considered dead. A request ends before."""
_BATCH: Final = 100


class _SeatingIsNeeded(Exception):
    """The changes give the show new sections or a new currency, which they did not when it was read."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The show after a change, None if it is deleted, and the available places if seating reported them."""

    show: Show | None
    available: int | None = None


async def update_show(context: ServiceContext, show_id: ShowId, changes: ShowUpdate, *, check: Check) -> Show:
    """Change a show that passes `check`, all or nothing. Seating is asked before the sections or the currency change.

    A repeat of a change that was not finished continues it.

    Raises:
        ShowNotFound, ShowEnded, IllegalTransition, LayoutInvalid, SeatTotalDiffers, SaleWindowInvalid, UnknownCurrency,
        TooPrecise, and what `check` raises.
        SeatsInUse, CurrencyInUse: seating refuses the new sections, or the new currency.
        ChangeInProgress: another change is in progress.
        CallFailed: seating did not answer. If it may have accepted the change, the change is finished later.
    """
    await _finish_abandoned(context, show_id, changes.data)
    while not await _needs_seating(context, show_id, changes, check):
        with suppress(_SeatingIsNeeded):
            return await context.transact(partial(_update, show_id=show_id, changes=changes, check=check))
    await context.transact(partial(_plan, show_id=show_id, changes=changes.data, check=check))
    outcome = await _finish(context, show_id, is_new=True)
    if outcome.show is None:
        raise ShowNotFound(event_id=show_id)
    outcome.show.set_available(outcome.available)
    return outcome.show


async def remove_show(context: ServiceContext, show_id: ShowId, *, check: Check) -> None:
    """Delete a show that passes `check` and of which no place is held or sold.

    Raises:
        ShowNotFound, and what `check` raises.
        ShowInUse: a place is held or sold.
        ChangeInProgress: another change is in progress.
        CallFailed: seating did not answer. If it may have closed the show, the deletion is finished later.
    """
    await _finish_abandoned(context, show_id, None)
    await context.transact(partial(_plan, show_id=show_id, changes=None, check=check))
    await _finish(context, show_id, is_new=True)


async def finish_abandoned_changes(context: ServiceContext) -> None:
    """Finish the changes whose processes died. Those that cannot be made any more are dropped."""
    async with context.reader() as reader:
        before = context.clock.now() - ABANDONED_AFTER
        show_ids = await PlannedChanges(reader).planned_before(before, limit=_BATCH)
    for show_id in show_ids:
        try:
            await _finish(context, show_id)
        except Problem as problem:
            logger.warning("planned_change_dropped", service=context.name, event_id=int(show_id), code=problem.code)
        except CallError as error:
            logger.warning("planned_change_delayed", service=context.name, event_id=int(show_id), error=str(error))


async def _finish_abandoned(context: ServiceContext, show_id: ShowId, wanted: dict[str, Any] | None) -> None:
    """Finish the planned change of a show if it is the wanted one, or if its process died. Raises ChangeInProgress."""
    async with context.reader() as reader:
        plan = await PlannedChanges(reader).find(show_id)
    if plan is None:
        return
    is_abandoned = plan.planned_at <= context.clock.now() - ABANDONED_AFTER
    if not is_abandoned and plan.changes != wanted:
        raise ChangeInProgress(event_id=show_id)
    if is_abandoned and plan.changes != wanted:
        try:
            await _finish(context, show_id)
        except Problem as problem:
            logger.warning("planned_change_dropped", service=context.name, event_id=int(show_id), code=problem.code)


async def _needs_seating(context: ServiceContext, show_id: ShowId, changes: ShowUpdate, check: Check) -> bool:
    """Whether the changes give the show new sections or a new currency. Raises what would refuse them."""
    async with context.reader() as reader:
        draft = await Shows(reader).get(show_id)
    check(draft)
    revision = draft.revise(changes.fields(), context.clock.now())
    return revision is not None and revision.needs_seating


async def _update(work: UnitOfWork, *, show_id: ShowId, changes: ShowUpdate, check: Check) -> Show:
    """Change a show whose sections and currency stay. Raises _SeatingIsNeeded if they would not, since the show was read."""
    show = await _lock_unplanned(work, show_id, changes.data)
    check(show)
    if await revise_show(work, show, changes):
        raise _SeatingIsNeeded
    return show


async def _plan(work: UnitOfWork, *, show_id: ShowId, changes: dict[str, Any] | None, check: Check) -> None:
    """Plan a change; None is the deletion. A plan of the same change stays."""
    show = await _lock_unplanned(work, show_id, changes)
    if await PlannedChanges(work).find(show_id) is None:
        check(show)
        work.add(PlannedChange(event_id=show_id, changes=changes, planned_at=work.now))


async def _lock_unplanned(work: UnitOfWork, show_id: ShowId, changes: dict[str, Any] | None) -> Show:
    """Return the show, locked. Raises ShowNotFound, and ChangeInProgress if another change is planned."""
    show = await Shows(work).get(show_id, lock=True)
    plan = await PlannedChanges(work).find(show_id)
    if plan is not None and plan.changes != changes:
        raise ChangeInProgress(event_id=show_id)
    return show


async def _finish(context: ServiceContext, show_id: ShowId, *, is_new: bool = False) -> _Outcome:
    """Request a show's planned change from seating, and make it. Drop it if it is refused.

    It begins again if the show has changed meanwhile: seating has then seen another revision than the one that it gets.
    What seating accepted of a change that is dropped, it takes back with the next event of the show.

    Args:
        context: the service.
        show_id: the show.
        is_new: whether seating was never asked about it, so that the change is dropped if seating cannot be reached.
    """
    calls = context.calls()
    while True:
        async with context.reader() as reader:
            plan, draft = await PlannedChanges(reader).find(show_id), await Shows(reader).find(show_id)
        if plan is None or draft is None:
            return _Outcome(draft)  # another process has finished it
        revision = int(draft.revision)
        try:
            available = await _ask_seating(calls(SeatingClient), draft, plan, context.clock.now())
            made = await context.transact(partial(_make, show_id=show_id, revision=revision))
        except (Problem, Unreachable) as error:
            if isinstance(error, Problem) or (is_new and not calls.in_doubt):
                await context.transact(partial(_drop, show_id=show_id, planned_at=plan.planned_at))
            raise
        is_new = False
        if made is not None:
            return _Outcome(None if plan.changes is None else made, available)


async def _ask_seating(seating: SeatingClient, draft: Show, plan: PlannedChange, now: datetime) -> int | None:
    """Announce the change to seating. Return the available places after it.

    Raises SeatsInUse, CurrencyInUse, ShowInUse, CallError.
    """
    revision = int(draft.revision)
    try:
        if plan.changes is None:
            await seating.retire(draft.event_id, revision=revision)
            return None
        draft.revise(ShowUpdate.of_data(plan.changes).fields(), now)
        sections = [each.plan for each in draft.sections]
        price = Money.of(draft.price, draft.currency)
        return (await seating.apply_layout(draft.event_id, sections, price, revision=revision + 1)).available
    except Refused as refused:
        problem = refused.problem
        if refused.code == "seats_in_use":
            raise SeatsInUse(
                section=problem.get("section", ""), used=problem.get("used", 0), seats=problem.get("seats", [])
            ) from refused
        if refused.code == "currency_in_use":
            raise CurrencyInUse(
                currency=problem.get("currency", ""), used=problem.get("used", 0), codes=problem.get("codes", 0)
            ) from refused
        if refused.code == "event_in_use":
            raise ShowInUse(event_id=draft.event_id) from refused
        raise


async def _make(work: UnitOfWork, *, show_id: ShowId, revision: int) -> Show | None:
    """Make the planned change. Return the show, which may be deleted now; None if it has changed meanwhile."""
    show = await Shows(work).get(show_id, lock=True)
    plan = await PlannedChanges(work).find(show_id)
    if plan is None:
        return show
    if show.revision != revision:
        return None
    await work.delete(plan)
    if plan.changes is None:
        await delete_show(work, show)
    else:
        await revise_show(work, show, ShowUpdate.of_data(plan.changes))
    return show


async def _drop(work: UnitOfWork, *, show_id: ShowId, planned_at: datetime) -> None:
    """Forget the planned change of a show, unless another one was planned since."""
    plan = await PlannedChanges(work).find(show_id, lock=True)
    if plan is not None and plan.planned_at == planned_at:
        await work.delete(plan)
