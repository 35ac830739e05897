"""Event streams in endpoints: the client's request for a stream, and the response that hands over its connection."""

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from portico.kit._compat.fastapi import lookup
from portico.kit.http.authentication import Authentication
from portico.kit.http.client_info import client_key
from portico.kit.http.context import HttpContext
from portico.kit.http.event_stream import EventStreams, StreamReader
from portico.kit.http.request import combined_field
from portico.kit.http.stream_connections import CONNECTION_HANDOVER, TaskConnection

MEDIA_TYPE: Final = "text/event-stream"


class EventStream(Response):
    """An event stream as a response. Use `StreamRequest.open`."""

    media_type = MEDIA_TYPE

    def __init__(self, reader: StreamReader, on_open: Callable[[StreamReader], None], join: Callable[[], None]) -> None:
        self.status_code = 200
        self.background = None
        self.body = b""
        self.init_headers({"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self.headers["content-type"] = MEDIA_TYPE  # always UTF-8: the type has no charset
        self._reader = reader
        self._on_open = on_open
        self._join = join

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        if scope.get("portico.is_head", False):
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            return
        reader = self._reader
        await send({**start, CONNECTION_HANDOVER: reader})
        kept = None if reader.is_open else TaskConnection(reader)
        if kept is not None:
            reader.take(kept)
        self._join()
        self._on_open(reader)
        if kept is not None:
            await kept.serve(receive, send)


class StreamRequest:
    """The part of a request that concerns event streams.

    Attributes:
        is_wanted: whether the client accepts an event stream.
        last_event_id: id of the last event that the client received, if it reconnects.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        accepted = (combined_field(request.headers, "accept") or "").lower().split(",")
        self.is_wanted = any(each.partition(";")[0].strip() == MEDIA_TYPE for each in accepted)
        self.last_event_id: str | None = request.headers.get("last-event-id")

    def open(self, group: str, on_open: Callable[[StreamReader], None], *, key: Any = None) -> EventStream:
        """Return a response that adds the client to the readers of a group.

        Args:
            group: the readers that receive the same events.
            on_open: sends the first event, with the current state. It is called after the reader was added.
            key: value to attach to the reader.

        Raises:
            TooManyStreams: the caller has MAX_STREAMS_EACH open, or the service has MAX_STREAMS.
        """
        scope = self._request.scope
        context: HttpContext = scope["portico.context"]
        authentication: Authentication = scope["portico.authentication"]
        principal = authentication.principal
        caller = client_key(self._request, context) if principal is None else principal.subject
        with context.sockets.slot(caller):
            pass  # the stream is counted when it begins, because the response may never be sent
        streams = context.resource(EventStreams)
        authorization = None if authentication.token is None else (authentication, scope["portico.access"])
        reader = StreamReader(streams, group, key, caller=caller, authorization=authorization)
        return EventStream(reader, on_open, lambda: streams.add(reader, caller, context.sockets))


@lookup
async def _stream_request(request: Request) -> StreamRequest:
    return StreamRequest(request)


EventStreamRequest = Annotated[StreamRequest, Depends(_stream_request)]
"""In an endpoint declared with `streams=True`: whether the client wants an event stream, and how to open one."""
