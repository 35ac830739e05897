from pathlib import Path

import pytest
from tests.contracts.broker import CREATED, BrokerContract
from tests.contracts.broker_of_a_system import Open
from tests.contracts.broker_subscriptions import BrokerSubscriptionContract

from portico.kit.messaging.brokers.base import Broker
from portico.kit.messaging.brokers.embedded_file import SUBSCRIBER_BACKLOG, SUBSCRIBERS, BrokerFile
from portico.testing.recording_consumer import Listener, messages


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"DATA_DIR": str(tmp_path)}


class TestEmbeddedBroker(BrokerContract):
    pass


def test_a_lease_that_was_taken_before_the_clock_was_set_back_is_free(tmp_path: Path) -> None:
    file = BrokerFile(tmp_path / "broker.db")
    taken, too_early = file.lead("loans", "one", 3600.0), file.lead("loans", "another", 3600.0)
    free = file.lead("loans", "another", 30.0)
    file.close()

    assert (taken, too_early, free) == (True, False, True)


class TestEmbeddedBrokerSubscriptions(BrokerSubscriptionContract):
    async def test_the_backlog_of_subscribers_is_bounded(self, broker: Broker, another: Open) -> None:
        async with another() as second, Listener(second, [CREATED], through=broker):
            """The subscription makes the broker keep such messages."""
        await broker.publish(messages(SUBSCRIBER_BACKLOG))
        await broker.publish(messages(SUBSCRIBER_BACKLOG))

        assert await broker.backlog(SUBSCRIBERS) == SUBSCRIBER_BACKLOG
