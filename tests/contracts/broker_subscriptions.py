"""Contract of broker subscriptions. A subclass provides the settings that open a broker."""

from tests.contracts.broker import CREATED, DELETED, GROUP, UPDATED
from tests.contracts.broker_of_a_system import BrokerOfASystem, Open

from portico.kit.messaging.brokers.base import Broker, Message
from portico.testing.recording_consumer import Listener, RecordingConsumer, firsts_by_key, messages


class BrokerSubscriptionContract(BrokerOfASystem):
    """Subclass it as `TestMyBrokerSubscriptions`, with a fixture `environ`: the variables that name the broker."""

    async def test_every_subscriber_receives_each_message_unchanged(self, broker: Broker, another: Open) -> None:
        await broker.declare(GROUP, [CREATED])
        sent = [
            Message("evt_1", CREATED, "ord_1", b'{"total": 12}'),
            Message("evt 2%", CREATED, "Größe: 7 %20", b"no JSON \x00\xff\r\n"),
            Message("evt_3", CREATED, "ord_3", b""),
        ]
        async with another() as second, another() as third, RecordingConsumer(broker, GROUP) as taker:
            async with (
                Listener(broker, [CREATED], through=broker) as here,
                Listener(second, [CREATED], through=broker) as there,
                Listener(third, [CREATED], through=broker) as elsewhere,
            ):
                await broker.publish(sent)
                for listener in (here, there, elsewhere):
                    await listener.until_heard(each.id for each in sent)
            await taker.until_taken(each.id for each in sent)

        for listener in (here, there, elsewhere):
            assert sorted(listener.heard, key=lambda each: each.id) == sorted(sent, key=lambda each: each.id)

    async def test_a_subscriber_receives_its_types_only(self, broker: Broker, another: Open) -> None:
        sent = [Message(f"{turn} {each}", each, "a", b"") for turn in range(3) for each in (CREATED, UPDATED, DELETED)]
        async with (
            another() as second,
            Listener(broker, [CREATED], through=broker) as one,
            Listener(second, [UPDATED, DELETED], through=broker) as other,
        ):
            await broker.publish(sent)
            await one.until_heard([f"2 {CREATED}"])
            await other.until_heard([f"2 {UPDATED}", f"2 {DELETED}"])

        assert {each.type for each in one.heard} == {CREATED}
        assert {each.type for each in other.heard} == {UPDATED, DELETED}

    async def test_a_subscriber_receives_a_key_in_order(self, broker: Broker, another: Open) -> None:
        sent = messages(200, keys=20)
        async with another() as second, Listener(second, [CREATED], through=broker) as listener:
            for start in range(0, 200, 50):
                await broker.publish(sent[start : start + 50])
            await listener.until_heard(each.id for each in sent)

        assert firsts_by_key(listener.heard) == firsts_by_key(sent)

    async def test_no_messages_are_stored_for_subscribers(self, broker: Broker, another: Open) -> None:
        async with another() as second:
            async with Listener(second, [CREATED], through=broker):
                """Subscribe and unsubscribe."""
            await broker.publish([Message("while away", CREATED, "a", b"")])
            async with Listener(second, [CREATED], through=broker) as listener:
                await broker.publish([Message("back", CREATED, "a", b"")])
                await listener.until_heard(["back"])

        assert [each.id for each in listener.heard] == ["back"]

    async def test_a_subscriber_receives_messages_of_its_system_only(
        self, broker: Broker, of_another_system: Open
    ) -> None:
        async with (
            of_another_system() as other,
            Listener(broker, [CREATED], through=broker) as listener,
        ):
            await other.publish([Message("theirs", CREATED, "a", b"")])
            await broker.publish([Message("ours", CREATED, "a", b"")])
            await listener.until_heard(["ours"])

        assert [each.id for each in listener.heard] == ["ours"]
