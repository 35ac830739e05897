import pytest
from tests.contracts.broker import BrokerContract
from tests.contracts.broker_on_server import BrokerOnServerContract
from tests.contracts.broker_sharing import BrokerSharingContract
from tests.contracts.broker_subscriptions import BrokerSubscriptionContract

from portico.servers import NatsServer


@pytest.fixture
def environ(nats_server: NatsServer) -> dict[str, str]:
    return {"NATS_URL": nats_server.url()}


class TestNatsBroker(BrokerContract):
    pass


class TestNatsSharing(BrokerSharingContract):
    pass


class TestNatsSubscriptions(BrokerSubscriptionContract):
    pass


class TestNatsBrokerWithoutItsServer(BrokerOnServerContract):
    @pytest.fixture
    def running(self, nats_server: NatsServer) -> NatsServer:
        return nats_server
