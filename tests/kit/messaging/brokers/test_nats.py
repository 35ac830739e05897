import pytest
from tests.contracts.broker import BrokerContract
from tests.contracts.broker_listening import BrokerListeningContract
from tests.contracts.broker_on_server import BrokerOnServerContract

from portico.servers import NatsServer


@pytest.fixture
def environ(nats_server: NatsServer) -> dict[str, str]:
    return {"NATS_URL": nats_server.url()}


class TestNatsBroker(BrokerContract):
    pass


class TestNatsSubscriptions(BrokerListeningContract):
    pass


class TestNatsBrokerWithoutItsServer(BrokerOnServerContract):
    @pytest.fixture
    def running(self, nats_server: NatsServer) -> NatsServer:
        return nats_server
