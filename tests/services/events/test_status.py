import pytest
from tests.services.events.support import NO_SHOW, EventsService

DAY = 86_400.0
TO_THE_SHOW = 60 * DAY
STATUSES = ("UPCOMING", "ON_SALE", "SOLD_OUT", "CANCELLED", "COMPLETED")
PATHS: dict[str, list[str]] = {
    "UPCOMING": [],
    "ON_SALE": ["ON_SALE"],
    "SOLD_OUT": ["ON_SALE", "SOLD_OUT"],
    "CANCELLED": ["CANCELLED"],
    "COMPLETED": ["ON_SALE", "COMPLETED"],
}
LEGAL_BEFORE: dict[str, set[str]] = {
    "UPCOMING": {"ON_SALE", "CANCELLED"},
    "ON_SALE": {"SOLD_OUT", "CANCELLED"},
    "SOLD_OUT": {"CANCELLED"},
    "CANCELLED": set(),
}
LEGAL_AFTER: dict[str, set[str]] = {
    "UPCOMING": {"ON_SALE", "CANCELLED"},
    "ON_SALE": {"SOLD_OUT", "CANCELLED", "COMPLETED"},
    "SOLD_OUT": {"CANCELLED", "COMPLETED"},
    "CANCELLED": set(),
    "COMPLETED": set(),
}


async def show_in(events: EventsService, status: str) -> int:
    """Create a show and change it to a status."""
    show_id: int = (await events.create())["event_id"]
    for each in PATHS[status]:
        assert (await events.set_status(show_id, each)).status_code == 200
    return show_id


class TestChangeStatus:
    @pytest.mark.parametrize("is_over", [False, True])
    async def test_allows_exactly_the_legal_changes(self, embedded: EventsService, *, is_over: bool) -> None:
        if is_over:
            embedded.run.clock.advance(TO_THE_SHOW)
        allowed = LEGAL_AFTER if is_over else LEGAL_BEFORE

        for current, legal in allowed.items():
            for wanted in STATUSES:
                show_id = await show_in(embedded, current)
                answer = await embedded.set_status(show_id, wanted)

                if wanted == current or wanted in legal:
                    assert (answer.status_code, answer.json()["status"]) == (200, wanted), (current, wanted)
                else:
                    problem = embedded.fails_with(answer, 409, "illegal_transition")
                    assert (problem["current"], problem["wanted"]) == (current, wanted)
                    assert set(problem["legal"]) == legal
                    assert f"Allowed next statuses: {', '.join(problem['legal']) or 'none'}." in problem["detail"]
                    assert (await embedded.read(show_id))["status"] == current

    async def test_to_the_current_status_changes_nothing(self, events: EventsService) -> None:
        show_id = await show_in(events, "ON_SALE")
        before = await events.organizer.get(f"/events/{show_id}")
        events.run.clock.advance(60)

        answer = await events.set_status(show_id, "ON_SALE")

        assert answer.json() == before.json()
        assert answer.headers["etag"] == before.headers["etag"]
        assert len(await events.published()) == 2

    async def test_reopen_puts_a_sold_out_show_on_sale_again(self, embedded: EventsService) -> None:
        show_id = await show_in(embedded, "SOLD_OUT")

        refused = await embedded.set_status(show_id, "ON_SALE")
        answer = await embedded.set_status(show_id, "ON_SALE", reopen=True)

        assert '"reopen": true' in embedded.fails_with(refused, 409, "illegal_transition")["detail"]
        assert answer.json()["status"] == "ON_SALE"

    async def test_publishes_the_change_with_the_next_revision(self, events: EventsService) -> None:
        show_id = await show_in(events, "ON_SALE")
        await events.set_status(show_id, "SOLD_OUT")
        await events.set_status(show_id, "ON_SALE", reopen=True)

        published = await events.published(show_id)

        assert [
            (each.event_type, each.status, getattr(each, "previous_status", None), each.sold_out_by_hand, each.revision)
            for each in published
        ] == [
            ("event.created", "UPCOMING", None, False, 1),
            ("event.status_changed", "ON_SALE", "UPCOMING", False, 2),
            ("event.status_changed", "SOLD_OUT", "ON_SALE", True, 3),
            ("event.status_changed", "ON_SALE", "SOLD_OUT", False, 4),
        ]

    async def test_honours_if_match(self, embedded: EventsService) -> None:
        created = await embedded.organizer.post(
            "/events",
            json={
                "event_name": "Queen",
                "event_date": "2026-03-01T19:00:00Z",
                "venue_name": "Wembley",
                "total_seats": 1,
            },
        )
        path, tag = created.headers["location"], created.headers["etag"]
        change = {"status": "ON_SALE"}

        first = await embedded.organizer.put(f"{path}/status", json=change, headers={"if-match": tag})
        second = await embedded.organizer.put(f"{path}/status", json={"status": "CANCELLED"}, headers={"if-match": tag})

        assert (first.status_code, second.status_code) == (200, 412)

    async def test_of_an_unknown_event_is_not_found(self, embedded: EventsService) -> None:
        embedded.fails_with(await embedded.set_status(NO_SHOW, "ON_SALE"), 404, "event_not_found")

    async def test_refuses_unknown_statuses_and_callers_without_the_permission(self, embedded: EventsService) -> None:
        show_id = (await embedded.create())["event_id"]
        path = f"/events/{show_id}/status"

        embedded.fails_with(await embedded.set_status(show_id, "POSTPONED"), 422, "invalid_request")
        answer = await embedded.run.as_user("inventory:write").put(path, json={"status": "ON_SALE"})
        assert embedded.fails_with(answer, 403, "permission_missing")["permission"] == "events:write"
