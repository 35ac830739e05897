"""Use cases of queues. Requests of many callers are executed in one transaction."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from portico.contracts.events import ShowId
from portico.contracts.seating import SeatsSold
from portico.kit import Problem, UnitOfWork, UserId
from portico.services.seating.errors import EventNotFound
from portico.services.seating.queue.domain import Entry, Limits, QueueBatch, Sale
from portico.services.seating.queue.repository import (
    close_waiting,
    due_admissions,
    find_sale,
    live_entries,
    lock_queue,
    oldest_waiting,
    save_batch,
)


@dataclass(frozen=True, slots=True)
class Change:
    """A requested change of a show's queue.

    show_id: the show.
    user_id: the user whose entry it changes; None only admits the next users.
    act: makes the change in a batch that has the user's live entry.
    """

    show_id: ShowId
    user_id: UserId | None = None
    act: Callable[[QueueBatch], Any] | None = None


async def change_queues(
    work: UnitOfWork, changes: Sequence[Change], limits: Limits, holders: Mapping[ShowId, int]
) -> Sequence[Any | Problem]:
    """Apply `changes` in order, and admit the next users in the queues of these shows. Return each result or problem.

    Args:
        work: the transaction.
        changes: the requested changes.
        limits: the settings.
        holders: how many users hold places of a show without admission, in mode AUTO.
    """
    by_show: defaultdict[ShowId, list[Change]] = defaultdict(list)
    for change in changes:
        by_show[change.show_id].append(change)
    outcomes: dict[int, Any | Problem] = {}
    for show_id in sorted(by_show):
        outcomes |= await _change_queue(work, show_id, by_show[show_id], limits, holders.get(show_id, 0))
    return [outcomes[id(change)] for change in changes]


async def end_admission_of_buyer(
    work: UnitOfWork, event: SeatsSold, limits: Limits, holders: Mapping[ShowId, int]
) -> None:
    """End the admission of a user who has bought places, and admit the next."""

    def book(batch: QueueBatch) -> None:
        batch.book(event.user_id)

    for outcome in await change_queues(work, [Change(event.event_id, event.user_id, book)], limits, holders):
        if isinstance(outcome, Problem) and not isinstance(outcome, EventNotFound):
            raise outcome


async def _change_queue(
    work: UnitOfWork, show_id: ShowId, changes: Sequence[Change], limits: Limits, holders: int
) -> dict[int, Any | Problem]:
    sale = await find_sale(work, show_id)
    if sale is None:
        return {id(change): EventNotFound(event_id=show_id) for change in changes}
    batch = await _open_batch(work, sale, changes, limits, holders)
    if sale.is_over:
        await close_waiting(work, show_id)
        batch.queue.waiting = batch.queue.shopping = 0
        batch.live.clear()
    outcomes = {id(change): _outcome(change, batch) for change in changes}
    if batch.free:
        batch.admit(await oldest_waiting(work, show_id, batch.free + len(batch.changed)))
    else:
        batch.admit([])
    await save_batch(work, batch)
    # Copies: what the callers get must not change with a later batch.
    return {key: _copied(outcome) for key, outcome in outcomes.items()}


async def _open_batch(
    work: UnitOfWork, sale: Sale, changes: Sequence[Change], limits: Limits, holders: int
) -> QueueBatch:
    queue = await lock_queue(work, sale.show_id)
    users = {change.user_id for change in changes if change.user_id is not None}
    live = await live_entries(work, sale.show_id, users)
    batch = QueueBatch(sale, queue, live, limits, work.now, holders if sale.mode == "AUTO" else 0)
    batch.lapse(await due_admissions(work, sale.show_id, work.now))
    return batch


def _outcome(change: Change, batch: QueueBatch) -> Any | Problem:
    try:
        return None if change.act is None else change.act(batch)
    except Problem as problem:
        return problem


def _copied(outcome: Any) -> Any:
    if isinstance(outcome, tuple) and outcome and isinstance(outcome[0], Entry):
        return (replace(outcome[0]), *outcome[1:])
    return outcome
