"""The events service under test, and a simulation of seating."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qs

import orjson

from portico.contracts.events import SectionPlan, ShowId
from portico.kit.calls.channel import Channel, ConnectionLost, Incoming, Outgoing, Unreachable
from portico.services.events import service
from portico.testing.databases import Databases
from portico.testing.running_service import Answer, Caller, RunningService, run_service

FIRST_NIGHT = datetime(2026, 3, 1, 19, tzinfo=UTC)
"""Eight weeks after the clock of the tests starts."""


Failure = Literal["unreachable", "lost_before", "lost_after", "busy"]
"""Nothing is sent; the connection breaks before or after the request takes effect; seating answers 503."""


class Seating(Channel):
    """Simulates seating: `taken` has the number of unavailable places of each show that it knows.

    `failures` are those of the next changes; `before_answer` runs once a change has taken effect.
    """

    def __init__(self) -> None:
        self.taken: dict[int, int] = {}
        self.totals: dict[int, int] = {}
        self.revisions: dict[int, int] = {}
        self.retired: set[int] = set()
        self.is_down = False
        self.requests: list[tuple[str, str]] = []
        self.failures: list[Failure] = []
        self.before_answer: Callable[[], Awaitable[None]] | None = None

    @property
    def changes(self) -> list[tuple[str, str]]:
        """The requests to change something."""
        return [each for each in self.requests if each[0] != "GET"]

    async def send(self, out: Outgoing) -> Incoming:
        if out.path == "/oauth/token":
            return _answer({"access_token": "events", "expires_in": 600})
        if out.path.startswith("/health"):
            return _answer({})
        self.requests.append((out.method, out.path))
        if self.is_down:
            raise ConnectionLost(out.service, "the connection broke")
        return self._availability(out) if out.method == "GET" else await self._change(out)

    async def _change(self, out: Outgoing) -> Incoming:
        failure = self.failures.pop(0) if self.failures else None
        if failure == "unreachable":
            raise Unreachable(out.service, "nobody listens")
        if failure == "lost_before":
            raise ConnectionLost(out.service, "the connection broke")
        if failure == "busy":
            return _answer({"code": "unavailable", "status": 503}, 503)
        answer = self._apply(out, int(out.path.split("/")[2]))
        if self.before_answer is not None:
            act, self.before_answer = self.before_answer, None
            await act()
        if failure == "lost_after":
            raise ConnectionLost(out.service, "the connection broke")
        return answer

    def _apply(self, out: Outgoing, show_id: int) -> Incoming:
        used = self.taken.get(show_id, 0)
        if out.method == "DELETE":
            if used:
                return _answer({"code": "event_in_use", "status": 409}, 409)
            self.retired.add(show_id)
            return Incoming(204, [], b"")
        body = orjson.loads(out.body)
        if used and body["currency"] != "USD":
            return _answer({"code": "currency_in_use", "status": 409, "currency": "USD", "used": used, "codes": 0}, 409)
        places = sum(SectionPlan.model_validate(each).places for each in body["sections"])
        if places < used:
            refused = {"code": "seats_in_use", "status": 409, "section": "General", "used": used, "seats": []}
            return _answer(refused, 409)
        self.totals[show_id], self.revisions[show_id] = places, body["revision"]
        return _answer({"event_id": show_id, "available": places - used, "used": used})

    def _availability(self, out: Outgoing) -> Incoming:
        asked = [int(each) for each in parse_qs(out.query.decode())["event_id"]]
        answer = [
            {
                "event_id": each,
                "available": self.totals[each] - self.taken.get(each, 0),
                "used": self.taken.get(each, 0),
            }
            for each in asked
            if each in self.totals
        ]
        return _answer(answer)


def _answer(body: Any, status: int = 200) -> Incoming:
    return Incoming(status, [(b"content-type", b"application/json")], orjson.dumps(body))


def draft(**changes: Any) -> dict[str, Any]:
    """Return the body of a new show."""
    usual = {
        "event_name": "Queen",
        "event_date": FIRST_NIGHT.isoformat(),
        "venue_name": "Wembley Arena",
        "total_seats": 100,
    }
    return {**usual, **changes}


@dataclass
class EventsService:
    """The events service under test."""

    run: RunningService
    seating: Seating = field(default_factory=Seating)

    @property
    def organizer(self) -> Caller:
        return self.run.as_user("events:write")

    async def create(self, **changes: Any) -> Any:
        """Create a show and return it."""
        answer = await self.organizer.post("/events", json=draft(**changes))
        assert answer.status_code == 201, answer.content
        return answer.json()

    async def read(self, show_id: int) -> Any:
        """Return a show as anyone reads it."""
        answer = await self.run.anonymous.get(f"/events/{show_id}")
        assert answer.status_code == 200, answer.content
        return answer.json()

    async def update(self, show_id: int, **changes: Any) -> Answer:
        return await self.organizer.put(f"/events/{show_id}", json=changes)

    async def delete(self, show_id: int) -> Answer:
        return await self.organizer.delete(f"/events/{show_id}")

    async def set_status(self, show_id: int, status: str, **more: Any) -> Answer:
        return await self.organizer.put(f"/events/{show_id}/status", json={"status": status, **more})

    async def records(self, show_id: int, **params: Any) -> Any:
        answer = await self.organizer.get(f"/events/{show_id}/outbox", params=params)
        assert answer.status_code == 200, answer.content
        return answer.json()

    async def published(self, show_id: int | None = None) -> list[Any]:
        """Return the events about a show, or all, oldest first."""
        return [each for each in await self.run.published() if show_id in {None, getattr(each, "event_id", None)}]

    def fails_with(self, answer: Answer, status: int, code: str) -> dict[str, Any]:
        """Check the status and the code of a problem, and return it."""
        problem: dict[str, Any] = answer.json()
        assert (answer.status_code, problem["code"]) == (status, code), problem
        return problem


@asynccontextmanager
async def open_events(databases: Databases, **options: Any) -> AsyncIterator[EventsService]:
    """Run events without background work, with an empty database."""
    seating = Seating()
    async with run_service(service, databases, channel=seating, **{"background": False, **options}) as run:
        yield EventsService(run, seating)


NO_SHOW = ShowId(4_503_599_627_370_495)
