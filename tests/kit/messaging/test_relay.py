import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from sqlalchemy import func, insert, select
from tests.examples.loans.events import BookLent
from tests.examples.loans.ids import BookId, LoanId
from tests.kit.executed import Statements

from portico.kit.auth.principal import UserId
from portico.kit.data.kit_tables import event_log, leases, outbox
from portico.kit.messaging.brokers.base import BrokerUnavailable, Message
from portico.kit.messaging.relay import Relay, pause_after
from portico.testing.brokers import ScriptedBroker
from portico.testing.running_service import RunningService


async def publish_one(loans: RunningService, *, of: BookId | None = None) -> BookLent:
    event = BookLent(loan_id=LoanId.new(), book_id=of or BookId.new(), reader_id=UserId.new(), due_at=loans.clock.now())
    async with loans.context.transaction() as work:
        work.publish(event)
    return event


async def left(loans: RunningService) -> tuple[int, int]:
    """Return the numbers of events in the outbox and in the log."""
    async with loans.context.reader() as reader:
        waiting = await reader.one(select(func.count()).select_from(outbox))
        logged = await reader.one(select(func.count()).select_from(event_log))
    return waiting or 0, logged or 0


async def is_leased(loans: RunningService) -> bool:
    """Return whether a relay holds the lease."""
    async with loans.context.reader() as reader:
        until = await reader.one(select(leases.c.until).where(leases.c.name == "relay"))
    return until is None or until > loans.clock.now()


@pytest.fixture
def broker() -> ScriptedBroker:
    return ScriptedBroker()


@pytest.fixture
def relay(loans: RunningService, broker: ScriptedBroker) -> Relay:
    return Relay(loans.context, broker)


class TestPauseAfter:
    def test_writers_get_a_share_of_the_time(self) -> None:
        assert 0.25 <= pause_after(200, 0.5) <= 0.5

    @pytest.mark.parametrize("grown", [0, 1000, 100_000], ids=["no writers", "a full batch", "more than a batch"])
    def test_no_pause_without_writers_or_with_more_than_a_batch(self, grown: int) -> None:
        assert pause_after(grown, 0.5) == 0.0


