import gzip
from decimal import Decimal

from tests.services.seating.support import BALCONY, FLOOR, HALL, STALLS, SeatingService

from portico.contracts.events import SectionPlan, ShowCreated, ShowDeleted, ShowId, ShowStatusChanged
from portico.kit import UserId
from portico.testing.migrations import differences, tables_after_downgrade


class TestCounts:
    async def test_of_a_new_show_are_all_available(self, seating: SeatingService) -> None:
        show_id = await seating.show()

        answer = await seating.run.anonymous.get(f"/inventory/{show_id}")

        assert answer.json() == {
            "event_id": show_id,
            "total_seats": 24,
            "available": 24,
            "held": 0,
            "sold": 0,
            "blocked": 0,
            "sections": [
                section("Stalls", 80.0, 10),
                section("Balcony", 49.5, 4),
                section("Floor", 49.5, 10),
            ],
        }

    async def test_of_an_unknown_show_are_404(self, embedded: SeatingService) -> None:
        answer = await embedded.run.anonymous.get(f"/inventory/{ShowId.new()}")

        assert (answer.status_code, answer.json()["code"]) == (404, "event_not_found")

    async def test_have_an_etag(self, embedded: SeatingService) -> None:
        show_id = await embedded.show()
        etag = (await embedded.run.anonymous.get(f"/inventory/{show_id}")).headers["etag"]
        known = {"if-none-match": etag}

        unchanged = await embedded.run.anonymous.get(f"/inventory/{show_id}", headers=known)
        await embedded.change(show_id, price=Decimal(60))
        changed = await embedded.run.anonymous.get(f"/inventory/{show_id}", headers=known)

        assert (unchanged.status_code, changed.status_code) == (304, 200)


def section(name: str, price: float, total: int) -> dict[str, object]:
    """Return the counts of a section whose places are all available."""
    unused = {"held": 0, "sold": 0, "blocked": 0}
    return {"section": name, "price": price, "currency": "USD", "total": total, "available": total, **unused}


class TestEvents:
    async def test_that_come_twice_or_late_change_nothing(self, seating: SeatingService) -> None:
        show_id = await seating.show()
        first = seating.shows[show_id]
        await seating.change(show_id, sections=(*HALL, SectionPlan(name="Gallery", capacity=6)))

        await seating.run.receives(first.model_copy().with_message_id("evt_late"), seating.shows[show_id])

        assert await seating.counts(show_id) == (30, 0, 0, 0)

    async def test_may_arrive_in_another_order(self, embedded: SeatingService) -> None:
        show_id = await embedded.show()
        late = embedded.shows[show_id]
        later = embedded.event(ShowStatusChanged, event_id=ShowId.new(), status="CANCELLED", revision=2)

        await embedded.run.receives(later, embedded.event(ShowCreated, event_id=later.event_id))

        assert await embedded.counts(later.event_id) == await embedded.counts(late.event_id)

    async def test_of_a_deletion_close_the_show(self, seating: SeatingService) -> None:
        show_id = await seating.show()
        created = seating.shows[show_id]
        await seating.delete(show_id)

        await seating.run.receives(created.model_copy().with_message_id("evt_late"))

        for path in (f"/inventory/{show_id}", f"/inventory/{show_id}/seats"):
            assert (await seating.run.anonymous.get(path)).status_code == 404

    async def test_of_a_deletion_may_come_first(self, embedded: SeatingService) -> None:
        created = embedded.event(ShowCreated)

        await embedded.run.receives(embedded.event(ShowDeleted, event_id=created.event_id, revision=2), created)

        assert (await embedded.run.anonymous.get(f"/inventory/{created.event_id}")).status_code == 404


