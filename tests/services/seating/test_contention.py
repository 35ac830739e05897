"""Concurrent holds in one process and in several, on every database: no seat has two holders, and no limit is passed."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from tests.services.seating.support import FLOOR, SeatingService, assert_consistent

from portico.contracts.events import SectionPlan
from portico.kit import UserId
from portico.services.seating import service
from portico.testing.databases import Databases
from portico.testing.running_service import run_service

TIER = SectionPlan(name="Tier", rows=6, seats_per_row=10)


@pytest.fixture
async def processes(databases: Databases) -> AsyncIterator[list[SeatingService]]:
    """Three instances of seating on one database. Like processes, they share no memory."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(run_service(service, databases, background=False))
        others = [
            await stack.enter_async_context(run_service(service, databases, clock=first.clock, background=False))
            for _ in range(2)
        ]
        yield [SeatingService(run) for run in (first, *others)]


class TestOneProcess:
    async def test_never_holds_a_seat_twice(self, seating: SeatingService) -> None:
        show_id = await seating.show((TIER,))

        answers = await asyncio.gather(*(seating.hold(show_id, 1) for _ in range(100)))

        assert Counter(answer.status_code for answer in answers) == {201: 60, 409: 40}
        assert await seating.counts(show_id) == (0, 60, 0, 0)
        await assert_consistent(seating, show_id)

    async def test_keeps_the_limit_of_a_user(self, seating: SeatingService) -> None:
        show_id = await seating.show((TIER,))
        user = UserId.new()

        answers = await asyncio.gather(*(seating.hold(show_id, 3, user=user) for _ in range(20)))

        assert Counter(answer.status_code for answer in answers) == {201: 2, 409: 18}
        assert await seating.counts(show_id) == (54, 6, 0, 0)


class TestSeveralProcesses:
    async def test_never_hold_a_seat_twice(self, processes: list[SeatingService]) -> None:
        show_id = await processes[0].show((TIER, FLOOR))

        answers = await asyncio.gather(*(processes[number % 3].hold(show_id, 1) for number in range(100)))

        assert Counter(answer.status_code for answer in answers) == {201: 70, 409: 30}
        await assert_consistent(processes[1], show_id)

    async def test_keep_the_limit_of_a_user(self, processes: list[SeatingService]) -> None:
        show_id = await processes[0].show((TIER,))
        user = UserId.new()

        answers = await asyncio.gather(*(each.hold(show_id, 3, user=user) for each in processes * 6))

        assert Counter(answer.status_code for answer in answers) == {201: 2, 409: 16}
        assert await processes[0].counts(show_id) == (54, 6, 0, 0)

    async def test_concurrent_requests_with_one_key_take_one_hold(self, processes: list[SeatingService]) -> None:
        show_id = await processes[0].show((TIER,))
        user, key = UserId.new(), {"idempotency-key": "one"}
        callers = [each.run.as_user(subject=user) for each in processes]

        answers = await asyncio.gather(
            *(caller.post(f"/inventory/{show_id}/holds", json={"quantity": 2}, headers=key) for caller in callers)
        )

        assert {answer.status_code for answer in answers} <= {201, 409}
        assert len({answer.json()["hold_id"] for answer in answers if answer.status_code == 201}) == 1
        assert await processes[0].counts(show_id) == (58, 2, 0, 0)

    async def test_hold_release_and_expire_several_shows_at_once(self, processes: list[SeatingService]) -> None:
        shows = [await processes[0].show((TIER, FLOOR)) for _ in range(3)]
        chance = random.Random(7)  # noqa: S311  # who takes what, the same each time

        async def shop(number: int) -> None:
            where, show_id = processes[number % 3], chance.choice(shows)
            wanted = chance.choice([{"quantity": 2}, {"quantity": 3}, {"seats": [f"1-{chance.choice('ABCDEF')}-5"]}])
            user = UserId.new()
            answer = await where.hold(show_id, user=user, **wanted)
            assert answer.status_code in {201, 409}, answer.content
            if answer.status_code == 201 and chance.random() < 0.5:
                other = processes[(number + 1) % 3].run.as_user(subject=user)
                path = f"/inventory/{show_id}/holds/{answer.json()['hold_id']}"
                assert (await other.delete(path)).status_code == 204

        await asyncio.gather(*(shop(number) for number in range(90)))
        for show_id in shows:
            await assert_consistent(processes[0], show_id)
        processes[0].run.clock.advance(600)
        await asyncio.gather(*(each.end_due_holds() for each in processes))

        assert [await each.counts(show_id) for each, show_id in zip(processes, shows, strict=True)] == [
            (70, 0, 0, 0)
        ] * 3
