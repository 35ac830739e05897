import pytest
from tests.contracts.broker import BrokerContract
from tests.contracts.broker_on_server import BrokerOnServerContract
from tests.contracts.broker_subscriptions import BrokerSubscriptionContract

from portico.kit.messaging.brokers.base import BrokerUnavailable
from portico.kit.messaging.brokers.rabbitmq import RabbitMQBroker
from portico.servers import RabbitMQServer


@pytest.fixture
def environ(rabbitmq_server: RabbitMQServer) -> dict[str, str]:
    return {"RABBITMQ_URL": rabbitmq_server.url()}


class TestRabbitMQBroker(BrokerContract):
    pass


class TestRabbitMQSubscriptions(BrokerSubscriptionContract):
    pass


class TestRabbitMQBrokerWithoutItsServer(BrokerOnServerContract):
    @pytest.fixture
    def running(self, rabbitmq_server: RabbitMQServer) -> RabbitMQServer:
        return rabbitmq_server


class TestUnreachableServer:
    async def test_the_error_names_the_server_without_the_password(self) -> None:
        broker = RabbitMQBroker("amqp://me:secret@127.0.0.1:1", "shop")  # a privileged port without a server

        with pytest.raises(BrokerUnavailable, match=r"^RabbitMQ at 127\.0\.0\.1:1: ") as raised:
            await broker.check()

        assert "secret" not in str(raised.value)
