import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from tests.examples.loans import service
from tests.examples.loans.models import Book
from tests.kit.messaging.killed import GROUP
from tests.kit.messaging.leaving import ReaderLeft, Shelving, failed_rows, handled

from portico.kit.data import UnitOfWork
from portico.kit.foundation.problems import Conflict
from portico.kit.messaging.brokers.base import Message
from portico.kit.messaging.brokers.embedded import EmbeddedBroker
from portico.kit.messaging.consumer import consumes
from portico.kit.messaging.envelope import serialize
from portico.kit.messaging.inbox import Inbox
from portico.kit.messaging.runtime import retry_due
from portico.kit.runtime.service import Service
from portico.testing.databases import Databases
from portico.testing.recording_consumer import RecordingConsumer
from portico.testing.running_service import RunningService, run_service

ROOT = Path(__file__).parents[3]
LIMIT = 60.0  # seconds; a process takes long to start on a busy machine


class ShelfFull(Conflict):
    code = "shelf_full"
    detail = "The shelf is full."


@dataclass
class Script:
    """Controls the consumer below, and records the transactions in which it handled titles."""

    failing: set[str] = field(default_factory=set)
    waiting: dict[str, asyncio.Event] = field(default_factory=dict)
    breaks_at_commit: set[str] = field(default_factory=set)
    busy: float = 0.0  # seconds that each event takes
    seen: list[tuple[str, int]] = field(default_factory=list)
    began: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def titles(self) -> list[str]:
        return [title for title, _ in self.seen]

    @property
    def transactions(self) -> list[int]:
        """How many events each transaction began, in order."""
        return list(Counter(number for _, number in self.seen).values())

    def service(self) -> Service:
        works: list[UnitOfWork] = []  # kept, so that each has an identity of its own

        @consumes(ReaderLeft, name="shelve-book-of-former-reader")
        async def shelve_book(event: ReaderLeft, work: UnitOfWork) -> None:
            if work not in works:
                works.append(work)
            self.seen.append((event.title, works.index(work)))
            work.add(Book(title=event.title))
            await work.flush()
            self.began.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.busy):
                    await asyncio.Event().wait()
            if event.title in self.waiting:
                await self.waiting[event.title].wait()
            if event.title in self.failing:
                raise ShelfFull
            if event.title in self.breaks_at_commit:
                commit = work.commit

                async def broken() -> None:
                    work.commit = commit  # type: ignore[method-assign]
                    raise LookupError("deferred constraint")

                work.commit = broken  # type: ignore[method-assign]

        return replace(service, consumers=[shelve_book])


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
async def loans(databases: Databases, script: Script) -> AsyncIterator[RunningService]:
    async with run_service(script.service(), databases) as loans:
        yield loans


def left(title: str, reader: str | None = None) -> ReaderLeft:
    return ReaderLeft(reader_id=reader or title, title=title)


async def deliver_at_once(
    loans: RunningService, events: Sequence[ReaderLeft], *, slow: float = LIMIT, inbox: Inbox | None = None
) -> None:
    inbox = inbox or Inbox(loans.context, slow=slow)
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*(inbox.deliver(_message(loans, event)) for event in events))


async def titles(loans: RunningService) -> list[str]:
    async with loans.context.reader() as reader:
        return sorted(row.title for row in await reader.rows(select(Book.__table__.c.title)))


TEN = [f"book {number}" for number in range(10)]