class TestDrain:
    async def test_publishes_in_order_and_moves_to_the_log(
        self, loans: RunningService, relay: Relay, broker: ScriptedBroker
    ) -> None:
        events = [await publish_one(loans) for _ in range(5)]

        assert await relay.drain() == 5

        assert [message.id for message in broker.stored] == [event.message_id for event in events]
        assert [message.key for message in broker.stored] == [event.book_id for event in events]
        assert await left(loans) == (0, 5)
        assert [event.message_id for event in await loans.published()] == [event.message_id for event in events]

    async def test_a_late_commit_with_a_lower_number_is_published(
        self, loans: RunningService, relay: Relay, broker: ScriptedBroker
    ) -> None:
        async with loans.context.transaction() as work:
            await work.execute(insert(outbox).values(_row(loans, 10)))
        await relay.drain()
        async with loans.context.transaction() as work:
            await work.execute(insert(outbox).values(_row(loans, 7)))

        await relay.drain()

        assert [message.id for message in broker.stored] == ["evt_10", "evt_7"]

    async def test_events_wait_while_the_broker_is_unavailable(
        self, loans: RunningService, relay: Relay, broker: ScriptedBroker
    ) -> None:
        await publish_one(loans)
        broker.absent = True
        with pytest.raises(BrokerUnavailable):
            await relay.drain()
        assert await left(loans) == (1, 0)

        broker.absent = False
        assert await relay.drain() == 1
        assert await left(loans) == (0, 1)

    async def test_unconfirmed_events_are_published_again(
        self, loans: RunningService, relay: Relay, broker: ScriptedBroker
    ) -> None:
        event = await publish_one(loans)
        broker.losing = True
        with pytest.raises(BrokerUnavailable):
            await relay.drain()
        broker.losing = False
        await relay.drain()

        assert [message.id for message in broker.stored] == [event.message_id] * 2

    async def test_a_rejected_event_blocks_its_aggregate_and_others_continue(
        self, loans: RunningService, relay: Relay, broker: ScriptedBroker
    ) -> None:
        bad, other = await publish_one(loans), await publish_one(loans)
        behind = await publish_one(loans, of=bad.book_id)
        broker.refusing = {bad.message_id}

        await relay.drain()
        assert await left(loans) == (2, 1)
        assert other.message_id in {message.id for message in broker.stored}

        assert behind.message_id not in {message.id for message in broker.stored}

        broker.refusing, broker.batches = set(), []
        assert await relay.drain() == 0
        loans.clock.advance(5)
        assert await relay.drain() == 2
        assert [message.id for message in broker.stored] == [bad.message_id, behind.message_id]

    @pytest.mark.slow  # each rejection is one transaction
    async def test_a_drain_attempts_each_rejected_event_once(self, loans: RunningService) -> None:
        tries: Counter[str] = Counter()

        class Refusing(ScriptedBroker):
            async def publish(self, messages: Sequence[Message]) -> Mapping[str, str]:
                tries.update(message.id for message in messages)
                return {message.id: "refused" for message in messages}

        await _leave(loans, 1100)

        assert await Relay(loans.context, Refusing()).drain() == 0

        assert (len(tries), set(tries.values())) == (1100, {1})
        assert await left(loans) == (1100, 0)

    async def test_many_events_are_published_once_and_in_order(
        self, loans: RunningService, relay: Relay, broker: ScriptedBroker
    ) -> None:
        await _leave(loans, 2500)

        assert await relay.drain() == 2500

        assert [message.id for message in broker.stored] == [f"evt_{number}" for number in range(1, 2501)]
        assert await left(loans) == (0, 2500)

    async def test_events_committed_during_publishing_follow_and_none_is_published_twice(
        self, loans: RunningService
    ) -> None:
        class Hearsay(ScriptedBroker):
            async def publish(self, messages: Sequence[Message]) -> Mapping[str, str]:
                if len(self.batches) < 5:
                    await publish_one(loans)
                return await super().publish(messages)

        broker = Hearsay()
        await publish_one(loans)

        assert await Relay(loans.context, broker).drain() == 6

        events = await loans.published()
        assert [message.id for message in broker.stored] == [event.message_id for event in events]
        assert await left(loans) == (0, 6)

    async def test_events_read_ahead_wait_behind_a_rejected_one(
        self, loans: RunningService, relay: Relay, broker: ScriptedBroker
    ) -> None:
        rows = [_row(loans, number) for number in range(1, 1501)]
        rows[1199]["aggregate"] = rows[0]["aggregate"]
        async with loans.context.transaction() as work:
            await work.execute(insert(outbox), rows)
        broker.refusing = {"evt_1"}

        await relay.drain()

        assert await left(loans) == (2, 1498)
        assert "evt_1200" not in {message.id for message in broker.stored}

    async def test_events_keep_waiting_if_the_rejected_one_is_retried_in_the_same_drain(
        self, loans: RunningService
    ) -> None:
        class Slow(ScriptedBroker):
            async def publish(self, messages: Sequence[Message]) -> Mapping[str, str]:
                if len(self.batches) == 1:
                    loans.clock.advance(3)
                return await super().publish(messages)

        rows = [_row(loans, number) for number in range(1, 3501)]
        rows[2499]["aggregate"] = rows[0]["aggregate"]
        async with loans.context.transaction() as work:
            await work.execute(insert(outbox), rows)
        broker = Slow()
        broker.refusing = {"evt_1"}

        await Relay(loans.context, broker).drain()

        assert await left(loans) == (2, 3498)
        assert "evt_2500" not in {message.id for message in broker.stored}

    async def test_a_late_commit_in_a_backlog_precedes_later_commits(self, loans: RunningService) -> None:
        class Meanwhile(ScriptedBroker):
            async def publish(self, messages: Sequence[Message]) -> Mapping[str, str]:
                if not self.batches:
                    late, later = _row(loans, 5), _row(loans, 9999)
                    for row in (late, later | {"aggregate": late["aggregate"]}):
                        async with loans.context.transaction() as work:
                            await work.execute(insert(outbox).values(row))
                return await super().publish(messages)

        async with loans.context.transaction() as work:
            await work.execute(insert(outbox), [_row(loans, number) for number in range(11, 3011)])
        broker = Meanwhile()

        assert await Relay(loans.context, broker).drain() == 3002

        stored = [message.id for message in broker.stored]
        assert len(stored) == 3002
        assert stored.index("evt_5") < stored.index("evt_9999")

    @pytest.mark.parametrize("seed", range(3))
    async def test_events_of_an_aggregate_stay_in_order_with_concurrent_commits_and_rejections(
        self, loans: RunningService, seed: int
    ) -> None:
        chance = random.Random(seed)  # noqa: S311  # not for secrets
        gaps = [number for number in range(1, 30_000) if number % 10]
        about = {f"evt_{number}": f"book_{number // 1000}" for number in range(10, 30_001, 10)}

        async def commit(number: int, aggregate: str) -> None:
            about[f"evt_{number}"] = aggregate
            async with loans.context.transaction() as work:
                await work.execute(insert(outbox).values(_row(loans, number) | {"aggregate": aggregate}))

        class Meanwhile(ScriptedBroker):
            async def publish(self, messages: Sequence[Message]) -> Mapping[str, str]:
                refuses = len(self.batches) < 10 and chance.random() < 0.3
                self.refusing = {chance.choice(messages).id} if refuses else set()
                refused = await super().publish(messages)
                for _ in range(5 if len(self.batches) < 10 else 0):
                    for number in sorted(chance.sample(gaps, 2)):
                        gaps.remove(number)
                        await commit(number, f"late_{len(gaps) // 2}")
                loans.clock.advance(chance.uniform(0, 2))
                return refused

        async with loans.context.transaction() as work:
            rows = [_row(loans, number) | {"aggregate": about[f"evt_{number}"]} for number in range(10, 30_001, 10)]
            await work.execute(insert(outbox), rows)
        broker = Meanwhile()
        relay = Relay(loans.context, broker)
        for _ in range(12):
            await relay.drain()
            loans.clock.advance(2)

        lines: dict[str, list[int]] = {}
        for message in broker.stored:
            lines.setdefault(about[message.id], []).append(int(message.id.removeprefix("evt_")))
        assert [line for line in lines.values() if line != sorted(line)] == []
        assert await left(loans) == (0, len(about))

    async def test_a_confirmed_batch_is_moved_when_the_next_one_loses_the_broker(self, loans: RunningService) -> None:
        class LostAfterOne(ScriptedBroker):
            async def publish(self, messages: Sequence[Message]) -> Mapping[str, str]:
                self.absent = bool(self.batches)
                return await super().publish(messages)

        await _leave(loans, 1500)

        with pytest.raises(BrokerUnavailable):
            await Relay(loans.context, LostAfterOne()).drain()

        assert await left(loans) == (500, 1000)


