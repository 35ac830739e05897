"""Use cases of holds. Requests of many callers are executed in one transaction."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from portico.contracts.events import ShowId
from portico.contracts.seating import HoldId
from portico.kit import Problem, UnitOfWork, UserId
from portico.services.seating.codes.domain import code_key
from portico.services.seating.codes.repository import load_codes, save_codes
from portico.services.seating.errors import EventNotFound
from portico.services.seating.holds.batch import HoldBatch
from portico.services.seating.holds.domain import Hold
from portico.services.seating.holds.halls import Hall, Halls
from portico.services.seating.holds.locked_show import LockedShow
from portico.services.seating.holds.repository import (
    load_hall,
    load_holds,
    load_usage,
    lock_shows,
    save_holds,
    save_show,
)


class BatchFollower(Protocol):
    """Follows the changes of places in their transaction: the waiting list."""

    async def offer_freed_places(self, work: UnitOfWork, batch: HoldBatch) -> None:
        """Called after a change that freed places, before the next change of the batch."""

    async def close_offers(self, work: UnitOfWork, offers: Iterable[Hold]) -> None:
        """Called with the offers whose holds have changed, at the end of the batch."""


@dataclass(slots=True)
class Change:
    """A requested change of places of a show.

    show_id: the show.
    act: makes the change in a batch that has the holds and the usage of the user.
    hold_ids: the holds that it concerns.
    taker: the user who wants places; their usage is needed then.
    code: the code that the taker uses.
    is_new: whether the hold's id is new, so that it exists only if the change was executed before.
    """

    show_id: ShowId
    act: Callable[[HoldBatch], Any]
    hold_ids: Collection[HoldId] = ()
    taker: UserId | None = None
    code: str | None = None
    is_new: bool = False

    def take_hold_ids(self) -> Collection[HoldId]:
        """Return the holds to look for. From the second execution on, a new one is looked for too."""
        if self.is_new:
            self.is_new = False
            return ()
        return self.hold_ids


async def change_holds(
    work: UnitOfWork, changes: Sequence[Change], halls: Halls, *, max_seats: int, follower: BatchFollower
) -> Sequence[Any | Problem]:
    """Apply `changes` in order. Return for each the result or the problem.

    Args:
        work: the transaction.
        changes: the requested changes.
        halls: the halls in memory.
        max_seats: how many places of a show one user may have, unless the show has its own limit.
        follower: follows the changes.
    """
    by_show: defaultdict[ShowId, list[Change]] = defaultdict(list)
    for change in changes:
        by_show[change.show_id].append(change)
    batches: dict[ShowId, HoldBatch] = {}
    versions: dict[ShowId, int] = {}
    for show_id, row in (await lock_shows(work, by_show.keys())).items():
        hall = halls.take(show_id, row.version) or await load_hall(work, row)
        batches[show_id] = await _load_batch(work, by_show[show_id], _locked_show(row, hall, max_seats))
        versions[show_id] = row.version
    outcomes = []
    for change in changes:
        batch = batches.get(change.show_id)
        outcomes.append(_outcome(change, batch))
        if batch is not None and batch.show.has_freed:
            await follower.offer_freed_places(work, batch)
    for show_id, batch in batches.items():
        version = await save_batch(work, batch, versions[show_id], follower)
        hall = Hall(show_id, version, batch.show.places, batch.show.prices)
        work.after_commit(partial(halls.put, hall))
    return outcomes


async def _load_batch(work: UnitOfWork, changes: Sequence[Change], show: LockedShow) -> HoldBatch:
    holds = await load_holds(work, {hold_id for change in changes for hold_id in change.take_hold_ids()})
    takers = {change.taker for change in changes if change.taker is not None}
    if len(takers) == len(changes) and not show.places.counts().available:
        takers = set()  # no place is free, so their limits do not matter
    keys = {code_key(change.code) for change in changes if change.code is not None}
    keys.update(hold.code_key for hold in holds.values() if hold.code_key is not None)
    codes = await load_codes(work, show.show_id, keys)
    return HoldBatch(show, holds, await load_usage(work, show.show_id, takers), codes, work.now)


async def open_batch(
    work: UnitOfWork, show_id: ShowId, *, max_seats: int, taker: UserId | None = None
) -> tuple[HoldBatch, int]:
    """Lock a show and return a batch of changes of it, and the version of its places. Raises EventNotFound."""
    rows = await lock_shows(work, [show_id])
    if show_id not in rows:
        raise EventNotFound(event_id=show_id)
    row = rows[show_id]
    show = _locked_show(row, await load_hall(work, row), max_seats)
    usage = await load_usage(work, show_id, [taker] if taker else [])
    return HoldBatch(show, {}, usage, {}, work.now), row.version


async def save_batch(work: UnitOfWork, batch: HoldBatch, version: int, follower: BatchFollower) -> int:
    """Write what a batch has changed, publish its events, and return the new version of the show."""
    show = batch.show
    await save_holds(work, batch.holds.values())
    await save_codes(work, show.show_id, batch.codes.values())
    if offers := [each for each in batch.holds.values() if each.changed and each.entry_id is not None]:
        await follower.close_offers(work, offers)
    if not show.journal:
        return version
    if (event := show.update_sales_state()) is not None:
        batch.events.append(event)
    await save_show(work, show, version + 1)
    for each in batch.events:
        work.publish(each)
    return version + 1


def _outcome(change: Change, batch: HoldBatch | None) -> Any | Problem:
    if batch is None:
        return EventNotFound(event_id=change.show_id)
    try:
        result = change.act(batch)
    except Problem as problem:
        return problem
    # A copy: a later change of the batch may concern the same hold.
    return result.copy() if isinstance(result, Hold) else result


def _locked_show(row: Any, hall: Hall, max_seats: int) -> LockedShow:
    return LockedShow(
        show_id=row.show_id,
        is_closed=row.is_closed,
        status=row.status,
        sold_out_by_hand=row.sold_out_by_hand,
        sale_starts_at=row.sale_starts_at,
        sale_ends_at=row.sale_ends_at,
        currency=row.currency,
        prices=hall.prices,
        max_seats=max_seats if row.max_seats_per_user is None else row.max_seats_per_user,
        waiting_room=row.waiting_room,
        orphan_rule=row.orphan_rule,
        is_exhausted=row.is_exhausted,
        exhaustion_number=row.exhaustion_number,
        places=hall.places,
    )
