"""Tickets, and the gates where they are scanned."""

from dataclasses import dataclass
from typing import Any

from tests.services.bookings.support import BookingsService
from tests.services.bookings.tickets.support import Person, issue, person

from portico.contracts.events import ShowId
from portico.testing.running_service import Answer, Caller

LONG = 10_000_000  # seconds
GATES = ("check-ins:write",)


@dataclass(frozen=True)
class Gate:
    """A gate of a show, with a scanner that may check tickets in."""

    caller: Caller
    name: str = "North"

    async def scan(self, code: str, **members: Any) -> Answer:
        """Scan a code."""
        return await self.caller.post("/check-ins", json={"code": code, "gate": self.name, **members})

    async def batch(self, *scans: dict[str, Any]) -> list[dict[str, Any]]:
        """Send scans that were made offline, and return their results."""
        answer = await self.caller.post(
            "/check-ins/batch", json={"scans": [{"gate": self.name, **scan} for scan in scans]}
        )
        assert answer.status_code == 200, answer.content
        results: list[dict[str, Any]] = answer.json()["results"]
        return results

    async def undo(self, check_in_id: str, reason: str = "Left") -> Answer:
        """Take a check-in back."""
        return await self.caller.post(f"/check-ins/{check_in_id}/undo", json={"reason": reason})

    async def manifest(self, event_id: int, since: str | None = None) -> dict[str, Any]:
        """Return the manifest of a show."""
        params = {"event_id": event_id, **({"since": since} if since else {})}
        answer = await self.caller.get("/check-ins/manifest", params=params)
        assert answer.status_code == 200, answer.content
        found: dict[str, Any] = answer.json()
        return found


def gate(bookings: BookingsService, name: str = "North") -> Gate:
    """Return a gate."""
    return Gate(bookings.run.bearing(bookings.run.issuer.token(permissions=GATES, lasting=LONG)), name)


async def ticket_of(bookings: BookingsService, event_id: ShowId | None = None) -> tuple[Person, dict[str, Any]]:
    """Return a person with a ticket for a show."""
    ada = await person(bookings)
    await issue(bookings, ada.user_id, event_id=event_id or ShowId.new())
    (ticket,) = await ada.tickets()
    return ada, ticket
