"""What every index of search does. A subclass opens the service with its index."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from tests.services.search.support import FIRST_NIGHT, SearchService, nights

from portico.gateway_client import next_link

NAMES = [
    "Queen live",
    "Quean",
    "Crème Orchestra",
    "Festival of Orchestras",
    "東京 Night",
    "Live 2026",
    "New York Nights",
]
VENUES = ["Wembley Arena", "Queen Hall", "Orchestra House", "Straße 7"]
DESCRIPTIONS = [None, "With Queen and the New York orchestra", "festival, live; C++ & <b>more</b>", "york new"]
QUERIES = [
    *("queen", "quene", "QUEEN li", "creme", "orhcestra", "orchestar festival", "festivla"),
    *('"new york"', '"york new"', "new york nights", "東京", "京", "2026", "2027", "live queen arena"),
    *("strasse", "nigth", "queen zzz", "zzz yyy", "l", "orchestra house live", "c++", "ueqen", "wemblye"),
]


class ShowIndexContract:
    """An index finds, ranks, counts and pages by the rules of the query language."""

    @pytest.fixture
    async def search(self) -> SearchService:
        raise NotImplementedError

    async def settle(self, search: SearchService) -> None:
        """Wait until changes are found."""

    async def test_results_are_those_of_the_rules(self, search: SearchService) -> None:
        statuses = ("ON_SALE", "UPCOMING", "COMPLETED", "SOLD_OUT")
        for number, date in enumerate(nights(28)):
            await search.show(
                NAMES[number % 7],
                venue_name=VENUES[number % 4],
                description=DESCRIPTIONS[number % 3 + number // 14],
                status=statuses[number % 5 % 4],
                event_date=date,
            )
        await self.settle(search)

        for query in QUERIES:
            assert await search.ids(query, size=100) == search.expected_ids(query), query

    async def test_changes_are_found_and_late_events_are_ignored(self, search: SearchService) -> None:
        show = await search.show("Queen live")
        other = await search.show("Abba")
        stale = search.shows[show]
        await search.change(show, event_name="Kings live")
        await search.run.receives(stale.model_copy(), stale.model_copy())
        await search.delete(other)
        await search.change(show, category="Opera", revision=5)
        await search.change(show, category="Jazz", revision=4)
        await self.settle(search)

        assert (await search.ids("queen"), await search.ids("abba"), await search.ids()) == ([], [], [show])
        found = await search.search("kings")
        assert [each["category"] for each in found["events"]] == ["Opera"]
        assert found["facets"]["category"] == {"Opera": 1}

    async def test_a_deleted_show_does_not_return(self, search: SearchService) -> None:
        show = await search.show()
        created = search.shows[show]
        await search.delete(show)
        await search.run.receives(created.model_copy(update={"revision": 2}))
        await self.settle(search)

        assert await search.ids() == []
        assert (await search.rebuild())["documents"] == 0

    async def test_a_facet_counts_without_its_own_filter(self, search: SearchService) -> None:
        may = FIRST_NIGHT + timedelta(days=70)
        await search.show(category="Rock", venue_name="Arena", status="ON_SALE", price=Decimal(10))
        await search.show(category="Jazz", venue_name="Arena North", status="ON_SALE", event_date=may)
        await search.show(category="Jazz", venue_name="Club", status="UPCOMING", price=Decimal(90))
        await search.show("Other", category=None)
        await self.settle(search)

        found = await search.search("queen", category="jazz", status="ON_SALE")
        assert found["page"]["total_elements"] == 1
        assert found["facets"] == {
            "status": {"ON_SALE": 1, "UPCOMING": 1},
            "category": {"Jazz": 1, "Rock": 1},
            "venue_name": {"Arena North": 1},
            "month": {"2027-05": 1},
        }
        by_venue = await search.search("queen", venue="arena")
        assert by_venue["facets"]["venue_name"] == {"Arena": 1, "Arena North": 1, "Club": 1}
        assert by_venue["facets"]["category"] == {"Jazz": 1, "Rock": 1}
        assert (await search.search("queen", max_price="49.50"))["page"]["total_elements"] == 2

    async def test_dates_are_those_of_the_shows_zone_and_bounds_may_be_times(self, search: SearchService) -> None:
        late = datetime(2027, 3, 1, 23, 30, tzinfo=UTC)
        tokyo = await search.show(event_date=late, time_zone="Asia/Tokyo")
        london = await search.show(event_date=late, time_zone="Europe/London")
        await self.settle(search)

        assert await search.ids(date_from="2027-03-02") == [tokyo]
        assert await search.ids(date_from="2027-03-01", date_to="2027-03-01") == [london]
        assert await search.ids(date_from="2027-03-01T23:30:00Z") == [tokyo, london]
        assert await search.ids(date_to="2027-03-01T23:30:00Z") == []
        assert (await search.search(date_from="2027-03-02"))["facets"]["month"] == {"2027-03": 2}

    async def test_pages_show_each_show_once(self, search: SearchService) -> None:
        shows = [await search.show(event_date=date) for date in nights(5)]
        await self.settle(search)

        assert await search.ids("queen", size=2, page=1) == shows[2:4]
        past = await search.search("queen", size=2, page=9)
        assert (past["events"], past["page"]["total_elements"], past["page"]["total_pages"]) == ([], 5, 3)
        walked: list[int] = []
        path: str | None = "/search?q=queen&size=2"
        while path and len(walked) <= len(shows):
            answer = await search.run.anonymous.get(path)
            walked += [each["event_id"] for each in answer.json()["events"]]
            path = next_link(answer.headers["link"])
        assert walked == shows

    async def test_a_rebuild_restores_an_index_that_differs(self, search: SearchService) -> None:
        shows = [await search.show(event_date=date) for date in nights(3)]
        await search.change(shows[0], event_name="King")
        await search.delete(shows[1])
        await self.damage(search, shows[2])
        await self.settle(search)
        assert await search.ids("queen") == []

        rebuilt = await search.rebuild()

        await self.settle(search)
        assert (rebuilt["status"], rebuilt["documents"], rebuilt["indexed"]) == ("COMPLETED", 2, 2)
        assert (await search.ids("queen"), await search.ids("king")) == ([shows[2]], [shows[0]])
        second = await search.rebuild()
        assert (second["status"], second["rebuild_id"] != rebuilt["rebuild_id"]) == ("COMPLETED", True)

    async def damage(self, search: SearchService, show_id: int) -> None:
        """Remove a show from the live index, as a fault would."""
        from portico.contracts.events import ShowId
        from portico.services.search.index.base import ShowIndex

        async with search.run.context.transaction() as work:
            await search.run.context.resource(ShowIndex).remove(work, "a", ShowId(show_id), 99)  # type: ignore[type-abstract]

    async def test_hostile_text_finds_nothing_and_does_no_harm(self, search: SearchService) -> None:
        await search.show()
        await self.settle(search)

        for text in [
            "%",
            "'",
            '"',
            "\\",
            "*",
            "queen' OR 1=1 --",
            "<script>",
            "() : & | ! <->",
            '"" "',
            "\ud83c",
            "-",
            "a" * 200,
        ]:
            answer = await search.run.anonymous.get("/search", params={"q": text.encode("utf-8", "replace")})
            assert answer.status_code == 200, (text, answer.content)
