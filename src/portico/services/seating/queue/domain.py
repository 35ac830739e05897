"""Rules of a queue, without a database: places, admission in the order of arrival, the ledger, estimated times."""

import hashlib
import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from portico.contracts.events import ShowId, ShowStatus, WaitingRoomMode
from portico.contracts.seating import QueueId
from portico.kit import UserId
from portico.services.seating.errors import QueueNotOpen, SaleClosed, SoldOut

EntryStatus = Literal["WAITING", "ADMITTED", "LEFT", "BOOKED", "LAPSED", "CLOSED"]

_RATE_SECONDS: Final = 60.0
"""Time over which the rate of admissions is averaged."""
_RATE_UNIT: Final = 1_000_000
"""Seconds in which a rate counts admissions."""
_MAX_ADMITTED: Final = 1_000
"""Admissions in one batch of a waiting room that was switched off. The next batch continues."""
_ENDED: Final = frozenset({"CANCELLED", "COMPLETED"})


@dataclass(slots=True)
class Entry:
    """A place in a queue."""

    show_id: ShowId
    number: int
    queue_id: QueueId
    user_id: UserId
    status: EntryStatus
    joined_at: datetime
    admitted_at: datetime | None = None
    admitted_until: datetime | None = None

    @property
    def is_live(self) -> bool:
        """Whether the user waits or is admitted."""
        return self.status in {"WAITING", "ADMITTED"}


@dataclass(slots=True)
class Record:
    """A record of the ledger. `hash` covers the hash before it."""

    show_id: ShowId
    sequence: int
    number: int
    joined_at: datetime
    admitted_at: datetime | None
    left_at: datetime | None
    hash: str


def first_hash(show_id: ShowId) -> str:
    """Return the hash that stands before the first record of a show's ledger."""
    return hashlib.sha256(f"queue {int(show_id)}".encode()).hexdigest()


def next_hash(
    before: str, number: int, joined_at: datetime, admitted_at: datetime | None, left_at: datetime | None
) -> str:
    """Return the hash of a record: SHA-256 over the hash before and the members as the API shows them."""
    times = [_text(each) for each in (joined_at, admitted_at, left_at)]
    return hashlib.sha256("\n".join([before, str(number), *times]).encode()).hexdigest()


def _text(moment: datetime | None) -> str:
    """Return a time as the API shows it; "-" for none."""
    return "-" if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Sale:
    """What a queue needs to know of its show."""

    show_id: ShowId
    status: ShowStatus
    mode: WaitingRoomMode
    starts_at: datetime | None
    ends_at: datetime | None

    @property
    def is_over(self) -> bool:
        return self.status in _ENDED

    def is_open(self, now: datetime) -> bool:
        """Return whether places are sold."""
        return self.status == "ON_SALE" and self._has_begun(now) and (self.ends_at is None or now < self.ends_at)

    def check_joining(self, now: datetime, opens: timedelta) -> None:
        """Raise QueueNotOpen, SaleClosed or SoldOut unless users may join `opens` before the sale until its end."""
        if self.is_over or (self.ends_at is not None and now >= self.ends_at):
            ends_at = now if self.ends_at is None else self.ends_at
            raise SaleClosed(event_status=self.status, opens_at=self.starts_at, closes_at=ends_at)
        if self.status == "SOLD_OUT":
            raise SoldOut(event_id=self.show_id)
        if self.starts_at is None and self.status != "ON_SALE":
            raise QueueNotOpen(opens_at=None)
        if self.starts_at is not None and now < self.starts_at - opens:
            raise QueueNotOpen(opens_at=self.starts_at - opens)

    def seconds_until_start(self, now: datetime) -> float:
        """Return the seconds until the sale starts, 0 if it has."""
        return 0.0 if self.starts_at is None else max(0.0, (self.starts_at - now).total_seconds())

    def _has_begun(self, now: datetime) -> bool:
        return self.starts_at is None or now >= self.starts_at


@dataclass(frozen=True, slots=True)
class Limits:
    """Settings of waiting rooms.

    shoppers: how many users may be admitted at once.
    opens: how long before the sale users may join.
    expires_in: how long an admission is valid.
    """

    shoppers: int
    opens: timedelta
    expires_in: timedelta


@dataclass(slots=True)
class Queue:
    """The state of a queue; see QueueRow."""

    show_id: ShowId
    last_number: int
    admitted_through: int
    waiting: int
    shopping: int
    rate: int
    rated_at: datetime
    ledger_size: int
    ledger_hash: str

    def estimated_seconds(self, position: int, sale: Sale, limits: Limits, now: datetime) -> int:
        """Return the estimated time until the entry at `position` is admitted.

        Admissions are at least as frequent as if every shopper used the whole time.
        """
        slowest = limits.shoppers / limits.expires_in.total_seconds()
        return math.ceil(sale.seconds_until_start(now) + position / max(self.rate / _RATE_UNIT, slowest))


