from pathlib import Path

import pytest
from tests.contracts.broker import CREATED, BrokerContract
from tests.contracts.broker_of_a_system import Open
from tests.contracts.broker_subscriptions import BrokerSubscriptionContract

from portico.kit.messaging.brokers.base import Broker
from portico.kit.messaging.brokers.embedded_file import SUBSCRIBER_BACKLOG, SUBSCRIBERS
from portico.testing.recording_consumer import Listener, messages


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"DATA_DIR": str(tmp_path)}


class TestEmbeddedBroker(BrokerContract):
    pass


class TestEmbeddedBrokerSubscriptions(BrokerSubscriptionContract):
    async def test_the_backlog_of_subscribers_is_bounded(self, broker: Broker, another: Open) -> None:
        async with another() as second, Listener(second, [CREATED], through=broker):
            """The subscription makes the broker keep such messages."""
        await broker.publish(messages(SUBSCRIBER_BACKLOG))
        await broker.publish(messages(SUBSCRIBER_BACKLOG))

        assert await broker.backlog(SUBSCRIBERS) == SUBSCRIBER_BACKLOG
