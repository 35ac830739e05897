import pytest

from portico.kit.servers import NatsServer
from portico.kit.testing.contracts.broker import BrokerContract
from portico.kit.testing.contracts.broker_listening import BrokerListeningContract
from portico.kit.testing.contracts.broker_on_server import BrokerOnServerContract


@pytest.fixture
def environ(nats_server: NatsServer) -> dict[str, str]:
    return {"NATS_URL": nats_server.url()}


class TestNatsBroker(BrokerContract):
    pass


class TestListeningToNats(BrokerListeningContract):
    pass


class TestNatsBrokerWithoutItsServer(BrokerOnServerContract):
    @pytest.fixture
    def running(self, nats_server: NatsServer) -> NatsServer:
        return nats_server