@dataclass(slots=True)
class QueueBatch:
    """A queue whose row is locked, with the entries that a batch of requests concerns.

    sale: the show.
    queue: the queue.
    live: the live entries of the users of the batch.
    limits: the settings.
    now: the time of the batch.
    holders: how many users without admission hold places; they shop too.
    """

    sale: Sale
    queue: Queue
    live: dict[UserId, Entry]
    limits: Limits
    now: datetime
    holders: int = 0
    new: list[Entry] = field(default_factory=list)
    changed: dict[int, Entry] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)

    def join(self, user_id: UserId) -> tuple[Entry, int | None]:
        """Return the user's live entry, or a new one behind all others with its position.

        Raises:
            QueueNotOpen: it is too early.
            SaleClosed: the sale is over.
            SoldOut: there is nothing to wait for.
        """
        if (known := self.live.get(user_id)) is not None:
            return known, None
        self.sale.check_joining(self.now, self.limits.opens)
        queue = self.queue
        queue.last_number += 1
        queue.waiting += 1
        entry = Entry(queue.show_id, queue.last_number, QueueId.new(), user_id, "WAITING", self.now)
        self.live[user_id] = entry
        self.new.append(entry)
        self._record(entry)
        return entry, queue.waiting

    def leave(self, user_id: UserId) -> None:
        """End the user's live entry, if there is one."""
        self._end(self.live.get(user_id), "LEFT")

    def book(self, user_id: UserId) -> None:
        """End the admission of a user who has bought places. A user who still waits keeps the place."""
        entry = self.live.get(user_id)
        if entry is not None and entry.status == "ADMITTED":
            self._end(entry, "BOOKED")

    def lapse(self, entries: Iterable[Entry]) -> None:
        """End admissions whose time is over."""
        for each in entries:
            self._end(self.live.get(each.user_id, each), "LAPSED")

    @property
    def free(self) -> int:
        """How many entries can be admitted now."""
        if not self.sale.is_open(self.now) and self.sale.mode != "OFF":
            return 0
        if self.sale.mode == "OFF":
            return min(self.queue.waiting, _MAX_ADMITTED)
        return min(self.queue.waiting, max(0, self.limits.shoppers - self.queue.shopping - self.holders))

    def admit(self, oldest: Sequence[Entry]) -> None:
        """Admit as many as are free, in the order of their numbers.

        Args:
            oldest: stored entries that wait, oldest first: at least `free`, and as many as this batch has ended more.
        """
        free = self.free
        known = {each.number: each for each in self.live.values()}
        waiting = [known.get(each.number, self.changed.get(each.number, each)) for each in oldest]
        candidates = [each for each in (*waiting, *self.new) if each.status == "WAITING"][:free]
        for each in candidates:
            each.status, each.admitted_at = "ADMITTED", self.now
            each.admitted_until = self.now + self.limits.expires_in
            self.queue.waiting -= 1
            self.queue.shopping += 1
            self.queue.admitted_through = each.number
            self.changed[each.number] = each
            self._record(each)
        self._update_rate(len(candidates))

    def _end(self, entry: Entry | None, status: EntryStatus) -> None:
        if entry is None or not entry.is_live:
            return
        if entry.status == "WAITING":
            self.queue.waiting -= 1
            self._record(entry, left_at=self.now)
        else:
            self.queue.shopping -= 1
        entry.status = status
        self.changed[entry.number] = entry
        self.live.pop(entry.user_id, None)

    def _record(self, entry: Entry, left_at: datetime | None = None) -> None:
        queue = self.queue
        queue.ledger_hash = next_hash(queue.ledger_hash, entry.number, entry.joined_at, entry.admitted_at, left_at)
        queue.ledger_size += 1
        self.records.append(
            Record(
                queue.show_id,
                queue.ledger_size,
                entry.number,
                entry.joined_at,
                entry.admitted_at,
                left_at,
                queue.ledger_hash,
            )
        )

    def _update_rate(self, admitted: int) -> None:
        queue = self.queue
        passed = max(0.0, (self.now - queue.rated_at).total_seconds())
        queue.rate = round(queue.rate * math.exp(-passed / _RATE_SECONDS) + admitted * _RATE_UNIT / _RATE_SECONDS)
        queue.rated_at = self.now


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue as all its users see it, from which a position follows without a query.

    queue: its counters.
    sale: the show.
    left: the numbers beyond the last admitted one that do not wait any more, in order.
    """

    queue: Queue
    sale: Sale
    left: Sequence[int]

    def position(self, number: int) -> int:
        """Return the position of a waiting entry, from 1."""
        return max(1, number - self.queue.admitted_through - bisect_left(self.left, number))

    def has_left(self, number: int) -> bool:
        """Return whether an entry that was not admitted does not wait any more."""
        place = bisect_left(self.left, number)
        return place < len(self.left) and self.left[place] == number
