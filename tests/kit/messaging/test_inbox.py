import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select
from tests.examples.loans import service
from tests.examples.loans.events import BookLent
from tests.examples.loans.ids import BookId, LoanId
from tests.examples.loans.models import Book

from portico.kit.auth.principal import UserId
from portico.kit.data import UnitOfWork
from portico.kit.data.kit_tables import failed_events
from portico.kit.foundation.problems import Conflict
from portico.kit.messaging.brokers.base import Message
from portico.kit.messaging.consumer import check_unique_names, consumes
from portico.kit.messaging.event import Event
from portico.kit.messaging.runtime import retry_due
from portico.kit.runtime.context import ServiceRuntime
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, run_service


class ReaderLeft(Event, type="reader.left", version=1, aggregate="reader_id"):
    reader_id: str
    title: str


class StepPending(Conflict):
    code = "not_yet"
    detail = "Not yet."


class Script:
    """Controls what the consumers below do, and records the events they received."""

    def __init__(self) -> None:
        self.failing: set[str] = set()
        self.seen: list[str] = []
        self.hanging = False
        self.broken: Exception | None = None


SCRIPT = Script()


@consumes(ReaderLeft, name="shelve-book-of-former-reader")
async def shelve_book_of_former_reader(event: ReaderLeft, work: UnitOfWork) -> None:
    SCRIPT.seen.append(event.title)
    work.add(Book(title=event.title))
    await work.flush()
    if SCRIPT.hanging:
        await asyncio.Event().wait()
    if SCRIPT.broken is not None:
        raise SCRIPT.broken
    if event.title in SCRIPT.failing:
        raise StepPending


@consumes(ReaderLeft, name="note-former-reader")
async def note_former_reader(event: ReaderLeft, work: UnitOfWork, here: ServiceRuntime) -> None:
    work.publish(BookLent(loan_id=LoanId.new(), book_id=BookId.new(), reader_id=UserId.new(), due_at=here.clock.now()))


@pytest.fixture(autouse=True)
def script() -> Script:
    SCRIPT.__init__()  # type: ignore[misc]
    return SCRIPT


@asynccontextmanager
async def lending(databases: Databases, **variables: str) -> AsyncIterator[RunningService]:
    whole = replace(service, consumers=[shelve_book_of_former_reader, note_former_reader])
    async with run_service(whole, databases, variables={"EVENT_ATTEMPTS": "3", **variables}) as loans:
        yield loans


@pytest.fixture
async def loans(databases: Databases) -> AsyncIterator[RunningService]:
    async with lending(databases) as loans:
        yield loans


@pytest.fixture
async def impatient_loans(databases: Databases) -> AsyncIterator[RunningService]:
    """Run the service with a short event time-out."""
    async with lending(databases, EVENT_TIMEOUT="2") as loans:
        yield loans


def left(title: str, reader: str = "r1") -> ReaderLeft:
    return ReaderLeft(reader_id=reader, title=title)


async def titles(loans: RunningService) -> list[str]:
    async with loans.context.reader() as reader:
        return sorted(row.title for row in await reader.rows(select(Book.__table__.c.title)))


async def failed_rows(loans: RunningService) -> list[Any]:
    async with loans.context.reader() as reader:
        return list(await reader.rows(select(failed_events).order_by(failed_events.c.id)))


