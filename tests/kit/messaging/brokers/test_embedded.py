from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contracts.broker import CREATED, BrokerContract
from tests.contracts.broker_of_a_system import Open
from tests.contracts.broker_sharing import BrokerHandOverContract, BrokerSharingContract
from tests.contracts.broker_subscriptions import BrokerSubscriptionContract

from portico.kit.messaging.brokers.base import Broker
from portico.kit.messaging.brokers.embedded_file import SUBSCRIBER_BACKLOG, SUBSCRIBERS, BrokerFile, Share
from portico.testing.recording_consumer import Listener, messages


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"DATA_DIR": str(tmp_path)}


class TestEmbeddedBroker(BrokerContract):
    pass


def test_a_lease_that_was_taken_before_the_clock_was_set_back_is_free(tmp_path: Path) -> None:
    file = BrokerFile(tmp_path / "broker.db")
    taken, too_early = file.share("loans", "one", 3600.0), file.share("loans", "another", 3600.0)
    free = file.share("loans", "another", 30.0)
    file.close()

    assert (len(taken.held), len(too_early.held), len(free.held)) == (8, 0, 8)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[BrokerFile]:
    file = BrokerFile(tmp_path / "broker.db")
    yield file
    file.close()


class TestShare:
    def test_one_member_holds_all_partitions(self, file: BrokerFile) -> None:
        assert file.share("loans", "one", 60) == Share(frozenset(range(8)), frozenset(), 1)

    def test_a_partition_has_one_owner_and_goes_to_another_when_it_is_given_up(self, file: BrokerFile) -> None:
        file.share("loans", "one", 60)
        waiting = file.share("loans", "two", 60)
        first = file.share("loans", "one", 60)
        still_waiting = file.share("loans", "two", 60)
        file.give_up("loans", "one", first.surplus)

        second, first_again = file.share("loans", "two", 60), file.share("loans", "one", 60)

        assert (waiting.held, still_waiting.held) == (frozenset(), frozenset())
        assert (len(first.held), len(first.surplus)) == (8, 4)
        assert second == Share(first.surplus, frozenset(), 2)
        assert first_again == Share(first.held - first.surplus, frozenset(), 2)

    @pytest.mark.parametrize(("number", "sizes"), [(3, [2, 3, 3]), (5, [1, 1, 2, 2, 2]), (8, [1] * 8)])
    def test_shares_differ_by_at_most_one(self, file: BrokerFile, number: int, sizes: list[int]) -> None:
        owners = [f"owner {place}" for place in range(number)]
        for _ in range(3):
            for owner in owners:
                file.give_up("loans", owner, file.share("loans", owner, 60).surplus)

        shares = [file.share("loans", owner, 60).held for owner in owners]

        assert sorted(map(len, shares)) == sizes
        assert frozenset().union(*shares) == frozenset(range(8))

    def test_a_member_whose_lease_expired_has_lost_its_partitions(self, file: BrokerFile) -> None:
        file.share("loans", "frozen", -1)
        taken = file.share("loans", "other", 60)

        late = file.share("loans", "frozen", 60)

        assert (len(taken.held), late.held) == (8, frozenset())

    def test_groups_are_separate(self, file: BrokerFile) -> None:
        file.share("loans", "one", 60)

        assert len(file.share("search", "two", 60).held) == 8


class TestEmbeddedSharing(BrokerSharingContract, BrokerHandOverContract):
    pass


class TestEmbeddedBrokerSubscriptions(BrokerSubscriptionContract):
    async def test_the_backlog_of_subscribers_is_bounded(self, broker: Broker, another: Open) -> None:
        async with another() as second, Listener(second, [CREATED], through=broker):
            """The subscription makes the broker keep such messages."""
        await broker.publish(messages(SUBSCRIBER_BACKLOG))
        await broker.publish(messages(SUBSCRIBER_BACKLOG))

        assert await broker.backlog(SUBSCRIBERS) == SUBSCRIBER_BACKLOG
