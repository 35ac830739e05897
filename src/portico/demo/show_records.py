"""The records of a show: its seats, bookings, tickets, money and queue must agree."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from portico.ticketing_client import TicketingClient


@dataclass(frozen=True, kw_only=True)
class ShowRecords:
    """What the services say of a show.

    Args:
        inventory: the numbers of its places by state.
        mismatches_found: of seats, bookings and tickets, as inventory reports them.
        bookings: all its bookings.
        summary: the totals of bookings.
        payments: all payments for its bookings.
        check_ins: all check-ins at its gates.
        ledger: the records of its waiting room, oldest first.
        codes: the number of codes that the buyers have.
    """

    inventory: Mapping[str, Any]
    mismatches_found: Sequence[Any]
    bookings: Sequence[Mapping[str, Any]]
    summary: Mapping[str, Any]
    payments: Sequence[Mapping[str, Any]]
    check_ins: Sequence[Mapping[str, Any]]
    ledger: Sequence[Mapping[str, Any]]
    codes: int

    def mismatches(self) -> list[str]:
        """Return where the records differ, as sentences."""
        return [
            *self._seat_mismatches(),
            *self._ticket_mismatches(),
            *self._money_mismatches(),
            *self._queue_mismatches(),
        ]

    def table(self) -> Table:
        """Return what was compared, and whether it agrees."""
        table = Table(box=None, padding=(0, 2), show_header=False)
        table.add_column(width=1)
        table.add_column()
        table.add_column(style="dim")
        counts = self.inventory
        for name, mismatches, said in (
            (
                "seats",
                self._seat_mismatches(),
                f"{counts['sold']} of {counts['totalSeats']} are sold, {counts['available']} are free",
            ),
            (
                "tickets",
                self._ticket_mismatches(),
                f"{self.summary['tickets']} are live, {len(self.check_ins)} are checked in",
            ),
            (
                "money",
                self._money_mismatches(),
                self._money(),
            ),
            (
                "queue",
                self._queue_mismatches(),
                f"{len(self._admitted())} buyers were admitted in order, as the hashes prove",
            ),
        ):
            mark = Text("✗", style="bold red") if mismatches else Text("✓", style="green")
            table.add_row(mark, name, said)
        return table

    def _money(self) -> str:
        gross, refunded, net = (f"{self.summary[name]:,.2f}" for name in ("gross", "refunded", "net"))
        return f"{gross} charged, {refunded} refunded, {net} {self.summary['currency']} kept"

    def _seat_mismatches(self) -> list[str]:
        counts = self.inventory
        added = sum(counts[state] for state in ("available", "held", "sold", "blocked"))
        found = [str(each) for each in self.mismatches_found]
        if added != counts["totalSeats"]:
            found.append(f"{added} places are in some state, and the show has {counts['totalSeats']}")
        if counts["held"]:
            found.append(f"{counts['held']} places are still held")
        return found

    def _ticket_mismatches(self) -> list[str]:
        numbers = {
            "sold places": self.inventory["sold"],
            "live tickets": self.summary["tickets"],
            "codes of the buyers": self.codes,
            "check-ins": len(self.check_ins),
        }
        return [] if len(set(numbers.values())) == 1 else [f"the numbers differ: {numbers}"]

    def _money_mismatches(self) -> list[str]:
        kept = round(sum(each["amount"] - each["refunded"] for each in self._confirmed()), 2)
        paid = round(
            sum(each["amount"] - each["refunded"] for each in self.payments if each["status"] == "succeeded"), 2
        )
        found = []
        if self.summary["net"] != kept:
            found.append(f"bookings keep {kept}, and their summary says {self.summary['net']}")
        if paid != kept:
            found.append(f"payments keep {paid}, and bookings {kept}")
        if open_ := [each["bookingId"] for each in self.bookings if each["status"] == "PENDING"]:
            found.append(f"{len(open_)} bookings have no outcome, such as {open_[0]}")
        return found

    def _queue_mismatches(self) -> list[str]:
        joined = [each["number"] for each in self.ledger if each["admittedAt"] is None and each["leftAt"] is None]
        found = []
        if not self._is_chained():
            found.append("a hash of the queue's ledger is wrong")
        if joined != list(range(1, len(joined) + 1)):
            found.append("the numbers of the queue have gaps")
        if self._admitted() != sorted(self._admitted()):
            found.append("the queue did not admit in order")
        return found

    def _admitted(self) -> list[int]:
        return [each["number"] for each in self.ledger if each["admittedAt"] is not None]

    def _is_chained(self) -> bool:
        """Whether each hash is that of its record and the hash before."""
        before = hashlib.sha256(f"queue {self.inventory['eventId']}".encode()).hexdigest()
        for each in self.ledger:
            times = [each[name] or "-" for name in ("joinedAt", "admittedAt", "leftAt")]
            before = hashlib.sha256("\n".join([before, str(each["number"]), *times]).encode()).hexdigest()
            if each["hash"] != before:
                return False
        return True

    def _confirmed(self) -> list[Mapping[str, Any]]:
        return [each for each in self.bookings if each["confirmedAt"] is not None]


async def read_records(organizer: TicketingClient, show_id: int, codes: int) -> ShowRecords:
    """Return the records of a show, read through the gateway. Raises ExpectationFailed.

    Args:
        organizer: a client with the permissions of an organizer.
        show_id: the show.
        codes: the number of codes that the buyers have.
    """
    bookings = await organizer.items(f"/api/bookings?eventId={show_id}", "bookings")
    ids = {each["bookingId"] for each in bookings}
    payments = await organizer.items("/api/payments", "payments")
    check_ins = await organizer.items(f"/api/check-ins?eventId={show_id}", "checkIns")
    return ShowRecords(
        inventory=await organizer.get(f"/api/inventory/{show_id}"),
        mismatches_found=(await organizer.get(f"/api/inventory/{show_id}/reconcile"))["mismatches"],
        bookings=bookings,
        summary=await organizer.get(f"/api/bookings/summary?eventId={show_id}"),
        payments=[each for each in payments if each["bookingId"] in ids],
        check_ins=[each for each in check_ins if each["status"] == "ACTIVE"],
        ledger=await organizer.items(f"/api/queue/{show_id}/ledger", "entries"),
        codes=codes,
    )
