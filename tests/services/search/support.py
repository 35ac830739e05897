"""The search service under test, fed with events, and a reference that ranks every show by the rules alone."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from portico.contracts.events import SectionPlan, ShowCreated, ShowDeleted, ShowId, ShowUpdated
from portico.services.search import service
from portico.services.search.document import Document
from portico.services.search.domain import parse_query
from portico.services.search.rebuilder import Rebuilder
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, run_service

FIRST_NIGHT = datetime(2027, 3, 1, 19, tzinfo=UTC)


def show_event(kind: Any = ShowCreated, **members: Any) -> Any:
    """Return an event with the complete state of a show."""
    date = members.get("event_date", FIRST_NIGHT)
    usual: dict[str, Any] = {
        "event_id": ShowId.new(),
        "event_name": "Queen",
        "event_date": date,
        "venue_name": "Wembley Arena",
        "time_zone": "UTC",
        "total_seats": 100,
        "status": "ON_SALE",
        "sold_out_by_hand": False,
        "sale_start_time": None,
        "sale_end_time": date,
        "price": Decimal("49.50"),
        "currency": "USD",
        "description": None,
        "category": "Rock",
        "sections": (SectionPlan(name="General", capacity=100),),
        "max_seats_per_user": None,
        "orphan_rule": "AVOID",
        "waiting_room": "OFF",
        "cancellable_until": date,
        "refund_percent": 100,
        "full_refund_until": None,
        "revision": 1,
    }
    if kind is ShowUpdated:
        usual["is_rescheduled"] = False
    return kind(**usual | members)


@dataclass
class SearchService:
    """The search service under test. `shows` are the events of the live shows, by id."""

    run: RunningService
    shows: dict[ShowId, Any] = field(default_factory=dict)

    async def show(self, name: str = "Queen", **members: Any) -> ShowId:
        """Deliver the event of a new show."""
        event = show_event(event_name=name, **members)
        await self.run.receives(event)
        self.shows[event.event_id] = event
        return ShowId(event.event_id)

    async def change(self, show_id: ShowId, **members: Any) -> None:
        """Deliver the event of a changed show."""
        before = self.shows[show_id]
        state = {name: getattr(before, name) for name in type(before).model_fields if name != "is_rescheduled"}
        event = show_event(ShowUpdated, **state | {"revision": before.revision + 1} | members)
        await self.run.receives(event)
        self.shows[show_id] = event

    async def delete(self, show_id: ShowId) -> None:
        """Deliver the event of a deleted show."""
        event = self.shows.pop(show_id)
        await self.run.receives(show_event(ShowDeleted, event_id=show_id, revision=event.revision + 1))

    async def search(self, q: str | None = None, **params: Any) -> dict[str, Any]:
        """Search as an anonymous caller."""
        answer = await self.run.anonymous.get("/search", params={**({} if q is None else {"q": q}), **params})
        assert answer.status_code == 200, answer.content
        found: dict[str, Any] = answer.json()
        return found

    async def ids(self, q: str | None = None, **params: Any) -> list[int]:
        return [each["event_id"] for each in (await self.search(q, **params))["events"]]

    async def names(self, q: str | None = None, **params: Any) -> list[str]:
        return [each["event_name"] for each in (await self.search(q, **params))["events"]]

    def expected_ids(self, q: str) -> list[int]:
        """Return what the rules alone find: every show is ranked by itself."""
        terms = parse_query(q)
        ranked: list[tuple[int, Any]] = []
        for event in self.shows.values():
            show = Document.of_event(event)
            if (tier := show.texts.tier(terms)) is not None:
                ranked.append((show.texts.matched(terms), (tier, show.status_rank, show.starts_at, int(show.event_id))))
        most = max((matched for matched, _ in ranked), default=0)
        return [key[-1] for _, key in sorted((matched, key) for matched, key in ranked if matched == most)]

    async def rebuild(self) -> dict[str, Any]:
        """Rebuild the index to the end."""
        staff = self.run.as_user("search:write")
        answer = await staff.post("/search/rebuild")
        assert answer.status_code == 202, answer.content
        await self.run.context.resource(Rebuilder).run_due()
        found: dict[str, Any] = (await staff.get(answer.headers["location"])).json()
        return found


def nights(count: int) -> Sequence[datetime]:
    return [FIRST_NIGHT + timedelta(days=number) for number in range(count)]


@asynccontextmanager
async def open_search(databases: Databases, **variables: str) -> AsyncIterator[SearchService]:
    """Run search without background work, with an empty index."""
    async with run_service(service, databases, variables=variables, background=False) as run:
        yield SearchService(run)
