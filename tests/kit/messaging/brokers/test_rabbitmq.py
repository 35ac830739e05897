from collections.abc import Callable

import pytest

from portico.kit.servers import RabbitMQServer, Server
from portico.kit.settings import Settings
from portico.kit.testing.contracts.broker import BrokerContract
from portico.kit.testing.contracts.broker_on_server import BrokerOnServerContract


class TestRabbitMQBroker(BrokerContract):
    @pytest.fixture
    def environ(self, rabbitmq_server: RabbitMQServer) -> dict[str, str]:
        return {"RABBITMQ_URL": rabbitmq_server.url()}


class TestRabbitMQBrokerWithoutItsServer(BrokerOnServerContract):
    @pytest.fixture
    def server(self, start_server: Callable[..., RabbitMQServer]) -> RabbitMQServer:
        return start_server(RabbitMQServer)

    def settings(self, server: Server) -> Settings:
        assert isinstance(server, RabbitMQServer)
        return Settings(rabbitmq_url=server.url())
