from datetime import UTC, datetime

import orjson
import pytest

from portico.kit.messaging.envelope import Envelope, NotAnEvent, serialize
from portico.kit.messaging.event import Event

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class TeaServed(Event, type="tea.served", version=2, aggregate="table"):
    table: str
    cups: int


class TestEnvelope:
    def test_is_a_cloud_event(self) -> None:
        event = TeaServed(table="7", cups=3)

        document = orjson.loads(serialize(event, source="/house/kitchen", time=NOON, trace=None))

        assert document == {
            "specversion": "1.0",
            "id": event.message_id,
            "type": "tea.served",
            "eventversion": 2,
            "source": "/house/kitchen",
            "subject": "7",
            "partitionkey": "7",
            "time": "2026-01-01T12:00:00Z",
            "datacontenttype": "application/json",
            "data": {"table": "7", "cups": 3},
        }

    def test_is_the_same_of_an_event_that_was_not_validated(self) -> None:
        validated, trusted = TeaServed(table="7", cups=3), TeaServed.without_validation(table="7", cups=3)

        first, second = [
            orjson.loads(serialize(each, source="/house/kitchen", time=NOON, trace=None))
            for each in (validated, trusted)
        ]

        assert second["id"] == trusted.message_id != validated.message_id
        assert {**first, "id": ""} == {**second, "id": ""}
        assert trusted.with_message_id("evt_1").message_id == "evt_1"

    def test_reads_its_own_output(self) -> None:
        event = TeaServed(table="7", cups=3)

        envelope = Envelope.parse(serialize(event, source="/house/kitchen", time=NOON, trace="00-1-2-01"))

        assert (envelope.event_id, envelope.type, envelope.version) == (event.message_id, "tea.served", 2)
        assert (envelope.subject, envelope.trace, envelope.data) == ("7", "00-1-2-01", {"table": "7", "cups": 3})

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"not json",
            b"[]",
            b"{}",
            b'{"specversion": "0.3", "id": "1", "type": "t", "source": "s", "subject": "x", "data": {}}',
            b'{"specversion": "1.0", "type": "t", "source": "s", "subject": "x", "data": {}}',
            b'{"specversion": "1.0", "id": 1, "type": "t", "source": "s", "subject": "x", "data": {}}',
            b'{"specversion": "1.0", "id": "1\\u0000", "type": "t", "source": "s", "subject": "x", "data": {}}',
            b'{"specversion": "1.0", "id": "1", "type": "t", "source": "s", "subject": "x", "data": []}',
            b'{"specversion": "1.0", "id": "1", "type": "t", "source": "s", "subject": "x", "data": {}, "eventversion": "1"}',
        ],
    )
    def test_other_messages_are_rejected(self, body: bytes) -> None:
        with pytest.raises(NotAnEvent):
            Envelope.parse(body)


class TestEvent:
    def test_the_aggregate_must_be_a_field(self) -> None:
        with pytest.raises(TypeError, match="chair"):

            class TeaSpilt(Event, type="tea.spilt", version=1, aggregate="chair"):
                table: str

    def test_unknown_fields_are_ignored(self) -> None:
        assert TeaServed.model_validate({"table": "7", "cups": 1, "sugar": True}).cups == 1
