"""Many at once, in one process and in several, on real databases: nothing is sold twice."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from tests.services.catalog.goods import editor
from tests.services.catalog.stock.shelves import (
    adjust,
    assert_sound,
    change,
    changed,
    figures,
    held,
    ledger,
    reserve,
    shown,
    stocked,
)

from portico.contracts.catalog import ReservationId
from portico.services.catalog import service
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, running


@pytest.fixture
async def processes(databases: Databases) -> AsyncIterator[list[RunningService]]:
    """Three catalogs on one database, as three processes are: they share no memory."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(running(service, databases))
        others = [await stack.enter_async_context(running(service, databases, clock=first.clock)) for _ in range(2)]
        yield [first, *others]


class TestOneProcess:
    async def test_does_not_sell_more_than_there_is(self, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 60)

        answers = await asyncio.gather(*(reserve(catalog, {product_id: 1}) for _ in range(100)))

        assert Counter(answer.status_code for answer in answers) == {201: 60, 409: 40}
        assert await figures(catalog, product_id) == (60, 60, 0)
        assert await shown(catalog, product_id) == 0
        await assert_sound(catalog)

    async def test_gives_the_same_answer_to_the_same_request_at_once(self, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 60)
        reservation_id = ReservationId.new()

        answers = await asyncio.gather(
            *(reserve(catalog, {product_id: 2}, reservation_id=reservation_id) for _ in range(20))
        )

        assert {answer.status_code for answer in answers} <= {200, 201}
        assert await figures(catalog, product_id) == (60, 2, 58)

    async def test_says_early_when_too_many_wait(self, sqlite_databases: Databases) -> None:
        async with running(
            service, sqlite_databases, variables={"CATALOG_STOCK_QUEUE": "1", "CATALOG_STOCK_BATCH": "1"}
        ) as catalog:
            product_id = await stocked(catalog, 60)

            answers = await asyncio.gather(*(reserve(catalog, {product_id: 1}) for _ in range(50)))

        told = Counter(answer.status_code for answer in answers)
        late = next(answer for answer in answers if answer.status_code == 503)
        assert told[201] + told[503] == 50
        assert (late.json()["code"], late.headers["retry-after"]) == ("too_many_waiting", "1")


class TestSeveralProcesses:
    async def test_do_not_sell_more_than_there_is(self, processes: list[RunningService]) -> None:
        product_id = await stocked(processes[0], 60)

        answers = await asyncio.gather(*(reserve(processes[number % 3], {product_id: 1}) for number in range(100)))

        assert Counter(answer.status_code for answer in answers) == {201: 60, 409: 40}
        assert await figures(processes[1], product_id) == (60, 60, 0)
        await assert_sound(processes[0])

    async def test_agree_on_one_reservation(self, processes: list[RunningService]) -> None:
        product_id = await stocked(processes[0], 60)
        reservation_id = ReservationId.new()

        made = await asyncio.gather(
            *(reserve(each, {product_id: 2}, reservation_id=reservation_id) for each in processes * 5)
        )
        shipped = await asyncio.gather(*(change(each, reservation_id, "confirm") for each in processes * 5))

        assert {answer.status_code for answer in made} <= {200, 201}
        assert {answer.status_code for answer in shipped} == {200}
        assert len(await ledger(processes[0], product_id)) == 2
        await assert_sound(processes[0])

    async def test_take_several_products_in_any_order_without_standing_in_each_others_way(
        self, processes: list[RunningService]
    ) -> None:
        products = [await stocked(processes[0], 30) for _ in range(5)]
        chance = random.Random(7)  # noqa: S311  # who buys what, the same each time

        async def buy(number: int) -> None:
            where = processes[number % 3]
            some = chance.sample(products, 3)
            answer = await reserve(where, dict.fromkeys(some, chance.randrange(1, 4)))
            assert answer.status_code in {201, 409}, answer.content
            if answer.status_code == 201:
                reservation_id = ReservationId(answer.json()["reservation_id"])
                last = chance.choice([["release"], ["confirm", "ship"], ["confirm", "ship", "return"], ["confirm"]])
                await changed(processes[(number + 1) % 3], reservation_id, *last)

        async def keep(number: int) -> None:
            answer = await adjust(processes[number % 3], chance.choice(products), chance.choice([-5, -1, 1, 5]))
            assert answer.status_code in {201, 409}, answer.content

        await asyncio.gather(*(buy(number) for number in range(60)), *(keep(number) for number in range(30)))

        await assert_sound(processes[0])

    async def test_edit_and_sell_a_product_at_once(self, processes: list[RunningService]) -> None:
        product_id = await stocked(processes[0], 60)

        answers = await asyncio.gather(
            *(reserve(processes[number % 3], {product_id: 1}) for number in range(30)),
            *(
                editor(processes[number % 3]).patch(f"/products/{product_id}", json={"name": f"Lamp {number}"})
                for number in range(30)
            ),
        )

        assert Counter(answer.status_code for answer in answers) == {201: 30, 200: 30}
        assert await shown(processes[0], product_id) == 30
        await assert_sound(processes[0])

    async def test_sell_nothing_of_a_product_that_is_deleted_meanwhile(self, processes: list[RunningService]) -> None:
        product_id = await stocked(processes[0], 60)
        kept = await held(processes[0], {product_id: 1})

        answers = await asyncio.gather(
            *(reserve(processes[number % 3], {product_id: 1}) for number in range(20)),
            editor(processes[1]).delete(f"/products/{product_id}"),
        )
        await changed(processes[2], kept, "confirm", "ship")

        assert answers[-1].status_code == 204
        assert {answer.status_code for answer in answers[:-1]} <= {201, 409}
        assert (await reserve(processes[0], {product_id: 1})).status_code == 409
        await assert_sound(processes[0])
