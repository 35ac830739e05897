import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from sqlalchemy import func, insert, select
from tests.examples.loans import service as lending
from tests.examples.loans.events import BookLent
from tests.examples.loans.ids import BookId, LoanId
from tests.examples.loans.models import Book

from portico.kit.auth.principal import UserId
from portico.kit.auth.tokens import TokenFormat
from portico.kit.auth.verification import KeyVerifier
from portico.kit.data import UnitOfWork
from portico.kit.data.kit_tables import inbox, outbox
from portico.kit.messaging.consumer import consumes
from portico.kit.messaging.dead_letters import DeadLetterFilter, DeadLetters
from portico.kit.runtime.host import Host
from portico.kit.runtime.service import Service
from portico.kit.runtime.system import System
from portico.kit.settings import Environment
from portico.testing.clock import ManualClock
from portico.testing.issuer import Issuer


@consumes(BookLent, name="shelve-copy-of-lent-book")
async def shelve_copy_of_lent_book(event: BookLent, work: UnitOfWork) -> None:
    work.add(Book(title=f"twin of {event.loan_id}"))


TWINS: Service = replace(lending, name="twins", consumers=[shelve_copy_of_lent_book], publishes=[], routers=[])
LIBRARY = System("library", summary="Lends, and buys twins", gateway=1, services={lending: 1, TWINS: 2})


@asynccontextmanager
async def library(folder: Path, **variables: str) -> AsyncIterator[Host]:
    clock = ManualClock()
    form = TokenFormat(issuer="portico", audience="library")
    issuer = Issuer(clock, form)
    environment = Environment({"DATA_DIR": str(folder), **variables})
    host = Host(LIBRARY, environment, verifier_of=lambda _: KeyVerifier(issuer, form, clock))
    async with host:
        yield host


async def lend(host: Host, times: int) -> None:
    running = host.contexts["loans"]
    for _ in range(times):
        async with running.transaction() as work:
            work.publish(
                BookLent(loan_id=LoanId.new(), book_id=BookId.new(), reader_id=UserId.new(), due_at=running.clock.now())
            )


async def twins(host: Host) -> int:
    async with host.contexts["twins"].reader() as reader:
        return await reader.one(select(func.count()).select_from(Book)) or 0


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not await condition():  # type: ignore[misc]  # noqa: ASYNC110 - the caller chooses the condition
            await asyncio.sleep(0)  # a condition that never suspends would block the loop


def _too_large(now: datetime) -> dict[str, object]:
    """Return an outbox row written while the size limit was higher."""
    body = "x" * 2048
    return {"event_id": "evt_1", "type": "book.lent", "aggregate": "b1", "body": body, "occurred_at": now}


class TestOneProcess:
    async def test_an_event_reaches_the_service_that_consumes_it(self, tmp_path: Path) -> None:
        async with library(tmp_path) as host:
            await lend(host, 20)

            async def all_there() -> bool:
                return await twins(host) == 20

            await until(all_there)
            async with host.contexts["twins"].reader() as reader:
                assert await reader.one(select(func.count()).select_from(inbox)) == 20

    async def test_undelivered_events_arrive_after_a_restart(self, tmp_path: Path) -> None:
        async with library(tmp_path) as host:
            await lend(host, 50)
        async with library(tmp_path) as host:

            async def all_there() -> bool:
                return await twins(host) == 50

            await until(all_there)

    async def test_health_names_the_broker(self, tmp_path: Path) -> None:
        async with library(tmp_path) as host:
            detailed = await host.contexts["twins"].health.detailed()

        assert detailed["dependencies"]["broker"]["status"] == "up"

    async def test_metrics_count_published_and_handled_events(self, tmp_path: Path) -> None:
        async with library(tmp_path) as host:
            await lend(host, 3)

            async def published() -> bool:
                return b"portico_events_published_total 3.0" in host.contexts["loans"].metrics.render()

            async def handled() -> bool:
                wanted = b'portico_events_handled_total{consumer="shelve-copy-of-lent-book"} 3.0'
                return wanted in host.contexts["twins"].metrics.render()

            await until(published)
            await until(handled)

    async def test_metrics_count_the_dead_letters_of_a_service_that_only_publishes(self, tmp_path: Path) -> None:
        async with library(tmp_path, EVENT_SIZE_LIMIT="1024", EVENT_ATTEMPTS="1") as host:
            running = host.contexts["loans"]
            async with running.transaction() as work:
                await work.execute(insert(outbox).values(_too_large(running.clock.now())))

            async def dead() -> bool:
                dead_letters = DeadLetters("loans", running.database, running.clock)
                return await dead_letters.count(DeadLetterFilter(kind="not_publishable")) == 1

            await until(dead)
        async with library(tmp_path) as host:

            async def published() -> bool:
                return b"portico_dead_letters 1.0" in host.contexts["loans"].metrics.render()

            await until(published)