class TestDeliver:
    async def test_each_consumer_handles_an_event_in_its_own_transaction(self, loans: RunningService) -> None:
        await loans.receives(left("Dune"))

        assert await titles(loans) == ["Dune"]
        assert [event.event_type for event in await loans.published()] == ["book.lent"]

    async def test_a_redelivered_event_has_no_effect(self, loans: RunningService) -> None:
        event = left("Dune")

        await loans.receives(event, event)

        assert (await titles(loans), len(await loans.published())) == (["Dune"], 1)

    async def test_two_concurrent_deliveries_have_one_effect(self, loans: RunningService) -> None:
        event = left("Dune")

        await asyncio.gather(*(loans.receives(event) for _ in range(5)))

        assert (await titles(loans), await failed_rows(loans)) == (["Dune"], [])

    async def test_a_failed_event_is_queued_and_its_transaction_rolled_back(
        self, loans: RunningService, script: Script
    ) -> None:
        script.failing = {"Dune"}

        await loans.receives(left("Dune"))

        [row] = await failed_rows(loans)
        assert (row.consumer, row.state, row.attempts, row.cause) == (
            "shelve-book-of-former-reader",
            "waiting",
            1,
            "not_yet",
        )
        assert await titles(loans) == []
        assert len(await loans.published()) == 1  # by the other consumer

    async def test_an_event_that_exceeds_the_timeout_is_queued_for_a_retry(
        self, impatient_loans: RunningService, script: Script
    ) -> None:
        script.hanging = True

        await impatient_loans.receives(left("Dune"))

        assert [(row.cause, row.attempts) for row in await failed_rows(impatient_loans)] == [("TimeoutError", 1)]
        assert await titles(impatient_loans) == []


class TestOrder:
    async def test_later_events_of_the_aggregate_wait_and_others_continue(
        self, loans: RunningService, script: Script
    ) -> None:
        script.failing = {"Dune"}
        await loans.receives(left("Dune"), left("Solaris"), left("Ubik", reader="r2"))
        assert await titles(loans) == ["Ubik"]

        script.failing = set()
        loans.clock.advance(1)
        await _until_quiet(loans)

        assert await titles(loans) == ["Dune", "Solaris", "Ubik"]
        assert script.seen[-2:] == ["Dune", "Solaris"]
        assert await failed_rows(loans) == []

    async def test_a_redelivery_of_a_waiting_event_is_not_handled(self, loans: RunningService, script: Script) -> None:
        script.failing = {"Dune"}
        event = left("Dune")
        await loans.receives(event)
        script.failing = set()

        await loans.receives(event)

        assert (await titles(loans), len(await failed_rows(loans))) == ([], 1)


