from datetime import datetime
from typing import Any

import pytest
from tests.services.events.support import NO_SHOW, EventsService

from portico.contracts.events import ShowId
from portico.services.events.repository import Shows
from portico.services.events.status_scheduler import StatusScheduler

STALLS = {"name": "Stalls", "rows": 2, "seats_per_row": 14, "price": 79.5, "accessible": ["A-1"]}
ARENA = {"name": "Arena", "capacity": 72}
BALCONY = {"name": "Balcony", "rows": 3, "seats_per_row": 10}


class TestUpdateEvent:
    async def test_changes_the_given_fields_only(self, events: EventsService) -> None:
        created = await events.create(category="Rock", price=10)
        events.run.clock.advance(60)
        changes = {
            "event_name": "Queen & friends",
            "price": 12.5,
            "currency": "EUR",
            "description": "Late show",
            "category": None,
            "max_seats_per_user": 4,
            "orphan_rule": "REFUSE",
            "waiting_room": "ON",
            "sale_start_time": "2026-01-10T10:00:00Z",
            "sale_end_time": "2026-02-10T10:00:00Z",
            "cancellable_until": "2026-02-01T10:00:00Z",
            "refund_percent": 80,
        }

        answer = await events.update(created["event_id"], **changes)

        expected = {**created, **changes, "updated_at": "2026-01-05T09:01:00Z"}
        assert (answer.status_code, answer.json()) == (200, expected)
        assert await events.read(created["event_id"]) == expected
        assert [method for method, _ in events.seating.changes] == ["PUT"]  # seating accepts the currency
        [_, event] = await events.published()
        assert (event.event_type, event.revision, event.is_rescheduled) == ("event.updated", 2, False)
        assert (event.event_name, event.category, event.refund_percent) == ("Queen & friends", None, 80)

    @pytest.mark.parametrize("name", ["event_date", "venue_name"])
    async def test_a_new_date_or_venue_reopens_full_refunds(self, events: EventsService, name: str) -> None:
        created = await events.create()
        new = {"event_date": "2026-04-01T19:00:00Z", "venue_name": "O2 Arena"}[name]

        changed = (await events.update(created["event_id"], **{name: new})).json()

        assert (changed[name], changed["full_refund_until"]) == (new, "2026-01-19T09:00:00Z")
        assert changed["sale_end_time"] == changed["cancellable_until"] == changed["event_date"]
        [_, event] = await events.published()
        assert event.is_rescheduled is True
        assert event.full_refund_until.isoformat() == "2026-01-19T09:00:00+00:00"

    async def test_null_lets_times_follow_the_date_again(self, embedded: EventsService) -> None:
        times = {"sale_end_time": "2026-02-10T10:00:00Z", "cancellable_until": "2026-02-01T10:00:00Z"}
        show_id = (await embedded.create(**times))["event_id"]

        kept = (await embedded.update(show_id, event_date="2026-04-01T19:00:00Z")).json()
        reset = (await embedded.update(show_id, sale_end_time=None, cancellable_until=None)).json()

        assert {name: kept[name] for name in times} == times
        assert {reset[name] for name in times} == {"2026-04-01T19:00:00Z"}

    async def test_a_sale_that_starts_later_is_followed_at_its_new_start(self, embedded: EventsService) -> None:
        show_id = (await embedded.create(sale_start_time="2026-01-05T10:00:00Z"))["event_id"]
        scheduler = embedded.run.context.resource(StatusScheduler)
        await embedded.update(show_id, sale_start_time="2026-01-05T11:00:00Z")

        found = []
        for _ in range(2):
            embedded.run.clock.advance(3_600)
            await scheduler.run_due()
            found.append((await embedded.read(show_id))["status"])

        assert found == ["UPCOMING", "ON_SALE"]

    async def test_filters_follow_the_changes(self, events: EventsService) -> None:
        show_id = (await events.create(category="Rock"))["event_id"]
        await events.update(
            show_id,
            category="Jazz",
            venue_name="Blue Note",
            event_date="2026-04-01T23:00:00Z",
            time_zone="Europe/Berlin",
        )

        for filters, count in (
            ({"category": "jazz", "venue": "note", "date_from": "2026-04-02", "date_to": "2026-04-02"}, 1),
            ({"category": "rock"}, 0),
            ({"venue": "wembley"}, 0),
        ):
            found = await events.run.anonymous.get("/events", params=filters)
            assert len(found.json()["events"]) == count

    async def test_without_a_difference_changes_nothing(self, events: EventsService) -> None:
        created = await events.create(sections=[STALLS, ARENA], price=10)
        same = {"event_name": "Queen", "price": 10.0, "sections": [STALLS, ARENA], "total_seats": 100}

        answer = await events.update(created["event_id"], **same)

        assert answer.json() == created
        assert len(await events.published()) == 1

    async def test_can_change_the_status_too(self, events: EventsService) -> None:
        show_id = (await events.create())["event_id"]

        answer = await events.update(show_id, event_name="Abba", status="ON_SALE")

        assert (answer.json()["event_name"], answer.json()["status"]) == ("Abba", "ON_SALE")
        assert [(each.event_type, each.status, each.revision) for each in await events.published()] == [
            ("event.created", "UPCOMING", 1),
            ("event.updated", "UPCOMING", 2),
            ("event.status_changed", "ON_SALE", 3),
        ]

    async def test_is_all_or_nothing(self, events: EventsService) -> None:
        created = await events.create()

        answer = await events.update(created["event_id"], event_name="Abba", status="SOLD_OUT")

        events.fails_with(answer, 409, "illegal_transition")
        assert await events.read(created["event_id"]) == created
        assert len(await events.published()) == 1

    async def test_keeps_the_currency_while_places_are_held_or_sold(self, events: EventsService) -> None:
        created = await events.create(price=9.5)
        show_id = created["event_id"]
        events.seating.taken[show_id] = 3

        refused = await events.update(show_id, currency="EUR", event_name="Abba")
        events.fails_with(refused, 409, "currency_in_use")
        problem = refused.json()
        assert (problem["currency"], problem["used"]) == ("USD", 3)
        assert (await events.read(show_id))["event_name"] == "Queen"

        events.seating.taken[show_id] = 0
        assert (await events.update(show_id, currency="EUR")).json()["currency"] == "EUR"

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"event_name": None}, "invalid_request"),
            ({"total_seats": 0}, "invalid_request"),
            ({"event_date": "2026-04-01T19:00:00"}, "invalid_request"),
            ({"event_id": 5}, "invalid_request"),
            ({"sale_start_time": "2026-03-01T19:00:00Z"}, "invalid_sale_window"),
            ({"event_date": "2026-01-09T00:00:00Z"}, "invalid_sale_window"),
            ({"currency": "JPY"}, "too_precise"),
            ({"sections": [ARENA, ARENA]}, "invalid_layout"),
            ({"sections": [ARENA], "total_seats": 73}, "seat_total_differs"),
        ],
    )
    async def test_refuses_invalid_changes(self, embedded: EventsService, changes: dict[str, Any], code: str) -> None:
        created = await embedded.create(price=9.5, sale_start_time="2026-01-10T10:00:00Z")

        embedded.fails_with(await embedded.update(created["event_id"], **changes), 422, code)

        assert await embedded.read(created["event_id"]) == created

    async def test_refuses_changes_of_shows_that_have_ended(self, embedded: EventsService) -> None:
        show_id = (await embedded.create())["event_id"]
        await embedded.set_status(show_id, "CANCELLED")

        refused = await embedded.update(show_id, event_name="Abba")
        layout = await embedded.update(show_id, total_seats=200)
        same = await embedded.update(show_id, event_name="Queen", status="CANCELLED")

        assert embedded.fails_with(refused, 409, "event_ended")["current"] == "CANCELLED"
        embedded.fails_with(layout, 409, "event_ended")
        assert same.status_code == 200
        assert embedded.seating.changes == []

    async def test_honours_if_match(self, embedded: EventsService) -> None:
        show_id = (await embedded.create())["event_id"]
        tag = (await embedded.organizer.get(f"/events/{show_id}")).headers["etag"]
        changes: list[dict[str, Any]] = [{"event_name": "A"}, {"event_name": "B"}, {"total_seats": 120}]

        answers = [
            await embedded.organizer.put(f"/events/{show_id}", json=each, headers={"if-match": tag}) for each in changes
        ]

        assert [each.status_code for each in answers] == [200, 412, 412]
        assert embedded.seating.changes == []

    async def test_needs_the_permission_and_an_event(self, embedded: EventsService) -> None:
        show_id = (await embedded.create())["event_id"]

        answer = await embedded.run.as_user().put(f"/events/{show_id}", json={"event_name": "A"})

        assert embedded.fails_with(answer, 403, "permission_missing")["permission"] == "events:write"
        embedded.fails_with(await embedded.update(NO_SHOW, event_name="A"), 404, "event_not_found")

    async def test_a_change_by_hand_postpones_the_completion(self, embedded: EventsService) -> None:
        show_id = (await embedded.create(event_date="2026-01-01T09:00:00Z"))["event_id"]
        embedded.run.clock.advance(3_600)
        await embedded.update(show_id, event_name="A")

        async with embedded.run.context.reader() as reader:
            show: Any = await Shows(reader).get(ShowId(show_id))

        assert show.complete_at == datetime.fromisoformat("2026-01-06T10:00:00+00:00")


