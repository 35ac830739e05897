import asyncio
from pathlib import Path

import pytest
from sqlalchemy import literal, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import TimeoutError as PoolTimeout

from portico.kit.data.engine import Database, PoolLimits
from portico.kit.data.pool import ConnectionQueue, Workload, current_workload
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.foundation.clock import Clock

ROUNDS = 50


class Turns:
    """Tasks that wait for a connection, and the order in which they get one."""

    def __init__(self, queue: ConnectionQueue) -> None:
        self.queue = queue
        self.served: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def wait(self, name: str, workload: Workload) -> asyncio.Task[None]:
        """Let a task wait for a connection, which it keeps."""

        async def take() -> None:
            await self.queue.acquire(workload)
            self.served.append(name)

        task = asyncio.create_task(take())
        self.tasks.append(task)
        await asyncio.sleep(0)
        return task

    async def release(self, workload: Workload) -> list[str]:
        """Return a connection; return who has been served so far."""
        self.queue.release(workload)
        for _ in range(3):
            await asyncio.sleep(0)
        return list(self.served)


class TestQueue:
    async def test_serves_tasks_in_the_order_of_their_arrival(self) -> None:
        queue = ConnectionQueue(1)
        assert queue.acquire_now("request")
        turns = Turns(queue)
        for name in ("first", "second", "third"):
            await turns.wait(name, "request")

        for _ in range(3):
            await turns.release("request")

        assert turns.served == ["first", "second", "third"]

    async def test_hands_a_connection_over_so_that_no_later_task_can_take_it(self) -> None:
        queue = ConnectionQueue(1)
        assert queue.acquire_now("request")
        turns = Turns(queue)
        await turns.wait("first", "request")

        queue.release("request")

        assert not queue.acquire_now("request")
        assert not queue.acquire_now("background")

    async def test_lets_requests_and_background_work_take_turns(self) -> None:
        queue = ConnectionQueue(1)
        assert queue.acquire_now("request")
        turns = Turns(queue)
        for number in range(3):
            await turns.wait(f"request {number}", "request")
        for number in range(2):
            await turns.wait(f"saga {number}", "background")

        for held in ("request", "background", "request", "background", "request"):
            await turns.release(held)  # type: ignore[arg-type]  # both are workloads

        assert turns.served == ["saga 0", "request 0", "saga 1", "request 1", "request 2"]

    async def test_keeps_a_quarter_of_the_connections_for_background_work(self) -> None:
        queue = ConnectionQueue(8)

        assert [queue.acquire_now("request") for _ in range(8)] == [True] * 6 + [False] * 2
        assert [queue.acquire_now("background") for _ in range(3)] == [True, True, False]

    async def test_passes_over_a_task_that_stopped_waiting(self) -> None:
        queue = ConnectionQueue(1)
        assert queue.acquire_now("request")
        turns = Turns(queue)
        leaving = await turns.wait("leaving", "request")
        await turns.wait("staying", "request")

        leaving.cancel()
        served = await turns.release("request")

        assert served == ["staying"]

    async def test_gets_back_a_connection_that_was_handed_to_a_cancelled_task(self) -> None:
        queue = ConnectionQueue(1)
        assert queue.acquire_now("request")
        turns = Turns(queue)
        leaving = await turns.wait("leaving", "request")

        queue.release("request")
        leaving.cancel()
        await asyncio.wait({leaving})

        assert queue.acquire_now("background")


class TestPool:
    async def test_serves_a_waiting_task_before_one_that_returns_its_connection_and_asks_again(
        self, tmp_path: Path
    ) -> None:
        database = Database.connect(make_url(f"sqlite+aiosqlite:///{tmp_path}/books.db"))
        order: list[str] = []
        began = asyncio.Event()

        async def poll() -> None:
            current_workload.set("request")
            for _ in range(ROUNDS):
                async with UnitOfWork(database, Clock()) as work:
                    await work.execute(select(literal(1)))
                    began.set()
                    order.append("poll")

        async def advance() -> None:
            await began.wait()
            async with UnitOfWork(database, Clock()) as work:
                await work.execute(select(literal(1)))
                order.append("saga")

        await asyncio.gather(poll(), advance())
        await database.aclose()

        assert len(order) == ROUNDS + 1
        assert "saga" in order[:5]

    async def test_says_after_its_timeout_that_all_connections_are_in_use(self, tmp_path: Path) -> None:
        limits = PoolLimits(wait=0.01)
        database = Database.connect(make_url(f"sqlite+aiosqlite:///{tmp_path}/books.db"), pools=limits)

        async with database.writer.connect():
            with pytest.raises(PoolTimeout, match=r"All 1 connections of the pool were in use for 0\.01 s"):
                await database.writer.connect()
        async with database.writer.connect() as connection:
            await connection.exec_driver_sql("SELECT 1")

        await database.aclose()

    async def test_admits_another_task_when_a_connection_could_not_be_opened(self, tmp_path: Path) -> None:
        database = Database.connect(make_url(f"sqlite+aiosqlite:///{tmp_path}/absent/books.db"))

        for _ in range(2):
            with pytest.raises(Exception, match="unable to open database file"):
                await database.writer.connect()

        (tmp_path / "absent").mkdir()
        async with database.writer.connect() as connection:
            await connection.exec_driver_sql("SELECT 1")
        await database.aclose()
