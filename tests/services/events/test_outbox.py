from tests.services.events.support import NO_SHOW, EventsService

from portico.kit.messaging.relay import Relay
from portico.testing.brokers import ScriptedBroker


class TestOutbox:
    async def test_has_a_record_of_each_change_oldest_first(self, events: EventsService) -> None:
        show_id = (await events.create())["event_id"]
        await events.create()
        events.run.clock.advance(60)
        await events.set_status(show_id, "ON_SALE")
        await events.set_status(show_id, "UPCOMING")  # refused

        found = await events.records(show_id)

        assert found["page"] == {"number": 0, "size": 20, "total_elements": 2, "total_pages": 1}
        first, second = found["records"]
        assert {name: first[name] for name in first if name != "payload"} == {
            "aggregate_id": str(show_id),
            "aggregate_type": "EVENT",
            "event_type": "EVENT_CREATED",
            "processed": False,
            "created_at": "2026-01-05T09:00:00Z",
        }
        assert (second["event_type"], second["created_at"]) == ("EVENT_STATUS_CHANGED", "2026-01-05T09:01:00Z")
        assert first["payload"]["event_name"] == "Queen"
        assert (second["payload"]["previous_status"], second["payload"]["status"]) == ("UPCOMING", "ON_SALE")

    async def test_a_record_is_processed_once_it_is_published(self, events: EventsService) -> None:
        show_id = (await events.create())["event_id"]
        await Relay(events.run.context, ScriptedBroker()).drain()
        await events.set_status(show_id, "ON_SALE")

        found = await events.records(show_id)

        assert [(each["event_type"], each["processed"]) for each in found["records"]] == [
            ("EVENT_CREATED", True),
            ("EVENT_STATUS_CHANGED", False),
        ]

    async def test_pages_are_walked_by_cursor(self, embedded: EventsService) -> None:
        show_id = (await embedded.create())["event_id"]
        await embedded.set_status(show_id, "ON_SALE")
        await embedded.set_status(show_id, "SOLD_OUT")
        first = await embedded.organizer.get(f"/events/{show_id}/outbox", params={"size": 2})
        following = first.headers["link"].split("<")[-1].split(">")[0]

        second = await embedded.organizer.get(following)

        assert [each["payload"]["status"] for each in second.json()["records"]] == ["SOLD_OUT"]
        assert second.json()["page"]["total_elements"] == 3

    async def test_of_a_deleted_event_have_an_empty_page_past_the_end(self, embedded: EventsService) -> None:
        show_id = (await embedded.create())["event_id"]
        assert (await embedded.delete(show_id)).status_code == 204

        answer = await embedded.organizer.get(f"/events/{show_id}/outbox", params={"page": 9})

        assert (answer.status_code, answer.json()["records"]) == (200, [])
        assert answer.json()["page"]["total_elements"] == 2

    async def test_needs_the_permission_and_an_event(self, embedded: EventsService) -> None:
        show_id = (await embedded.create())["event_id"]

        answer = await embedded.run.as_user().get(f"/events/{show_id}/outbox")
        unknown = await embedded.organizer.get(f"/events/{NO_SHOW}/outbox")

        assert embedded.fails_with(answer, 403, "permission_missing")["permission"] == "events:write"
        embedded.fails_with(unknown, 404, "event_not_found")
