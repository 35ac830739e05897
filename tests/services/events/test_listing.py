from collections.abc import Mapping
from typing import Any

import pytest
from tests.services.events.support import EventsService


async def listed(events: EventsService, **params: Any) -> Any:
    answer = await events.run.anonymous.get("/events", params=params)
    assert answer.status_code == 200, answer.content
    return answer.json()


async def names(events: EventsService, **params: Any) -> list[str]:
    return [each["event_name"] for each in (await listed(events, **params))["events"]]


class TestListEvents:
    async def test_are_in_order_of_date_and_id(self, events: EventsService) -> None:
        for name, date in (("C", "2026-03-02"), ("A", "2026-03-01"), ("B", "2026-03-01")):
            await events.create(event_name=name, event_date=f"{date}T19:00:00Z")

        found = await listed(events)

        assert [each["event_name"] for each in found["events"]] == ["A", "B", "C"]
        assert found["page"] == {"number": 0, "size": 20, "total_elements": 3, "total_pages": 1}

    async def test_pages_by_cursor_show_nothing_twice(self, events: EventsService) -> None:
        for number in range(5):
            await events.create(event_name=f"{number}", event_date=f"2026-03-0{number // 2 + 2}T19:00:00Z")
        seen: list[str] = []
        path = "/events?size=2"

        while path:
            answer = await events.run.anonymous.get(path)
            seen += [each["event_name"] for each in answer.json()["events"]]
            assert answer.json()["page"]["total_elements"] == 5 + (len(seen) > 2)
            links = [each for each in answer.headers["link"].split(", ") if 'rel="next"' in each]
            path = links[0].split("<")[1].split(">")[0] if links else ""
            if len(seen) == 2:
                await events.create(event_name="new", event_date="2026-03-01T19:00:00Z")

        assert seen == ["0", "1", "2", "3", "4"]

    async def test_past_the_end_is_empty_with_true_totals(self, embedded: EventsService) -> None:
        await embedded.create()

        found = await listed(embedded, page=7, size=1)

        assert found == {
            "events": [],
            "page": {"number": 7, "size": 1, "total_elements": 1, "total_pages": 1},
        }

    @pytest.mark.parametrize(
        "params",
        [
            {"size": 0},
            {"size": 101},
            {"page": -1},
            {"status": "GONE"},
            {"date_from": "2026-03-01T10:00:00"},
            {"date_from": "5"},
            {"date_to": "tomorrow"},
            {"venue": "x" * 201},
            {"unknown": "1"},
            {"cursor": "x"},
        ],
    )
    async def test_refuses_invalid_parameters(self, embedded: EventsService, params: Mapping[str, Any]) -> None:
        answer = await embedded.run.anonymous.get("/events", params=params)

        assert answer.status_code == 422

    @pytest.mark.parametrize(
        ("bound", "message"),
        [
            ("tomorrow", "a date such as 2026-01-31, or a time such as 2026-01-31T12:00:00Z"),
            ("2026-02-30", "a date such as 2026-01-31, or a time such as 2026-01-31T12:00:00Z"),
            ("5", "a date such as 2026-01-31, or a time such as 2026-01-31T12:00:00Z"),
            ("2026-03-01T10:00:00", "the time has no time zone"),
        ],
    )
    async def test_an_invalid_bound_is_one_error_of_its_parameter(
        self, embedded: EventsService, bound: str, message: str
    ) -> None:
        answer = await embedded.run.anonymous.get("/events", params={"date_from": bound})

        [error] = answer.json()["errors"]
        assert error["location"] == ["query", "date_from"]
        assert message in error["message"]

    async def test_are_filtered_by_status_and_category(self, events: EventsService) -> None:
        await events.create(event_name="A", category="Théâtre", status="ON_SALE")
        await events.create(event_name="B", category="Theatre Night")
        await events.create(event_name="C", status="ON_SALE")

        assert await names(events, status="ON_SALE") == ["A", "C"]
        assert await names(events, category="THEATRE") == ["A"]
        assert await names(events, status="UPCOMING", category="theatre") == []

    async def test_are_filtered_by_words_of_the_venue(self, events: EventsService) -> None:
        await events.create(event_name="A", venue_name="Wembley Arena, London")
        await events.create(event_name="B", venue_name="O₂ Arena")
        await events.create(event_name="C", venue_name="日本武道館")

        assert await names(events, venue="arena") == ["A", "B"]
        assert await names(events, venue="LONDON wembley") == ["A"]
        assert await names(events, venue="aren") == []
        assert await names(events, venue="o2") == ["B"]
        assert await names(events, venue="武道館") == ["C"]
        assert [await names(events, venue=each) for each in ("%", "_", "a%a", "' OR 1=1 --")] == [[], [], [], []]

    async def test_bounds_with_a_time_are_instants(self, events: EventsService) -> None:
        await events.create(event_name="A", event_date="2026-03-01T19:00:00Z")
        await events.create(event_name="B", event_date="2026-03-01T20:00:00Z")

        assert await names(events, date_from="2026-03-01T19:00:00Z", date_to="2026-03-01T20:00:00Z") == ["A"]
        assert await names(events, date_from="2026-03-01T20:00:00.000001+01:00") == ["B"]
        assert await names(events, date_from="0001-01-01T00:00:00Z", date_to="9999-12-31T23:59:59Z") == ["A", "B"]

    async def test_bounds_with_a_date_are_whole_days_in_the_zone_of_the_event(self, events: EventsService) -> None:
        late = "2026-03-01T23:30:00Z"
        await events.create(event_name="Berlin", event_date=late, time_zone="Europe/Berlin")
        await events.create(event_name="London", event_date=late, time_zone="Europe/London")

        assert await names(events, date_from="2026-03-01", date_to="2026-03-01") == ["London"]
        assert await names(events, date_from="2026-03-02") == ["Berlin"]
        assert await names(events, date_from="2026-03-01", date_to="2026-03-02") == ["Berlin", "London"]
        assert await names(events, date_from="0001-01-01", date_to="9999-12-31") == ["Berlin", "London"]

    async def test_a_date_is_compared_in_the_furthest_zones(self, embedded: EventsService) -> None:
        for name, time_zone in (("East", "Pacific/Kiritimati"), ("West", "Etc/GMT+12")):
            await embedded.create(event_name=name, event_date="2026-03-01T10:00:00Z", time_zone=time_zone)
            await embedded.create(event_name=name, event_date="2026-03-01T13:00:00Z", time_zone=time_zone)

        assert await names(embedded, date_from="2026-03-02", date_to="2026-03-02") == ["East", "East"]
        assert await names(embedded, date_from="2026-02-28", date_to="2026-02-28") == ["West"]

    async def test_the_available_seats_of_a_page_are_read_at_once(self, embedded: EventsService) -> None:
        shows = [await embedded.create() for _ in range(3)]
        embedded.seating.totals = {each["event_id"]: 100 for each in shows}
        embedded.seating.taken[shows[1]["event_id"]] = 40

        found = await listed(embedded)

        assert [each["available_seats"] for each in found["events"]] == [100, 60, 100]
        assert len(embedded.seating.requests) == 1
