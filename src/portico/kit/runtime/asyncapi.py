"""AsyncAPI 3.0 documents: the events that services publish and handle, with their schemas."""

import inspect
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

from portico import __version__
from portico.kit.messaging.consumer import Consumer
from portico.kit.messaging.envelope import CONTENT_TYPE
from portico.kit.messaging.event import Event
from portico.kit.runtime.system import Placement, System

VERSION = "3.0.0"
_DESCRIPTION = (
    "Events are CloudEvents 1.0 in their JSON format, delivered at least once and handled once, in order per subject. "
    "On RabbitMQ the exchange is `{system}.events` and the routing key `{{type}}.{{partition}}`; on NATS the subject is "
    "`{system}.events.{{partition}}.{{type}}`. The partition is that of the subject: its CRC-32 modulo 8."
)


def asyncapi(system: System, names: Collection[str] | None = None) -> dict[str, Any]:
    """Return the document of a system, or of the services in `names`. Raises NoSuchService."""
    placements = system.placements if names is None else [system.placement(name) for name in names]
    kinds = _kinds(placements)
    who = ", ".join(each.name for each in placements)
    return {
        "asyncapi": VERSION,
        "id": f"urn:portico:{system.name}" + ("" if names is None else f":{who}"),
        "info": {
            "title": system.name if names is None else f"{who} of {system.name}",
            "version": __version__,
            "description": f"{_summary(system, placements, whole=names is None)}\n\n{_DESCRIPTION.format(system=system.name)}",
            "tags": [{"name": each.name, "description": each.service.summary} for each in placements],
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": _channels(kinds),
        "operations": dict(operation for each in placements for operation in _operations(each)),
        "components": _components(kinds),
    }


def _summary(system: System, placements: Sequence[Placement], *, whole: bool) -> str:
    return system.summary if whole else ". ".join(each.service.summary for each in placements)


def _kinds(placements: Iterable[Placement]) -> list[type[Event]]:
    """Return the classes of all events that are published or handled, by type and version."""
    found = {
        (kind.event_type, kind.version): kind
        for each in placements
        for kind in (*each.service.publishes, *(one for consumer in each.service.consumers for one in consumer.events))
    }
    return [kind for _, kind in sorted(found.items())]


def _channels(kinds: Iterable[type[Event]]) -> dict[str, Any]:
    channels: dict[str, Any] = {}
    for kind in kinds:
        description = f"In order for each `{kind.aggregate_field}`."
        channel = channels.setdefault(
            kind.event_type, {"address": kind.event_type, "description": description, "messages": {}}
        )
        channel["messages"][_message_name(kind)] = {"$ref": f"#/components/messages/{_message_name(kind)}"}
    return channels


def _operations(placement: Placement) -> Iterator[tuple[str, dict[str, Any]]]:
    for kind in placement.service.publishes:
        summary = f"{placement.name} publishes: {_sentence(kind)}"
        yield f"{placement.name}.send.{_message_name(kind)}", _operation("send", placement, kind, summary)
    for consumer in placement.service.consumers:
        for kind in consumer.events:
            summary = _consumer_summary(consumer)
            yield (
                f"{placement.name}.{consumer.name}.{_message_name(kind)}",
                _operation("receive", placement, kind, summary),
            )


def _operation(action: str, placement: Placement, kind: type[Event], summary: str) -> dict[str, Any]:
    channel = f"#/channels/{kind.event_type}"
    return {
        "action": action,
        "channel": {"$ref": channel},
        "summary": summary,
        "messages": [{"$ref": f"{channel}/messages/{_message_name(kind)}"}],
        "tags": [{"name": placement.name}],
    }


def _consumer_summary(consumer: Consumer) -> str:
    """Return the first line of a consumer's docstring, or else its name as a sentence."""
    text = inspect.getdoc(consumer.function) or consumer.name.replace("-", " ").capitalize() + "."
    return text.partition("\n")[0]


def _sentence(kind: type[Event]) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def _message_name(kind: type[Event]) -> str:
    return f"{kind.event_type}.{kind.version}"


def _components(kinds: Sequence[type[Event]]) -> dict[str, Any]:
    references, whole = models_json_schema(
        [(kind, "serialization") for kind in kinds], ref_template="#/components/schemas/{model}"
    )
    messages = {_message_name(kind): _message(kind, references[kind, "serialization"]) for kind in kinds}
    return {"messages": messages, "schemas": whole.get("$defs", {})}


def _message(kind: type[Event], data: dict[str, Any]) -> dict[str, Any]:
    text = {"type": "string"}
    attributes: dict[str, Any] = {
        "specversion": {"const": "1.0"},
        "id": {**text, "description": "Id of the event, the same for every delivery."},
        "type": {"const": kind.event_type},
        "eventversion": {"const": kind.version},
        "source": {**text, "description": "Publishing service: /{system}/{service}."},
        "subject": {**text, "description": f"Id of the aggregate: the `{kind.aggregate_field}`."},
        "partitionkey": {
            **text,
            "description": "Same as the subject. Events with the same key are delivered in order.",
        },
        "time": {**text, "format": "date-time"},
        "datacontenttype": {"const": "application/json"},
        "traceparent": {**text, "description": "W3C Trace Context of the operation that caused the event."},
        "data": data,
    }
    required = [name for name in attributes if name != "traceparent"]
    return {
        "name": kind.event_type,
        "title": kind.__name__,
        "summary": _sentence(kind),
        "contentType": CONTENT_TYPE,
        "payload": {"type": "object", "required": required, "properties": attributes},
    }
