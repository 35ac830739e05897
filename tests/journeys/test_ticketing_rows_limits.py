"""The rows of ticketing about its limits: a full queue of holds, and a crowd that turns the waiting room on."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.journeys.box_office import RunningBoxOffice, eventually_equal
from tests.journeys.rows import BACKENDS, office_on, refused
from tests.journeys.test_ticketing_rows_waiting import small_show

from portico.ticketing_client import TicketingClient


@pytest.fixture(scope="module", params=BACKENDS)
async def office(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningBoxOffice]:
    limits = {"HOLD_QUEUE": "2", "SEATING_HOLD_BATCH": "1", "WAITING_ROOM_SHOPPERS": "1"}
    async with office_on(request, tmp_path_factory.mktemp("rows"), **limits) as office:
        yield office


class TestQueueOfHolds:
    async def test_a_hold_that_finds_the_queue_full_is_503_and_holds_nothing(self, office: RunningBoxOffice) -> None:
        show_id = await office.create_show(
            maxSeatsPerUser=40, totalSeats=40, sections=[{"name": "Box", "capacity": 40}]
        )
        path = f"/api/inventory/{show_id}/holds"

        answers = await asyncio.gather(*(office.ann.request("POST", path, {"quantity": 1}) for _ in range(40)))

        late = [each for each in answers if each.status == 503]
        assert late
        for each in late:
            refused(each, 503, "too_many_waiting")
            assert int(each.headers["retry-after"]) >= 1
        assert {each.status for each in answers} == {201, 503}
        taken = len(answers) - len(late)
        assert await office.counts(show_id) == {"available": 40 - taken, "held": taken, "sold": 0, "blocked": 0}
        (await office.ann.take_hold(show_id, {"quantity": 1})).expect(201)


class TestCrowd:
    async def test_turns_the_waiting_room_on_and_off_by_itself(self, office: RunningBoxOffice) -> None:
        show_id = await small_show(office, 12, waitingRoom="AUTO")
        early = [await office.account(name) for name in ("one", "two")]
        waiting, late = await office.account("three"), await office.account("four")
        queue = f"/api/queue/{show_id}"
        holds = [(await who.take_hold(show_id, {"quantity": 1})).expect(201).json() for who in early]

        async def outcome(who: TicketingClient) -> str:
            """Try to hold a place; return the code of the refusal, or "held"."""
            answer = await who.take_hold(show_id, {"quantity": 1})
            return "held" if answer.status == 201 else str(answer.json()["code"])

        await eventually_equal(lambda: outcome(early[0]), "admission_required")
        refused(await waiting.take_hold(show_id, {"quantity": 1}), 403, "admission_required")
        place = (await waiting.request("POST", queue)).expect(201, status="WAITING", position=1).json()
        assert place["admissionToken"] is None

        for who in early:
            for hold in await who.items(f"/api/inventory/{show_id}/holds", "holds"):
                await who.request("DELETE", f"/api/inventory/{show_id}/holds/{hold['holdId']}")

        async def status() -> str:
            return str((await waiting.get(queue))["status"])

        await eventually_equal(status, "ADMITTED")
        token = (await waiting.get(queue))["admissionToken"]
        (await waiting.take_hold(show_id, {"quantity": 1}, admission=token)).expect(201)
        await eventually_equal(lambda: outcome(late), "held")
        assert {hold["status"] for hold in holds} == {"ACTIVE"}