class TestDeadLetters:
    async def test_an_event_is_dead_after_its_last_attempt_and_its_aggregate_continues(
        self, loans: RunningService, script: Script
    ) -> None:
        script.failing = {"Dune"}
        await loans.receives(left("Dune"), left("Solaris"))
        for _ in range(2):
            loans.clock.advance(60)
            await _until_quiet(loans)

        [row] = await failed_rows(loans)
        assert (row.state, row.attempts, row.aggregate) == ("dead", 3, "r1")
        assert await titles(loans) == ["Solaris"]

    async def test_a_redelivery_of_a_dead_event_is_not_handled(self, loans: RunningService, script: Script) -> None:
        script.failing = {"Dune"}
        event = left("Dune")
        await loans.receives(event)
        for _ in range(2):
            loans.clock.advance(60)
            await _until_quiet(loans)
        script.failing = set()

        await loans.receives(event)

        assert await titles(loans) == []

    @pytest.mark.parametrize(
        ("body", "cause"),
        [
            (b"not JSON", "NotAnEvent"),
            (b"\xff\x00\xfe", "NotAnEvent"),
            (b'{"specversion": "1.0"}', "NotAnEvent"),
            (
                b'{"specversion":"1.0","id":"e1","type":"reader.vanished","source":"/x","subject":"r1","data":{}}',
                "UnknownEvent",
            ),
            (
                b'{"specversion":"1.0","id":"e1","type":"reader.left","eventversion":9,"source":"/x","subject":"r","data":{}}',
                "UnknownEvent",
            ),
            (
                b'{"specversion":"1.0","id":"e1","type":"reader.left","source":"/x","subject":"r1","data":{"title":1}}',
                "InvalidEvent",
            ),
            (
                b'{"specversion":"1.0","id":"e\\u0000","type":"reader.left","source":"/x","subject":"r1","data":{"reader_id":"r1","title":"x"}}',
                "NotAnEvent",
            ),
            (
                b'{"specversion":"1.0","id":"e1","type":"reader.left","source":"/x","subject":"\\u0000","data":{"reader_id":"r1","title":"x"}}',
                "NotAnEvent",
            ),
            (b"[" * 5_000_000, "NotAnEvent"),
        ],
        ids=[
            "text",
            "bytes",
            "no event",
            "unknown type",
            "unknown version",
            "wrong fields",
            "NUL in its id",
            "NUL in its subject",
            "5 MB",
        ],
    )
    async def test_an_unreadable_message_is_dead_at_once_and_others_continue(
        self, loans: RunningService, body: bytes, cause: str
    ) -> None:
        await loans.inbox.deliver(Message("m1", "reader.left", "r1", body))
        await loans.receives(left("Dune"))

        [row] = await failed_rows(loans)
        assert (row.state, row.cause, row.event_id) == ("dead", cause, "m1")
        assert await titles(loans) == ["Dune"]

    async def test_messages_without_an_id_are_distinguished(self, loans: RunningService) -> None:
        messages = [
            Message("", "greeting", key, body) for key, body in [("r1", b"hello"), ("r1", b"ciao"), ("r2", b"ciao")]
        ]
        for message in [*messages, messages[0]]:
            await loans.inbox.deliver(message)

        rows = await failed_rows(loans)
        assert [(row.aggregate, row.body) for row in rows] == [("r1", "hello"), ("r1", "ciao"), ("r2", "ciao")]
        assert all(row.event_id for row in rows)

    async def test_long_ids_with_a_common_prefix_are_distinguished(self, loans: RunningService) -> None:
        for end in "ab":
            await loans.inbox.deliver(Message("m" * 300 + end, "greeting", "r1", b"hello"))

        assert len({row.event_id for row in await failed_rows(loans)}) == 2

    async def test_characters_that_databases_reject_are_replaced_in_messages(self, loans: RunningService) -> None:
        await loans.inbox.deliver(Message("m\0", "reader\0left", "r\0", b"\0"))

        [row] = await failed_rows(loans)
        assert (row.event_id, row.type, row.aggregate, row.body) == ("m�", "reader�left", "r�", "�")

    async def test_characters_that_databases_reject_are_replaced_in_errors(
        self, loans: RunningService, script: Script
    ) -> None:
        script.broken = ValueError("half a pair: \ud83d, and \0")

        await loans.receives(left("Dune"))

        assert [row.error for row in await failed_rows(loans)] == ["half a pair: ?, and �"]


class TestDeclaration:
    def test_a_consumer_is_an_async_function_of_an_event_and_a_unit_of_work(self) -> None:
        def plain(event: ReaderLeft, work: UnitOfWork) -> None: ...

        async def bare(event: ReaderLeft) -> None: ...

        declare: Callable[[Any], Any] = consumes(ReaderLeft, name="shelve-book")
        for function in (plain, bare):
            with pytest.raises(TypeError, match=function.__name__):
                declare(function)

    @pytest.mark.parametrize("name", ["", "shelve_book", "Shelve-book", "-shelve", "shelve--book", "x" * 65])
    def test_a_name_is_kebab_case_and_has_at_most_64_characters(self, name: str) -> None:
        async def shelve_book(event: ReaderLeft, work: UnitOfWork) -> None: ...

        with pytest.raises(ValueError, match="kebab-case"):
            consumes(ReaderLeft, name=name)(shelve_book)

    def test_two_consumers_of_a_service_cannot_have_one_name(self) -> None:
        with pytest.raises(ValueError, match="shelve-book-of-former-reader"):
            check_unique_names([shelve_book_of_former_reader, shelve_book_of_former_reader])


async def _until_quiet(loans: RunningService) -> None:
    while await retry_due(loans.inbox):
        pass
