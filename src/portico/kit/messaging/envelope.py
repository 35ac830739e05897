"""The form in which events travel and rest: CloudEvents 1.0, JSON format."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from portico.kit.messaging.event import Event

CONTENT_TYPE = "application/cloudevents+json"
_REQUIRED = ("id", "type", "source", "subject")
_LONGEST = 255  # characters of an attribute that becomes part of a key


class NotAnEvent(ValueError):
    """A message is no CloudEvent that Portico can read."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """An event with all that is said of it (CloudEvents 1.0, and its extensions for tracing and partitioning).

    Args:
        event_id: its identity.
        type: what happened.
        version: of the type's schema; the extension attribute `eventversion`.
        source: who says so: `/{system}/{service}`.
        subject: what it is about; also its `partitionkey`.
        time: when it happened, RFC 3339.
        data: its fields.
        trace: W3C `traceparent` of what led to it.
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
    def loaded(cls, body: bytes | str) -> "Envelope":
        """What a message says. Raises NotAnEvent."""
        try:
            said = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise NotAnEvent(f"the message is not JSON: {error}") from error
        if not isinstance(said, dict) or said.get("specversion") != "1.0":
            raise NotAnEvent("the message is no CloudEvent 1.0")
        for name in _REQUIRED:
            if not _is_short_text(said.get(name)):
                raise NotAnEvent(f"the CloudEvent's attribute {name!r} is missing or not a short text")
        version, data = said.get("eventversion", 1), said.get("data")
        if not isinstance(version, int) or not isinstance(data, dict):
            raise NotAnEvent("the CloudEvent's eventversion must be a whole number and its data an object")
        trace = said.get("traceparent")
        return cls(
            event_id=said["id"],
            type=said["type"],
            version=version,
            source=said["source"],
            subject=said["subject"],
            time=str(said.get("time", "")),
            data=data,
            trace=trace if isinstance(trace, str) else None,
        )


def _is_short_text(value: Any) -> bool:
    """Whether it can be stored as part of a key; PostgreSQL takes no NUL."""
    return isinstance(value, str) and 0 < len(value) <= _LONGEST and "\0" not in value


def dumped(event: Event, *, source: str, time: datetime, trace: str | None) -> str:
    """The CloudEvent of `event`, as JSON.

    Args:
        event: what happened.
        source: who says so.
        time: when it did, in UTC.
        trace: the `traceparent` of what led to it.
    """
    attributes = {
        "specversion": "1.0",
        "id": event.event_id,
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
    return f'{head[:-1]},"data":{event.model_dump_json()}}}'  # pydantic writes the fields once; no dict between
