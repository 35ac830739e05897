"""Scans: what a gate sends, and which of two scans of one ticket counts."""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from portico.contracts.events import ShowId
from portico.services.bookings.tickets.domain import TicketCode


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan of a code.

    code: what the code says; None if no ticket key signed it.
    event_id: the show that the gate admits to; None if it does not say.
    scanned_at: when the code was scanned; never after it arrived.
    arrived_at: when the scan arrived here.
    is_live: whether the gate waits for the answer before it lets the person in. Otherwise it has done so already.
    by: who scanned.
    """

    code: TicketCode | None
    event_id: ShowId | None
    gate: str | None
    scan_id: str | None
    scanned_at: datetime
    arrived_at: datetime
    is_live: bool
    by: str

    @classmethod
    def arrived(
        cls,
        code: TicketCode | None,
        *,
        event_id: ShowId | None,
        gate: str | None,
        scan_id: str | None,
        scanned_at: datetime | None,
        now: datetime,
        is_live: bool,
        by: str,
    ) -> Self:
        """Return a scan that arrives `now`. The clock of a gate may be fast, so its time is at most that."""
        return cls(code, event_id, gate, scan_id, now if scanned_at is None else min(scanned_at, now), now, is_live, by)

    @property
    def is_dated(self) -> bool:
        """Whether the code was scanned some time before the scan arrived."""
        return self.scanned_at < self.arrived_at

    @property
    def order(self) -> tuple[datetime, str]:
        """What decides which of two offline scans of a ticket counts: the smaller one, in whatever order they arrive."""
        return scan_order(self.scanned_at, self.scan_id)

    @property
    def lock_order(self) -> str:
        """The order in which the tickets of scans are locked."""
        return "" if self.code is None else self.code.serial

    def not_before(self, earliest: datetime) -> Self:
        """Return the scan with a time of at least `earliest`. The clock of a gate may have been reset."""
        return self if self.scanned_at >= earliest else replace(self, scanned_at=earliest)


def scan_order(scanned_at: datetime, scan_id: str | None) -> tuple[datetime, str]:
    """Return the order of a scan. Of two at the same moment, the one with the smaller id counts."""
    return scanned_at, scan_id or "\U0010ffff"


def scan_id_of(subject: str, idempotency_key: str) -> str:
    """Return the id of a scan that a caller sent with an Idempotency-Key instead."""
    return hashlib.sha256(f"{subject}\n{idempotency_key}".encode()).hexdigest()
