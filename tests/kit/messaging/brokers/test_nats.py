from collections.abc import Callable

import pytest

from portico.kit.servers import NatsServer, Server
from portico.kit.settings import Settings
from portico.kit.testing.contracts.broker import BrokerContract
from portico.kit.testing.contracts.broker_on_server import BrokerOnServerContract


class TestNatsBroker(BrokerContract):
    @pytest.fixture
    def environ(self, nats_server: NatsServer) -> dict[str, str]:
        return {"NATS_URL": nats_server.url()}


class TestNatsBrokerWithoutItsServer(BrokerOnServerContract):
    @pytest.fixture
    def server(self, start_server: Callable[..., NatsServer]) -> NatsServer:
        return start_server(NatsServer)

    def settings(self, server: Server) -> Settings:
        assert isinstance(server, NatsServer)
        return Settings(nats_url=server.url())
