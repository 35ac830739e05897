"""Concurrent reservations in one process and in several, on every database: stock is never oversold."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from tests.services.catalog.stock.support import (
    adjust,
    apply_changes,
    assert_no_mismatches,
    create_reservation,
    create_stocked_product,
    read_ledger,
    read_level,
    read_product_stock,
    request_change,
    reserve,
)
from tests.services.catalog.support import editor

from portico.contracts.catalog import ReservationId
from portico.services.catalog import service
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, run_service


@pytest.fixture
async def processes(databases: Databases) -> AsyncIterator[list[RunningService]]:
    """Three instances of catalog on one database. Like processes, they share no memory."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(run_service(service, databases))
        others = [await stack.enter_async_context(run_service(service, databases, clock=first.clock)) for _ in range(2)]
        yield [first, *others]


class TestOneProcess:
    async def test_never_oversells(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 60)

        answers = await asyncio.gather(*(reserve(catalog, {product_id: 1}) for _ in range(100)))

        assert Counter(answer.status_code for answer in answers) == {201: 60, 409: 40}
        assert await read_level(catalog, product_id) == (60, 60, 0)
        assert await read_product_stock(catalog, product_id) == 0
        await assert_no_mismatches(catalog)

    async def test_concurrent_repeats_of_a_reservation_take_effect_once(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 60)
        reservation_id = ReservationId.new()

        answers = await asyncio.gather(
            *(reserve(catalog, {product_id: 2}, reservation_id=reservation_id) for _ in range(20))
        )

        assert {answer.status_code for answer in answers} <= {200, 201}
        assert await read_level(catalog, product_id) == (60, 2, 58)

    async def test_a_full_queue_is_503(self, sqlite_databases: Databases) -> None:
        async with run_service(
            service, sqlite_databases, variables={"CATALOG_STOCK_QUEUE": "1", "CATALOG_STOCK_BATCH": "1"}
        ) as catalog:
            product_id = await create_stocked_product(catalog, 60)

            answers = await asyncio.gather(*(reserve(catalog, {product_id: 1}) for _ in range(50)))

        statuses = Counter(answer.status_code for answer in answers)
        late = next(answer for answer in answers if answer.status_code == 503)
        assert statuses[201] + statuses[503] == 50
        assert (late.json()["code"], late.headers["retry-after"]) == ("too_many_waiting", "1")


class TestSeveralProcesses:
    async def test_never_oversell(self, processes: list[RunningService]) -> None:
        product_id = await create_stocked_product(processes[0], 60)

        answers = await asyncio.gather(*(reserve(processes[number % 3], {product_id: 1}) for number in range(100)))

        assert Counter(answer.status_code for answer in answers) == {201: 60, 409: 40}
        assert await read_level(processes[1], product_id) == (60, 60, 0)
        await assert_no_mismatches(processes[0])

    async def test_concurrent_repeats_of_a_reservation_take_effect_once(self, processes: list[RunningService]) -> None:
        product_id = await create_stocked_product(processes[0], 60)
        reservation_id = ReservationId.new()

        made = await asyncio.gather(
            *(reserve(each, {product_id: 2}, reservation_id=reservation_id) for each in processes * 5)
        )
        shipped = await asyncio.gather(*(request_change(each, reservation_id, "confirm") for each in processes * 5))

        assert {answer.status_code for answer in made} <= {200, 201}
        assert {answer.status_code for answer in shipped} == {200}
        assert len(await read_ledger(processes[0], product_id)) == 2
        await assert_no_mismatches(processes[0])

    async def test_reserve_several_products_in_any_order_without_deadlock(
        self, processes: list[RunningService]
    ) -> None:
        products = [await create_stocked_product(processes[0], 30) for _ in range(5)]
        chance = random.Random(7)  # noqa: S311  # who buys what, the same each time

        async def buy(number: int) -> None:
            where = processes[number % 3]
            some = chance.sample(products, 3)
            answer = await reserve(where, dict.fromkeys(some, chance.randrange(1, 4)))
            assert answer.status_code in {201, 409}, answer.content
            if answer.status_code == 201:
                reservation_id = ReservationId(answer.json()["reservation_id"])
                last = chance.choice([["release"], ["confirm", "ship"], ["confirm", "ship", "return"], ["confirm"]])
                await apply_changes(processes[(number + 1) % 3], reservation_id, *last)

        async def keep(number: int) -> None:
            answer = await adjust(processes[number % 3], chance.choice(products), chance.choice([-5, -1, 1, 5]))
            assert answer.status_code in {201, 409}, answer.content

        await asyncio.gather(*(buy(number) for number in range(60)), *(keep(number) for number in range(30)))

        await assert_no_mismatches(processes[0])

    async def test_edit_and_reserve_a_product_concurrently(self, processes: list[RunningService]) -> None:
        product_id = await create_stocked_product(processes[0], 60)

        answers = await asyncio.gather(
            *(reserve(processes[number % 3], {product_id: 1}) for number in range(30)),
            *(
                editor(processes[number % 3]).patch(f"/products/{product_id}", json={"name": f"Lamp {number}"})
                for number in range(30)
            ),
        )

        assert Counter(answer.status_code for answer in answers) == {201: 30, 200: 30}
        assert await read_product_stock(processes[0], product_id) == 30
        await assert_no_mismatches(processes[0])

    async def test_reserve_nothing_of_a_deleted_product(self, processes: list[RunningService]) -> None:
        product_id = await create_stocked_product(processes[0], 60)
        kept = await create_reservation(processes[0], {product_id: 1})

        answers = await asyncio.gather(
            *(reserve(processes[number % 3], {product_id: 1}) for number in range(20)),
            editor(processes[1]).delete(f"/products/{product_id}"),
        )
        await apply_changes(processes[2], kept, "confirm", "ship")

        assert answers[-1].status_code == 204
        assert {answer.status_code for answer in answers[:-1]} <= {201, 409}
        assert (await reserve(processes[0], {product_id: 1})).status_code == 409
        await assert_no_mismatches(processes[0])