class TestBatch:
    async def test_events_of_one_moment_share_a_transaction_and_keep_their_order(
        self, loans: RunningService, script: Script
    ) -> None:
        inbox = Inbox(loans.context, slow=LIMIT)
        await deliver_at_once(loans, [left(title) for title in TEN], inbox=inbox)

        assert script.titles == TEN
        assert script.transactions == [10]
        assert await titles(loans) == TEN
        assert len(await handled(loans)) == 10
        assert inbox.handled == {"shelve-book-of-former-reader": 10}

    async def test_events_that_arrive_during_a_transaction_are_the_next_one(
        self, loans: RunningService, script: Script
    ) -> None:
        script.waiting = {each: asyncio.Event() for each in ("first", "second")}
        inbox = Inbox(loans.context, slow=LIMIT)
        both = [asyncio.create_task(deliver_at_once(loans, [left("first")], inbox=inbox))]
        await script.began.wait()
        if loans.context.database.dialect != "sqlite":
            both.append(asyncio.create_task(deliver_at_once(loans, [left("second")], inbox=inbox)))
        later = asyncio.create_task(deliver_at_once(loans, [left(title) for title in TEN], inbox=inbox))
        for event in script.waiting.values():
            event.set()
        await asyncio.gather(later, *both)

        assert len(script.transactions) <= 3
        assert script.titles[-10:] == TEN

    async def test_a_batch_has_at_most_64_events(self, loans: RunningService, script: Script) -> None:
        await deliver_at_once(loans, [left(f"book {number}") for number in range(70)])

        assert sorted(script.transactions) == [6, 64]

    async def test_an_event_that_is_delivered_twice_is_handled_once(
        self, loans: RunningService, script: Script
    ) -> None:
        event, other = left("Dune"), left("Solaris")

        await deliver_at_once(loans, [event, other, event, event])

        assert await titles(loans) == ["Dune", "Solaris"]
        assert script.titles == ["Dune", "Solaris"]
        assert await failed_rows(loans) == []

    async def test_known_events_are_not_handled_and_new_ones_are(self, loans: RunningService, script: Script) -> None:
        known = left("Dune")
        await loans.receives(known)

        await deliver_at_once(loans, [left("Solaris"), known, left("Ubik")])

        assert script.titles == ["Dune", "Solaris", "Ubik"]


class TestFailure:
    async def test_of_one_event_does_not_concern_the_others(self, loans: RunningService, script: Script) -> None:
        script.failing = {TEN[3], TEN[7]}

        await deliver_at_once(loans, [left(title) for title in TEN])

        rows = await failed_rows(loans)
        assert sorted((row.aggregate, row.state, row.attempts, row.cause) for row in rows) == [
            (TEN[3], "waiting", 1, "shelf_full"),
            (TEN[7], "waiting", 1, "shelf_full"),
        ]
        assert await titles(loans) == [title for title in TEN if title not in script.failing]
        assert max(Counter(script.titles).values()) <= 3  # rolled back at most once for each failure

    async def test_of_all_events_repeats_each_only_once(self, loans: RunningService, script: Script) -> None:
        script.failing = set(TEN)

        await deliver_at_once(loans, [left(title) for title in TEN])

        assert len(await failed_rows(loans)) == 10
        assert max(Counter(script.titles).values()) <= 2

    async def test_of_the_commit_halves_the_batch_until_the_event_is_alone(
        self, loans: RunningService, script: Script
    ) -> None:
        script.breaks_at_commit = {TEN[6]}

        await deliver_at_once(loans, [left(title) for title in TEN])

        [row] = await failed_rows(loans)
        assert (row.aggregate, row.cause) == (TEN[6], "LookupError")
        assert await titles(loans) == [title for title in TEN if title != TEN[6]]

    async def test_events_behind_a_failed_one_wait(self, loans: RunningService, script: Script) -> None:
        script.failing = {"Dune"}
        await loans.receives(left("Dune", "r1"))
        script.failing = set()

        await deliver_at_once(loans, [left("Solaris", "r2"), left("Ubik", "r1"), left("Emma", "r3")])
        before = await titles(loans)
        loans.clock.advance(1)
        while await retry_due(loans.inbox):
            pass

        assert before == ["Emma", "Solaris"]
        assert await titles(loans) == ["Dune", "Emma", "Solaris", "Ubik"]
        assert [title for title in script.titles if title in {"Dune", "Ubik"}][-2:] == ["Dune", "Ubik"]

    async def test_a_slow_event_does_not_delay_the_others(self, loans: RunningService, script: Script) -> None:
        if loans.context.database.dialect == "sqlite":
            pytest.skip("one transaction at a time writes to SQLite")
        script.waiting = {"slow": asyncio.Event()}
        events = [left("slow"), *(left(title) for title in TEN)]
        slow, *others = [asyncio.create_task(loans.receives(event)) for event in events]

        async with asyncio.timeout(LIMIT):
            await asyncio.gather(*others)
        stored = await titles(loans)
        script.waiting["slow"].set()
        await slow

        assert stored == TEN
        assert await titles(loans) == sorted([*TEN, "slow"])

    async def test_events_that_together_take_long_are_divided(self, loans: RunningService, script: Script) -> None:
        script.busy = 0.3

        await deliver_at_once(loans, [left(title) for title in TEN[:4]], slow=0.5)

        assert len(script.transactions) > 1
        assert await titles(loans) == TEN[:4]
        assert await failed_rows(loans) == []

    async def test_a_row_that_another_event_changed_is_read_again(self, databases: Databases) -> None:
        seen: list[str] = []
        books: Any = Book.__table__

        @consumes(ReaderLeft, name="rename-book")
        async def rename_book(event: ReaderLeft, work: UnitOfWork) -> None:
            [book] = (await work.session.scalars(select(Book))).all()
            seen.append(book.title)
            await work.execute(update(books).values(title=event.title))

        async with run_service(replace(service, consumers=[rename_book]), databases) as loans:
            await loans.given(Book(title="Dune"))
            await deliver_at_once(loans, [left("Solaris"), left("Ubik")])

        assert seen == ["Dune", "Solaris"]


