"""The invariants for the order of admissions and of offers, checked in the database of seating."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from portico.contracts.seating import WaitlistOffered
from portico.drill.databases import DrillDatabases
from portico.kit.data.kit_tables import event_log
from portico.services.seating.holds.models import HoldRow
from portico.services.seating.queue.domain import first_hash, next_hash
from portico.services.seating.queue.models import LedgerRow, QueueEntry
from portico.services.seating.waitlist.models import WaitlistEntry

HOLDS: Any = HoldRow.__table__
LEDGER: Any = LedgerRow.__table__
QUEUE: Any = QueueEntry.__table__
ENTRIES: Any = WaitlistEntry.__table__

SEATING = "inventory"


@dataclass
class SeenWaits:
    """What buyers saw of the waiting list.

    Attributes:
        offered: the entries whose offer a buyer saw, in this order.
        ahead: by entry, how many offers had been seen when its buyer asked for the last time and still had none.
    """

    offered: list[str] = field(default_factory=list)
    ahead: dict[str, int] = field(default_factory=dict)

    def record(self, place: Mapping[str, Any], offers_before: int) -> None:
        """Record a response.

        Args:
            place: the entry, as the response shows it.
            offers_before: the number of offers that had been seen when the request was sent.
        """
        entry_id = str(place["entryId"])
        if place["status"] == "WAITING":
            self.ahead[entry_id] = offers_before
        elif place["status"] == "OFFERED" and entry_id not in self.offered:
            self.offered.append(entry_id)


async def check_order(databases: DrillDatabases, waits: SeenWaits, *, limit: int) -> None:
    """Check the order of admissions and offers. `limit` is the number of places that a user may have."""
    records: defaultdict[Any, list[Any]] = defaultdict(list)
    for row in await databases.rows(SEATING, select(LEDGER).order_by(LEDGER.c.show_id, LEDGER.c.sequence)):
        records[row.show_id].append(row)
    _check_chains(databases, records)
    await _check_admissions(databases, records)
    await _check_offers(databases, waits, limit)


def _check_chains(databases: DrillDatabases, records: Mapping[Any, list[Any]]) -> None:
    invariant = "the ledgers of waiting rooms are chains"
    databases.count_checked(invariant, sum(map(len, records.values())))
    for show_id, rows in records.items():
        before = first_hash(show_id)
        for row in rows:
            before = next_hash(before, row.number, row.joined_at, row.admitted_at, row.left_at)
            if row.hash != before:
                databases.report_breach(invariant, f"record {row.sequence} of {show_id} has a wrong hash")
                break


async def _check_admissions(databases: DrillDatabases, records: Mapping[Any, list[Any]]) -> None:
    """Check that each admitted entry was the first that waited, and that the ledger and the entries agree."""
    invariant = "waiting rooms admit in order"
    waiting: dict[tuple[Any, int], Any] = {}
    admitted: Counter[tuple[Any, int]] = Counter()
    for show_id, rows in records.items():
        for row in rows:
            key = show_id, row.number
            if row.admitted_at is not None:
                if key != next(iter(waiting), None):
                    databases.report_breach(
                        invariant, f"{show_id} admitted {row.number}, which was not the first to wait"
                    )
                admitted[key] += 1
                waiting.pop(key, None)
            elif row.left_at is not None:
                waiting.pop(key, None)
            else:
                waiting[key] = row
        waiting.clear()
    databases.count_checked(invariant, admitted.total())
    for entry in await databases.rows(SEATING, select(QUEUE)):
        number = admitted[entry.show_id, entry.number]
        if number != (entry.admitted_at is not None):
            databases.report_breach(
                invariant, f"{entry.queue_id} is {entry.status}; its ledger admitted it {number} times"
            )


async def _check_offers(databases: DrillDatabases, waits: SeenWaits, limit: int) -> None:
    invariant = "every place in the waiting list ends"
    entries = {str(row.entry_id): row for row in await databases.rows(SEATING, select(ENTRIES))}
    databases.count_checked(invariant, len(entries))
    for entry in entries.values():
        if entry.status in {"WAITING", "OFFERED"}:
            databases.report_breach(invariant, f"{entry.entry_id} is still {entry.status}")

    invariant = "places are offered to the oldest party that they suffice for"
    wanted = select(event_log.c.aggregate).where(event_log.c.type == WaitlistOffered.event_type)
    offered = [row.aggregate for row in await databases.rows(SEATING, wanted.order_by(event_log.c.id))]
    databases.count_checked(invariant, len(offered))
    users = _places_by_user(await databases.rows(SEATING, select(HOLDS)))

    def check(older: Any, others: Iterable[str]) -> None:
        own = next((number for hold, number in users[older.user_id].items() if hold == older.hold_id), 0)
        if sum(users[older.user_id].values()) - own + older.quantity > limit:
            return  # it may have been passed over because of the limit per user
        for other in others:
            newer = entries[other]
            if newer.show_id == older.show_id and newer.number > older.number and newer.quantity >= older.quantity:
                message = (
                    f"{newer.entry_id} ({newer.quantity}) was offered places before {older.entry_id} ({older.quantity})"
                )
                databases.report_breach(invariant, message)

    for place, entry_id in enumerate(offered):
        check(entries[entry_id], offered[:place])
    for entry_id, number in waits.ahead.items():
        if entry_id not in offered:
            check(entries[entry_id], waits.offered[:number])


def _places_by_user(holds: Sequence[Any]) -> Mapping[Any, Mapping[Any, int]]:
    """Return the number of places of each hold that a user ever had, by user and hold."""
    found: defaultdict[Any, dict[Any, int]] = defaultdict(dict)
    for hold in holds:
        found[hold.user_id][hold.hold_id] = len(hold.places)
    return found