class TestSeatMap:
    async def test_shows_rows_and_standing_sections(self, seating: SeatingService) -> None:
        show_id = await seating.show()

        found = await seating.seat_map(show_id)

        assert found == {
            "event_id": show_id,
            "version": 1,
            "sections": [
                {
                    "section": "Stalls",
                    "number": 1,
                    "price": 80.0,
                    "currency": "USD",
                    "rows": [{"row": "A", "states": "FFFFF"}, {"row": "B", "states": "FFFFF"}],
                    "accessible": ["A-1"],
                },
                {
                    "section": "Balcony",
                    "number": 2,
                    "price": 49.5,
                    "currency": "USD",
                    "rows": [{"row": "A", "states": "FFFF"}],
                    "accessible": [],
                },
                {
                    "section": "Floor",
                    "number": 3,
                    "price": 49.5,
                    "currency": "USD",
                    "capacity": 10,
                    "available": 10,
                    "accessible": [],
                },
            ],
        }

    async def test_is_not_sent_again_while_it_is_current(self, embedded: SeatingService) -> None:
        show_id = await embedded.show()
        path = f"/inventory/{show_id}/seats"
        first = await embedded.run.anonymous.get(path)
        known = {"if-none-match": first.headers["etag"]}

        same = await embedded.run.anonymous.get(path, headers=known)
        await embedded.change(show_id, price=Decimal(60))
        changed = await embedded.run.anonymous.get(path, headers=known)

        assert (same.status_code, same.content) == (304, b"")
        assert (changed.status_code, changed.json()["version"]) == (200, 2)
        assert changed.json()["sections"][1]["price"] == 60.0

    async def test_is_compressed_for_clients_that_accept_it(self, embedded: SeatingService) -> None:
        show_id = await embedded.show()
        path = f"/inventory/{show_id}/seats"

        plain = await embedded.run.anonymous.get(path)
        packed = await embedded.run.anonymous.get(path, headers={"accept-encoding": "gzip"})

        assert packed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(packed.content) == plain.content
        assert packed.headers["etag"] != plain.headers["etag"]

    async def test_of_fifty_thousand_seats_is_small(self, embedded: SeatingService) -> None:
        tiers = tuple(SectionPlan(name=f"Tier {number}", rows=50, seats_per_row=100) for number in range(10))
        show_id = await embedded.show(tiers)
        path = f"/inventory/{show_id}/seats"

        plain = await embedded.run.anonymous.get(path)
        packed = await embedded.run.anonymous.get(path, headers={"accept-encoding": "gzip"})

        assert len(plain.content) <= 64 * 1024
        assert len(packed.content) <= 16 * 1024

    async def test_since_a_version_before_a_new_layout_is_the_whole_map(self, embedded: SeatingService) -> None:
        show_id = await embedded.show()
        await embedded.change(show_id, sections=(STALLS, BALCONY))
        path = f"/inventory/{show_id}/seats"

        outdated = await embedded.run.anonymous.get(path, params={"since": 1})
        current = await embedded.run.anonymous.get(path, params={"since": 2})
        ahead = await embedded.run.anonymous.get(path, params={"since": 3})

        assert outdated.json() == ahead.json() == await embedded.seat_map(show_id)
        assert current.json() == {"version": 2, "changes": [], "standing": []}


class TestAvailability:
    async def test_is_returned_for_the_known_shows(self, seating: SeatingService) -> None:
        shows = [await seating.show(), await seating.show((FLOOR,))]
        asked = "&".join(f"event_id={each}" for each in [ShowId.new(), *shows])

        answer = await seating.events_service.get(f"/inventory/availability?{asked}")

        assert answer.json() == [
            {"event_id": shows[0], "available": 24, "used": 0},
            {"event_id": shows[1], "available": 10, "used": 0},
        ]

    async def test_is_for_services_only(self, embedded: SeatingService) -> None:
        user = embedded.run.as_user("*")

        answers = [
            await user.get("/inventory/availability?event_id=1"),
            await user.put("/inventory/1/layout", json={"sections": [], "revision": 1}),
            await user.delete("/inventory/1/layout?revision=1"),
        ]

        assert {answer.status_code for answer in answers} == {403}


class TestCurrencyOfEvents:
    async def test_changes_the_map_and_its_tag(self, embedded: SeatingService) -> None:
        show_id = await embedded.show()
        before = await embedded.seat_map(show_id)

        await embedded.change(show_id, currency="EUR")

        after = await embedded.seat_map(show_id)
        assert {each["currency"] for each in after["sections"]} == {"EUR"}
        assert after["version"] > before["version"]