class TestNewSections:
    async def test_are_announced_to_seating_first(self, events: EventsService) -> None:
        show_id = (await events.create(sections=[STALLS, ARENA]))["event_id"]
        events.seating.taken[show_id] = 5

        answer = await events.update(show_id, sections=[STALLS, ARENA, BALCONY])

        changed = answer.json()
        assert (changed["total_seats"], changed["available_seats"]) == (130, 125)
        assert [each["name"] for each in changed["sections"]] == ["Stalls", "Arena", "Balcony"]
        assert (events.seating.totals[show_id], events.seating.revisions[show_id]) == (130, 2)
        [_, event] = await events.published()
        assert (event.event_type, event.total_seats, event.revision) == ("event.updated", 130, 2)
        assert len(event.sections) == 3

    async def test_a_number_alone_resizes_a_standing_show(self, embedded: EventsService) -> None:
        standing = (await embedded.create())["event_id"]
        seated = (await embedded.create(sections=[STALLS], total_seats=28))["event_id"]

        resized = await embedded.update(standing, total_seats=150)

        assert [each["capacity"] for each in resized.json()["sections"]] == [150]
        embedded.fails_with(await embedded.update(seated, total_seats=29), 422, "seat_total_differs")

    async def test_are_refused_if_places_in_use_would_not_exist(self, events: EventsService) -> None:
        created = await events.create()
        show_id = created["event_id"]
        events.seating.totals[show_id], events.seating.taken[show_id] = 100, 60

        refused = await events.update(show_id, total_seats=59, event_name="Abba")
        smaller = await events.update(show_id, total_seats=60)

        problem = events.fails_with(refused, 409, "seats_in_use")
        assert (problem["section"], problem["used"]) == ("General", 60)
        assert (smaller.json()["event_name"], smaller.json()["available_seats"]) == ("Queen", 0)


