from typing import Any

import pytest
from tests.services.events.support import NO_SHOW, EventsService, draft

SEATED = [
    {"name": "Stalls", "rows": 2, "seats_per_row": 14, "price": 79.5, "accessible": ["A-1", "B-14"]},
    {"name": "Arena", "capacity": 72},
]


class TestCreateEvent:
    async def test_answers_the_event_with_its_defaults(self, events: EventsService) -> None:
        answer = await events.organizer.post("/events", json=draft())

        created = answer.json()
        assert answer.status_code == 201
        assert answer.headers["location"] == f"/events/{created['event_id']}"
        assert answer.headers["etag"] == '"1.101"'
        assert created == {
            "event_id": created["event_id"],
            "event_name": "Queen",
            "event_date": "2026-03-01T19:00:00Z",
            "local_time": "2026-03-01T19:00:00+00:00",
            "venue_name": "Wembley Arena",
            "time_zone": "UTC",
            "total_seats": 100,
            "available_seats": 100,
            "status": "UPCOMING",
            "sale_start_time": None,
            "sale_end_time": "2026-03-01T19:00:00Z",
            "price": 0.0,
            "currency": "USD",
            "description": None,
            "category": None,
            "sections": [
                {
                    "name": "General",
                    "rows": None,
                    "seats_per_row": None,
                    "capacity": 100,
                    "price": None,
                    "accessible": [],
                }
            ],
            "max_seats_per_user": None,
            "orphan_rule": "AVOID",
            "waiting_room": "OFF",
            "cancellable_until": "2026-03-01T19:00:00Z",
            "refund_percent": 100,
            "full_refund_until": None,
            "created_at": "2026-01-05T09:00:00Z",
            "updated_at": "2026-01-05T09:00:00Z",
        }
        assert await events.read(created["event_id"]) == created

    async def test_stores_what_the_caller_sends(self, events: EventsService) -> None:
        sent = {
            "status": "ON_SALE",
            "sale_start_time": "2026-01-10T10:00:00+01:00",
            "sale_end_time": "2026-03-01T17:00:00.000001Z",
            "time_zone": "Europe/Berlin",
            "price": 49.5,
            "currency": "EUR",
            "description": "One night\nonly",
            "category": "Rock",
            "sections": SEATED,
            "max_seats_per_user": 4,
            "orphan_rule": "REFUSE",
            "waiting_room": "AUTO",
            "cancellable_until": "2026-02-28T19:00:00Z",
            "refund_percent": 50,
        }

        found = await events.read((await events.create(**sent))["event_id"])

        assert found["sections"] == [
            {
                "name": "Stalls",
                "rows": 2,
                "seats_per_row": 14,
                "capacity": None,
                "price": 79.5,
                "accessible": ["A-1", "B-14"],
            },
            {
                "name": "Arena",
                "rows": None,
                "seats_per_row": None,
                "capacity": 72,
                "price": None,
                "accessible": [],
            },
        ]
        assert found["sale_start_time"] == "2026-01-10T09:00:00Z"
        unchanged = sent.keys() - {"sections", "sale_start_time"}
        assert {name: found[name] for name in unchanged} == {name: sent[name] for name in unchanged}

    async def test_shows_the_time_in_the_zone_of_the_event(self, embedded: EventsService) -> None:
        summer = await embedded.create(event_date="2026-07-01T23:30:00Z", time_zone="Europe/Berlin")
        winter = await embedded.create(event_date="2026-12-01T23:30:00Z", time_zone="Europe/Berlin")

        assert summer["local_time"] == "2026-07-02T01:30:00+02:00"
        assert winter["local_time"] == "2026-12-02T00:30:00+01:00"

    @pytest.mark.parametrize("name", ["UTC", "Etc/GMT+12", "America/Argentina/Buenos_Aires", "America/Port-au-Prince"])
    async def test_knows_the_zones_of_the_iana(self, embedded: EventsService, name: str) -> None:
        assert (await embedded.create(time_zone=name))["time_zone"] == name

    async def test_accepts_a_date_that_has_passed(self, embedded: EventsService) -> None:
        assert (await embedded.create(event_date="2001-01-01T00:00:00Z"))["event_date"] == "2001-01-01T00:00:00Z"

    async def test_publishes_the_complete_show(self, events: EventsService) -> None:
        created = await events.create(sections=SEATED, price=10, sale_end_time="2026-03-01T12:00:00Z")

        [event] = await events.published()

        assert event.event_type == "event.created"
        assert event.event_id == created["event_id"]
        assert event.revision == 1
        assert event.status == "UPCOMING"
        assert event.sold_out_by_hand is False
        assert event.sale_end_time.isoformat() == "2026-03-01T12:00:00+00:00"
        assert [(each.name, each.places, each.price) for each in event.sections] == [
            ("Stalls", 28, pytest.approx(79.5)),
            ("Arena", 72, None),
        ]

    async def test_a_repeat_with_the_same_key_creates_no_second_event(self, events: EventsService) -> None:
        organizer = events.organizer
        headers = {"idempotency-key": "k1"}

        first = await organizer.post("/events", json=draft(), headers=headers)
        second = await organizer.post("/events", json=draft(), headers=headers)

        assert first.json() == second.json()
        assert len(await events.published()) == 1

    @pytest.mark.parametrize(
        "changes",
        [
            {"total_seats": 0},
            {"total_seats": -1},
            {"total_seats": 1.5},
            {"total_seats": 200_001},
            {"total_seats": 10**12},
            {"total_seats": "100"},
            {"event_date": "2026-03-01T19:00:00"},
            {"event_date": "2026-03-01"},
            {"event_date": 1_772_391_600},
            {"event_date": "0001-01-01T00:00:00Z"},
            {"sale_start_time": "2026-02-01T10:00:00"},
            {"time_zone": "Mars/Olympus"},
            {"time_zone": "../etc/passwd"},
            {"time_zone": "Europe"},
            {"time_zone": "localtime"},
            {"time_zone": "right/Europe/Berlin"},
            {"status": "SOLD_OUT"},
            {"status": "upcoming"},
            {"price": -1},
            {"price": "1"},
            {"unknown": 1},
            {"event_name": " "},
            {"refund_percent": 101},
            {"orphan_rule": "NEVER"},
            {"sections": []},
            {"sections": [{"name": "A", "capacity": 100, "price": -1}]},
            {"sections": [{"name": "A", "capacity": 100, "accessible": ["1-A"]}]},
        ],
    )
    async def test_refuses_invalid_fields(self, embedded: EventsService, changes: dict[str, Any]) -> None:
        answer = await embedded.organizer.post("/events", json=draft(**changes))

        problem = embedded.fails_with(answer, 422, "invalid_request")
        assert problem["errors"]

    @pytest.mark.parametrize(
        "sections",
        [
            [{"name": "A", "capacity": 50}, {"name": "a", "capacity": 50}],
            [{"name": "A", "rows": 10, "seats_per_row": 10, "capacity": 100}],
            [{"name": "A", "rows": 10}],
            [{"name": "A"}],
            [{"name": "A", "rows": 10, "seats_per_row": 10, "accessible": ["K-1"]}],
            [{"name": "A", "rows": 10, "seats_per_row": 10, "accessible": ["A-11"]}],
            [{"name": "A", "rows": 10, "seats_per_row": 10, "accessible": ["A-1", "A-1"]}],
            [{"name": "A", "capacity": 100, "accessible": ["A-1"]}],
        ],
    )
    async def test_refuses_sections_that_are_not_a_hall(
        self, embedded: EventsService, sections: list[dict[str, Any]]
    ) -> None:
        answer = await embedded.organizer.post("/events", json=draft(sections=sections))

        embedded.fails_with(answer, 422, "invalid_layout")

    async def test_refuses_a_total_that_is_not_the_sum_of_the_sections(self, embedded: EventsService) -> None:
        answer = await embedded.organizer.post("/events", json=draft(sections=SEATED, total_seats=99))

        problem = embedded.fails_with(answer, 422, "seat_total_differs")
        assert (problem["places"], problem["total_seats"]) == (100, 99)

    @pytest.mark.parametrize(
        "times",
        [
            {"sale_start_time": "2026-03-01T19:00:00Z"},
            {"sale_start_time": "2026-02-01T10:00:00Z", "sale_end_time": "2026-02-01T10:00:00Z"},
        ],
    )
    async def test_refuses_a_sale_that_does_not_start_before_it_ends(
        self, embedded: EventsService, times: dict[str, Any]
    ) -> None:
        embedded.fails_with(await embedded.organizer.post("/events", json=draft(**times)), 422, "invalid_sale_window")

    async def test_refuses_a_price_that_the_currency_cannot_have(self, embedded: EventsService) -> None:
        priced = [{"name": "A", "capacity": 100, "price": 9.5}]

        for changes in ({"price": 9.999}, {"currency": "JPY", "sections": priced}):
            embedded.fails_with(await embedded.organizer.post("/events", json=draft(**changes)), 422, "too_precise")
        embedded.fails_with(
            await embedded.organizer.post("/events", json=draft(currency="XXX")), 422, "unknown_currency"
        )

    async def test_needs_the_permission(self, embedded: EventsService) -> None:
        problem = embedded.fails_with(
            await embedded.run.as_user().post("/events", json=draft()), 403, "permission_missing"
        )

        assert problem["permission"] == "events:write"
        embedded.fails_with(await embedded.run.anonymous.post("/events", json=draft()), 401, "unauthorized")

    async def test_a_full_hall_of_rows_has_rows_after_z(self, embedded: EventsService) -> None:
        hall = [{"name": "Hall", "rows": 1000, "seats_per_row": 200, "accessible": ["ALL-200"]}]

        assert (await embedded.create(total_seats=200_000, sections=hall))["total_seats"] == 200_000

        hall[0]["accessible"] = ["ALM-1"]
        answer = await embedded.organizer.post("/events", json=draft(total_seats=200_000, sections=hall))
        embedded.fails_with(answer, 422, "invalid_layout")


class TestReadEvent:
    @pytest.mark.parametrize("show_id", [NO_SHOW, 0, -1, "none", 2**53, "1.0"])
    async def test_an_unknown_event_is_not_found(self, embedded: EventsService, show_id: Any) -> None:
        embedded.fails_with(await embedded.run.anonymous.get(f"/events/{show_id}"), 404, "event_not_found")

    async def test_answers_304_until_the_available_seats_change(self, embedded: EventsService) -> None:
        show_id = (await embedded.create())["event_id"]
        embedded.seating.totals[show_id] = 100
        first = await embedded.run.anonymous.get(f"/events/{show_id}")
        condition = {"if-none-match": first.headers["etag"]}

        unchanged = await embedded.run.anonymous.get(f"/events/{show_id}", headers=condition)
        embedded.seating.taken[show_id] = 1
        embedded.run.clock.advance(1)
        changed = await embedded.run.anonymous.get(f"/events/{show_id}", headers=condition)

        assert (unchanged.status_code, changed.status_code) == (304, 200)
        assert changed.json()["available_seats"] == 99
