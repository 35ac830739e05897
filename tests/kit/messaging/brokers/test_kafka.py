import pytest
from aiokafka import AIOKafkaProducer
from tests.contracts.broker import CREATED, GROUP, BrokerContract
from tests.contracts.broker_on_server import BrokerOnServerContract
from tests.contracts.broker_sharing import BrokerSharingContract
from tests.contracts.broker_subscriptions import BrokerSubscriptionContract

from portico.kit.messaging.brokers.base import Broker, Message, partition_of
from portico.kit.messaging.brokers.kafka_connection import arguments
from portico.servers import KafkaServer
from portico.testing.recording_consumer import RecordingConsumer

pytestmark = pytest.mark.slow


@pytest.fixture
def environ(kafka_server: KafkaServer) -> dict[str, str]:
    return {"KAFKA_URL": kafka_server.url()}


class TestKafkaBroker(BrokerContract):
    async def test_messages_with_invalid_text_do_not_stop_a_group(
        self, broker: Broker, system: str, kafka_server: KafkaServer
    ) -> None:
        await broker.declare(GROUP, [CREATED])
        async with AIOKafkaProducer(**arguments(kafka_server.url())) as stranger:
            partition = partition_of("ord_1")
            foreign = [("id", b"\xff"), ("type", CREATED.encode()), ("nothing", None)]
            for headers in ([("type", b"\xff")], foreign):
                await stranger.send_and_wait(f"{system}.events", b"hi", b"\xfe", partition, headers=headers)
        await broker.publish([Message("evt_1", CREATED, "ord_1", b"")])

        async with RecordingConsumer(broker, GROUP) as taker:
            await taker.until_taken(["evt_1"])

        assert {(each.id, each.key, each.body) for each in taker.taken} == {("�", "�", b"hi"), ("evt_1", "ord_1", b"")}


class TestKafkaSharing(BrokerSharingContract):
    pass


class TestKafkaSubscriptions(BrokerSubscriptionContract):
    pass


class TestKafkaBrokerWithoutItsServer(BrokerOnServerContract):
    @pytest.fixture
    def running(self, kafka_server: KafkaServer) -> KafkaServer:
        return kafka_server