class TestDeleteEvent:
    async def test_closes_the_show_in_seating_first(self, events: EventsService) -> None:
        show_id = (await events.create())["event_id"]

        answer = await events.delete(show_id)

        assert answer.status_code == 204
        assert events.seating.retired == {show_id}
        events.fails_with(await events.run.anonymous.get(f"/events/{show_id}"), 404, "event_not_found")
        events.fails_with(await events.delete(show_id), 404, "event_not_found")
        [_, event] = await events.published()
        assert (event.event_type, event.event_id, event.revision) == ("event.deleted", show_id, 2)
        assert (event.event_name, event.venue_name) == ("Queen", "Wembley Arena")
        records = (await events.records(show_id))["records"]
        assert [each["event_type"] for each in records] == ["EVENT_CREATED", "EVENT_DELETED"]

    async def test_is_refused_while_a_place_is_held_or_sold(self, events: EventsService) -> None:
        show_id = (await events.create())["event_id"]
        events.seating.taken[show_id] = 1

        refused = await events.delete(show_id)
        renamed = await events.update(show_id, event_name="Abba")

        events.fails_with(refused, 409, "event_in_use")
        assert renamed.status_code == 200

    async def test_honours_if_match_and_needs_the_permission(self, embedded: EventsService) -> None:
        show_id = (await embedded.create())["event_id"]
        path = f"/events/{show_id}"

        old = await embedded.organizer.delete(path, headers={"if-match": '"7"'})
        denied = await embedded.run.as_user("inventory:write").delete(path)

        assert old.status_code == 412
        assert embedded.fails_with(denied, 403, "permission_missing")["permission"] == "events:write"
        assert embedded.seating.changes == []