class TestTwoProcesses:
    async def test_that_deliver_the_same_events_handle_each_once_and_in_order(
        self, loans: RunningService, script: Script
    ) -> None:
        events = [left(title, "r1") for title in TEN]
        others = [left(f"other {title}") for title in TEN]

        async def deliver(inbox: Inbox) -> None:
            together = asyncio.gather(*(inbox.deliver(_message(loans, event)) for event in others))
            for event in events:
                await inbox.deliver(_message(loans, event))
            await together

        async with asyncio.timeout(LIMIT):
            await asyncio.gather(*(deliver(Inbox(loans.context, slow=LIMIT)) for _ in range(2)))

        assert [title for title in script.titles if title in TEN] == TEN
        assert await titles(loans) == sorted([*TEN, *(event.title for event in others)])
        assert await failed_rows(loans) == []


class TestCancellation:
    async def test_rolls_a_batch_back_and_waits_for_its_end(self, loans: RunningService, script: Script) -> None:
        script.waiting = {TEN[2]: asyncio.Event()}
        inbox = Inbox(loans.context, slow=LIMIT)
        deliveries = [asyncio.create_task(inbox.deliver(_message(loans, left(title)))) for title in TEN[:3]]
        await script.began.wait()

        for each in deliveries:
            each.cancel()
        await asyncio.wait(deliveries, timeout=LIMIT)
        stored = await titles(loans)
        await deliver_at_once(loans, [left(title) for title in TEN[4:]])

        assert all(each.cancelled() for each in deliveries)
        assert stored == []
        assert await titles(loans) == TEN[4:]


class TestKilled:
    async def test_between_the_claim_and_the_commit_each_event_is_handled_once(
        self, databases: Databases, tmp_path: Path
    ) -> None:
        address, broker_file = databases.per_service(), tmp_path / "broker.db"
        events = [left(title) for title in TEN]
        shelving = Shelving()
        async with EmbeddedBroker(broker_file) as broker:
            async with run_service(shelving.service(), databases, background=False) as library:
                sent = [_message(library, each) for each in events]
            await broker.declare(GROUP, [ReaderLeft.event_type])
            await broker.publish(sent)
            await _handle_and_kill(address, broker_file, len(events))

            async with run_service(shelving.service(), databases, background=False) as library:
                stored = await titles(library)
                async with RecordingConsumer(broker, GROUP, act=library.inbox.deliver) as taker:
                    await taker.until_taken(each.message_id for each in events)
                after = [title.rpartition(" ")[0] for title in await titles(library)]

        assert stored == []
        assert after == TEN
        assert sorted(shelving.seen) == TEN


def _message(loans: RunningService, event: ReaderLeft) -> Message:
    body = serialize(event, source="/catalog/another", time=loans.clock.now(), trace=None)
    return Message(event.message_id, event.event_type, event.aggregate_id, body.encode())


async def _handle_and_kill(address: str, broker_file: Path, number: int) -> None:
    """Start a process that handles events in one transaction, and kill it at the last one."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.kit.messaging.killed", address, str(broker_file), str(number)),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    try:
        async with asyncio.timeout(LIMIT):
            for _ in range(number):
                await child.stdout.readline()
    finally:
        child.kill()
        await child.wait()
