from pathlib import Path

import pytest

from portico.kit.messaging.brokers.embedded import EmbeddedBroker
from portico.kit.messaging.brokers.factory import open_broker
from portico.kit.messaging.brokers.nats import NatsBroker
from portico.kit.messaging.brokers.rabbitmq import RabbitMQBroker
from portico.kit.settings import Settings


class TestOpenBroker:
    async def test_the_default_is_a_file_in_the_data_folder(self, tmp_path: Path) -> None:
        async with open_broker(Settings(data_dir=tmp_path / "data"), "shop") as broker:
            await broker.check()

        assert isinstance(broker, EmbeddedBroker)
        assert (tmp_path / "data" / "broker.db").exists()

    @pytest.mark.parametrize(
        ("settings", "kind"),
        [
            (Settings(rabbitmq_url="amqp://me:pw@127.0.0.1:1/"), RabbitMQBroker),
            (Settings(nats_url="nats://me:pw@127.0.0.1:1"), NatsBroker),
        ],
    )
    async def test_opening_does_not_need_a_running_server(self, settings: Settings, kind: type) -> None:
        async with open_broker(settings, "shop") as broker:
            assert isinstance(broker, kind)
