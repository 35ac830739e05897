import pytest

from portico.kit.servers import KafkaServer
from portico.kit.testing.contracts.broker import BrokerContract
from portico.kit.testing.contracts.broker_listening import BrokerListeningContract
from portico.kit.testing.contracts.broker_on_server import BrokerOnServerContract

pytestmark = pytest.mark.slow


@pytest.fixture
def environ(kafka_server: KafkaServer) -> dict[str, str]:
    return {"KAFKA_URL": kafka_server.url()}


class TestKafkaBroker(BrokerContract):
    pass


class TestListeningToKafka(BrokerListeningContract):
    pass


class TestKafkaBrokerWithoutItsServer(BrokerOnServerContract):
    @pytest.fixture
    def running(self, kafka_server: KafkaServer) -> KafkaServer:
        return kafka_server