class TestLease:
    async def test_one_relay_publishes_and_the_other_waits(self, loans: RunningService, broker: ScriptedBroker) -> None:
        first, second = Relay(loans.context, broker), Relay(loans.context, broker)
        await publish_one(loans)
        assert await first.drain() == 1
        await publish_one(loans)

        assert await second.drain() == 0
        assert await first.drain() == 1

    async def test_another_relay_takes_over_when_the_lease_expires(
        self, loans: RunningService, broker: ScriptedBroker
    ) -> None:
        first, second = Relay(loans.context, broker), Relay(loans.context, broker)
        await first.drain()
        await publish_one(loans)
        loans.clock.advance(6)

        assert await second.drain() == 1
        assert await first.drain() == 0

    async def test_another_relay_takes_over_after_the_clock_was_set_back(
        self, loans: RunningService, relay: Relay, broker: ScriptedBroker
    ) -> None:
        await publish_one(loans)
        await relay.drain()
        await publish_one(loans)
        other = Relay(loans.context, broker)
        early = await other.drain()

        loans.clock.set_back(3600)

        assert (early, await other.drain()) == (0, 1)

    async def test_a_relay_that_ends_releases_its_lease(self, loans: RunningService, broker: ScriptedBroker) -> None:
        first, second = Relay(loans.context, broker), Relay(loans.context, broker)
        await publish_one(loans)
        running = asyncio.create_task(first.run())
        async with asyncio.timeout(20):
            while await left(loans) != (0, 1):
                pass
        running.cancel()
        await asyncio.wait([running])
        await publish_one(loans)

        assert await second.drain() == 1


class TestRun:
    async def test_an_idle_relay_releases_the_lease_and_only_reads(
        self, embedded_loans: RunningService, broker: ScriptedBroker
    ) -> None:
        running = asyncio.create_task(Relay(embedded_loans.context, broker).run())
        await publish_one(embedded_loans)
        async with asyncio.timeout(20):
            while await left(embedded_loans) != (0, 1) or await is_leased(embedded_loans):
                pass
        writes = Statements(embedded_loans.context.database.writer)
        reads = Statements(embedded_loans.context.database.reader)
        await asyncio.wait_for(reads.executed.wait(), 20)
        running.cancel()
        await asyncio.wait([running])

        assert writes.texts == []
        assert all("outbox" in text for text in reads.texts)

    async def test_a_poll_finds_the_events_of_another_process(
        self, loans: RunningService, relay: Relay, broker: ScriptedBroker
    ) -> None:
        running = asyncio.create_task(relay.run())
        async with asyncio.timeout(20):
            while await is_leased(loans):
                pass
        row = {
            "event_id": "evt_1",
            "type": "book.lent",
            "aggregate": "a",
            "body": "{}",
            "occurred_at": loans.clock.now(),
        }
        async with loans.context.transaction() as work:
            await work.execute(insert(outbox).values(row))
        async with asyncio.timeout(20):
            while await left(loans) != (0, 1):
                pass
        running.cancel()
        await asyncio.wait([running])

        assert [message.id for message in broker.stored] == ["evt_1"]

    async def test_a_commit_wakes_the_relay_and_it_survives_a_broker_outage(
        self, loans: RunningService, relay: Relay, broker: ScriptedBroker
    ) -> None:
        broker.absent = True
        running = asyncio.create_task(relay.run())
        await publish_one(loans)
        await asyncio.sleep(0)
        broker.absent = False
        async with asyncio.timeout(20):
            while await left(loans) != (0, 1):
                pass
        running.cancel()
        await asyncio.wait([running])

        assert len(broker.stored) == 1


async def _leave(loans: RunningService, count: int) -> None:
    async with loans.context.transaction() as work:
        await work.execute(insert(outbox), [_row(loans, number) for number in range(1, count + 1)])


def _row(loans: RunningService, number: int) -> dict[str, object]:
    return {
        "id": number,
        "event_id": f"evt_{number}",
        "type": "book.lent",
        "aggregate": f"book_{number}",
        "body": "{}",
        "occurred_at": loans.clock.now(),
    }
