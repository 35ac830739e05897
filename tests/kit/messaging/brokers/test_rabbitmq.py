import asyncio

import pytest
from aiormq.exceptions import ChannelNotFoundEntity
from tests.contracts.broker import BrokerContract
from tests.contracts.broker_on_server import BrokerOnServerContract
from tests.contracts.broker_sharing import BrokerHandOverContract, BrokerSharingContract
from tests.contracts.broker_subscriptions import BrokerSubscriptionContract

from portico.kit.messaging.brokers.base import BrokerUnavailable
from portico.kit.messaging.brokers.rabbitmq import RabbitMQBroker
from portico.kit.messaging.brokers.rabbitmq_connection import RabbitMQConnection
from portico.servers import RabbitMQServer


@pytest.fixture
def environ(rabbitmq_server: RabbitMQServer) -> dict[str, str]:
    return {"RABBITMQ_URL": rabbitmq_server.url()}


class TestRabbitMQBroker(BrokerContract):
    pass


class TestRabbitMQSharing(BrokerSharingContract, BrokerHandOverContract):
    pass


class TestRabbitMQSubscriptions(BrokerSubscriptionContract):
    pass


class TestRabbitMQBrokerWithoutItsServer(BrokerOnServerContract):
    @pytest.fixture
    def running(self, rabbitmq_server: RabbitMQServer) -> RabbitMQServer:
        return rabbitmq_server


class TestSubscriberBeforeTheFirstPublisher:
    async def test_declares_the_exchange(self, rabbitmq_server: RabbitMQServer) -> None:
        broker = RabbitMQBroker(rabbitmq_server.url(), "unpublished")
        subscribing = asyncio.create_task(broker._subscribe(["order.created"], lambda _: None))
        async with asyncio.timeout(60), RabbitMQConnection(rabbitmq_server.url()) as connection:
            while not await exists(connection, "unpublished.events"):
                assert not subscribing.done(), subscribing
        subscribing.cancel()
        await asyncio.wait([subscribing])
        await broker.aclose()


async def exists(connection: RabbitMQConnection, exchange: str) -> bool:
    channel = await connection.channel(publisher_confirms=False)  # the server closes it if the exchange is missing
    try:
        await channel.exchange_declare(exchange, passive=True)
    except ChannelNotFoundEntity:
        return False
    await channel.close()
    return True


class TestUnreachableServer:
    async def test_the_error_names_the_server_without_the_password(self) -> None:
        broker = RabbitMQBroker("amqp://me:secret@127.0.0.1:1", "shop")  # a privileged port without a server

        with pytest.raises(BrokerUnavailable, match=r"^RabbitMQ at 127\.0\.0\.1:1: ") as raised:
            await broker.check()

        assert "secret" not in str(raised.value)
