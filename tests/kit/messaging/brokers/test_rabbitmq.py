import pytest

from portico.kit.servers import RabbitMQServer
from portico.kit.testing.contracts.broker import BrokerContract
from portico.kit.testing.contracts.broker_listening import BrokerListeningContract
from portico.kit.testing.contracts.broker_on_server import BrokerOnServerContract


@pytest.fixture
def environ(rabbitmq_server: RabbitMQServer) -> dict[str, str]:
    return {"RABBITMQ_URL": rabbitmq_server.url()}


class TestRabbitMQBroker(BrokerContract):
    pass


class TestListeningToRabbitMQ(BrokerListeningContract):
    pass


class TestRabbitMQBrokerWithoutItsServer(BrokerOnServerContract):
    @pytest.fixture
    def running(self, rabbitmq_server: RabbitMQServer) -> RabbitMQServer:
        return rabbitmq_server