class TestLayout:
    async def test_can_grow(self, seating: SeatingService) -> None:
        show_id = await seating.show()
        larger = (STALLS.model_copy(update={"rows": 3}), BALCONY, FLOOR)

        answer = await seating.put_layout(show_id, *larger)

        assert answer.json() == {"event_id": show_id, "available": 29, "used": 0}
        assert await seating.rows(show_id) == ["FFFFF", "FFFFF", "FFFFF", "FFFF"]
        await seating.change(show_id, sections=larger)
        assert (await seating.seat_map(show_id))["version"] == 2

    async def test_brings_another_currency_while_no_place_is_held_or_sold(self, seating: SeatingService) -> None:
        show_id = await seating.show()
        hold = await seating.hold(show_id, 2, user=(user := UserId.new()))

        refused = await seating.put_layout(show_id, *HALL, currency="EUR")
        await seating.run.as_user(subject=user).delete(f"/inventory/{show_id}/holds/{hold.json()['hold_id']}")
        before = await seating.seat_map(show_id)
        accepted = await seating.put_layout(show_id, *HALL, currency="EUR")

        problem = refused.json()
        assert (refused.status_code, problem["code"]) == (409, "currency_in_use")
        assert (problem["currency"], problem["used"], problem["codes"]) == ("USD", 2, 0)
        assert accepted.status_code == 200
        after = await seating.seat_map(show_id)
        assert after["version"] > before["version"]
        assert {each["currency"] for each in after["sections"]} == {"EUR"}
        assert (await seating.hold(show_id, 1)).json()["currency"] == "EUR"

    async def test_keeps_its_currency_while_a_code_has_an_amount(self, embedded: SeatingService) -> None:
        show_id = await embedded.show()
        code = {"code": "FIVE", "kind": "DISCOUNT", "amount_off": 5}
        path = f"/inventory/{show_id}/codes"
        assert (await embedded.run.as_user("inventory:write").post(path, json=code)).status_code == 201

        refused = await embedded.put_layout(show_id, *HALL, currency="EUR")

        assert (refused.status_code, refused.json()["codes"]) == (409, 1)

    async def test_is_not_undone_by_an_event_of_an_earlier_revision(self, embedded: SeatingService) -> None:
        show_id = await embedded.show()
        await embedded.put_layout(show_id, *HALL, currency="EUR", revision=3)

        await embedded.change(show_id, revision=2)

        assert {each["currency"] for each in (await embedded.seat_map(show_id))["sections"]} == {"EUR"}

    async def test_of_a_revision_that_was_not_made_is_replaced_by_the_next_event(
        self, embedded: SeatingService
    ) -> None:
        show_id = await embedded.show()
        await embedded.put_layout(show_id, *HALL, SectionPlan(name="Gallery", capacity=6))

        await embedded.change(show_id)

        assert await embedded.counts(show_id) == (24, 0, 0, 0)

    async def test_of_an_outdated_revision_changes_nothing(self, embedded: SeatingService) -> None:
        show_id = await embedded.show()

        answer = await embedded.put_layout(show_id, FLOOR, revision=1)

        assert answer.json() == {"event_id": show_id, "available": 24, "used": 0}
        assert await embedded.counts(show_id) == (24, 0, 0, 0)

    async def test_of_a_show_whose_event_has_not_arrived_is_accepted(self, embedded: SeatingService) -> None:
        show_id = ShowId.new()

        answer = await embedded.put_layout(show_id, FLOOR)

        assert answer.json() == {"event_id": show_id, "available": 10, "used": 0}

    async def test_with_an_accessible_seat_that_does_not_exist_is_422(self, embedded: SeatingService) -> None:
        show_id = await embedded.show()

        answer = await embedded.put_layout(show_id, STALLS.model_copy(update={"accessible": ("C-1",)}))

        assert (answer.status_code, answer.json()["code"]) == (422, "unknown_seat")

    async def test_a_retired_show_is_not_found_until_its_next_revision(self, seating: SeatingService) -> None:
        show_id = await seating.show()

        answers = [await seating.events_service.delete(f"/inventory/{show_id}/layout?revision=1") for _ in range(2)]

        assert [answer.status_code for answer in answers] == [204, 204]
        assert (await seating.run.anonymous.get(f"/inventory/{show_id}")).status_code == 404
        await seating.change(show_id)
        assert await seating.counts(show_id) == (24, 0, 0, 0)

    async def test_an_event_that_comes_late_does_not_reopen_a_retired_show(self, embedded: SeatingService) -> None:
        show_id = await embedded.show()
        late = embedded.event(ShowStatusChanged, event_id=show_id, revision=2)
        await embedded.events_service.delete(f"/inventory/{show_id}/layout?revision=2")

        await embedded.run.receives(late)

        assert (await embedded.run.anonymous.get(f"/inventory/{show_id}")).status_code == 404


class TestMigrations:
    async def test_create_the_tables_of_the_models_and_remove_them(self, seating: SeatingService) -> None:
        assert await differences(seating.run) == []
        assert await tables_after_downgrade(seating.run) == set()
