"""Envelope of events: CloudEvents 1.0 in the JSON format."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from portico.kit.messaging.event import Event

CONTENT_TYPE = "application/cloudevents+json"
_REQUIRED = ("id", "type", "source", "subject")
_MAX_ATTRIBUTE_LENGTH = 255  # maximum number of characters of an attribute that is part of a key


class NotAnEvent(ValueError):
    """The message is not a CloudEvent that Portico can read."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """An event with its metadata (CloudEvents 1.0, with the extensions for tracing and partitioning).

    Args:
        event_id: id of the event.
        type: event type.
        version: version of the type's schema; the extension attribute `eventversion`.
        source: publishing service: `/{system}/{service}`.
        subject: id of the aggregate that the event concerns; also its `partitionkey`.
        time: when it happened, RFC 3339.
        data: its fields.
        trace: W3C `traceparent` of the request or event that caused it.
    """

    event_id: str
    type: str
    version: int
    source: str
    subject: str
    time: str
    data: Mapping[str, Any]
    trace: str | None = None

    @classmethod
    def parse(cls, body: bytes | str) -> "Envelope":
        """Parse a message. Raises NotAnEvent."""
        try:
            fields = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise NotAnEvent(f"the message is not JSON: {error}") from error
        if not isinstance(fields, dict) or fields.get("specversion") != "1.0":
            raise NotAnEvent("the message is not a CloudEvent 1.0")
        for name in _REQUIRED:
            if not _is_short_text(fields.get(name)):
                raise NotAnEvent(
                    f"the CloudEvent's attribute {name!r} is missing, not a text or longer than {_MAX_ATTRIBUTE_LENGTH} characters"
                )
        version, data = fields.get("eventversion", 1), fields.get("data")
        if not isinstance(version, int) or not isinstance(data, dict):
            raise NotAnEvent("the CloudEvent's eventversion must be a whole number and its data an object")
        trace = fields.get("traceparent")
        return cls(
            event_id=fields["id"],
            type=fields["type"],
            version=version,
            source=fields["source"],
            subject=fields["subject"],
            time=str(fields.get("time", "")),
            data=data,
            trace=trace if isinstance(trace, str) else None,
        )


def _is_short_text(value: Any) -> bool:
    """Return whether the value can be part of a key. NUL is not allowed, because PostgreSQL rejects it."""
    return isinstance(value, str) and 0 < len(value) <= _MAX_ATTRIBUTE_LENGTH and "\0" not in value


def serialize(event: Event, *, source: str, time: datetime, trace: str | None) -> str:
    """Return the CloudEvent of `event` as JSON.

    Args:
        event: the event.
        source: publishing service: `/{system}/{service}`.
        time: when it happened, in UTC.
        trace: the `traceparent` of the request or event that caused it.
    """
    attributes = {
        "specversion": "1.0",
        "id": event.message_id,
        "type": event.event_type,
        "eventversion": event.version,
        "source": source,
        "subject": event.aggregate_id,
        "partitionkey": event.aggregate_id,
        "time": time,
        "datacontenttype": "application/json",
    }
    if trace is not None:
        attributes["traceparent"] = trace
    head = orjson.dumps(attributes, option=orjson.OPT_UTC_Z).decode()
    return f'{head[:-1]},"data":{event.model_dump_json()}}}'  # serializes the fields once, without a dict
