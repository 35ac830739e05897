import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from portico.kit.messaging.broadcast import Broadcasts
from portico.kit.messaging.brokers.base import Message
from portico.kit.messaging.envelope import dumped
from portico.kit.messaging.event import Event
from portico.testing.brokers import ScriptedBroker


class BookLost(Event, type="book.lost", version=1, aggregate="book_id"):
    book_id: str


class BookLostAtSea(Event, type="book.lost", version=2, aggregate="book_id"):
    book_id: str


class BookFound(Event, type="book.found", version=1, aggregate="book_id"):
    book_id: str


def told(event: Event) -> Message:
    body = dumped(event, source="/library/loans", time=datetime(2026, 11, 1, tzinfo=UTC), trace=None)
    return Message(event.event_id, event.event_type, event.aggregate_id, body.encode())


@pytest.fixture
def broadcasts() -> Broadcasts:
    return Broadcasts()


@pytest.fixture
async def broker(broadcasts: Broadcasts) -> AsyncIterator[ScriptedBroker]:
    """One that is listened to."""
    broker = ScriptedBroker()
    running = asyncio.create_task(broadcasts.run(broker))
    yield broker
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


class TestListening:
    async def test_tells_all_who_listen_of_an_event_under_its_identity(
        self, broadcasts: Broadcasts, broker: ScriptedBroker
    ) -> None:
        heard: list[BookLost] = []
        broadcasts.to(BookLost, heard.append)
        broadcasts.to(BookLost, heard.append)
        await broker.until_listened_to(["book.lost"])

        lost = BookLost(book_id="book_1")
        await broker.publish([told(lost), told(BookFound(book_id="book_1"))])

        assert heard == [lost, lost]
        assert {each.event_id for each in heard} == {lost.event_id}

    async def test_asks_the_broker_for_nothing_while_nobody_listens(
        self, broadcasts: Broadcasts, broker: ScriptedBroker
    ) -> None:
        await asyncio.sleep(0)

        assert broker.listeners == []

        broadcasts.to(BookLost, print)
        await broker.until_listened_to(["book.lost"])

    async def test_hears_of_what_somebody_listens_to_later(
        self, broadcasts: Broadcasts, broker: ScriptedBroker
    ) -> None:
        lost: list[BookLost] = []
        found: list[BookFound] = []
        broadcasts.to(BookLost, lost.append)
        await broker.until_listened_to(["book.lost"])

        broadcasts.to(BookFound, found.append)
        await broker.until_listened_to(["book.lost", "book.found"])
        await broker.publish([told(BookLost(book_id="book_1")), told(BookFound(book_id="book_1"))])

        assert (len(lost), len(found)) == (1, 1)

    async def test_passes_over_another_version(self, broadcasts: Broadcasts, broker: ScriptedBroker) -> None:
        heard: list[BookLost] = []
        broadcasts.to(BookLost, heard.append)
        await broker.until_listened_to(["book.lost"])

        await broker.publish([told(BookLostAtSea(book_id="book_1"))])

        assert heard == []

    async def test_goes_on_after_what_nobody_can_read(self, broadcasts: Broadcasts, broker: ScriptedBroker) -> None:
        heard: list[BookLost] = []
        broadcasts.to(BookLost, heard.append)
        await broker.until_listened_to(["book.lost"])

        await broker.publish([Message("m1", "book.lost", "book_1", b"no JSON"), told(BookLost(book_id="book_2"))])

        assert [each.book_id for each in heard] == ["book_2"]
