"""HTTP: declared routes, JSON models, the transaction of a request, problem documents, paging, conditional requests."""

from typing import TYPE_CHECKING

from portico.kit.foundation.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from portico.kit.http.authentication import bearer_token
    from portico.kit.http.batches import add_batch_route
    from portico.kit.http.boundary import Reads, Work
    from portico.kit.http.client_info import ClientInfo, RequestClient
    from portico.kit.http.conditional import Conditions
    from portico.kit.http.context import Context, HttpContext, OnBehalf, inject
    from portico.kit.http.docs import accepts_gzip
    from portico.kit.http.event_stream import EventStreams, StreamReader, format_event, open_event_streams
    from portico.kit.http.event_stream_response import EventStream, EventStreamRequest
    from portico.kit.http.middleware import QUIET
    from portico.kit.http.oauth_errors import InvalidClient, OAuthError, plain_description
    from portico.kit.http.paging import (
        MAX_LIMIT,
        NumberedPage,
        NumberedPageRequest,
        Page,
        PageNumbers,
        numbered_list,
    )
    from portico.kit.http.problems import ProblemRead, field_errors, problem_document
    from portico.kit.http.router import Router
    from portico.kit.http.schema import Case, DateOrMoment, Line, Moment, OneLine, Schema
    from portico.kit.http.sockets import Socket
    from portico.kit.http.timeline import TimelineEventRead
else:
    __getattr__ = lazy_exports(
        __name__,
        {
            "authentication": "bearer_token",
            "batches": "add_batch_route",
            "boundary": "Reads Work",
            "client_info": "ClientInfo RequestClient",
            "conditional": "Conditions",
            "context": "Context HttpContext OnBehalf inject",
            "docs": "accepts_gzip",
            "event_stream": "EventStreams StreamReader format_event open_event_streams",
            "event_stream_response": "EventStream EventStreamRequest",
            "middleware": "QUIET",
            "oauth_errors": "InvalidClient OAuthError plain_description",
            "paging": "MAX_LIMIT NumberedPage NumberedPageRequest Page PageNumbers numbered_list",
            "problems": "ProblemRead field_errors problem_document",
            "router": "Router",
            "schema": "Case DateOrMoment Line Moment OneLine Schema",
            "sockets": "Socket",
            "timeline": "TimelineEventRead",
        },
    )

__all__ = [
    "MAX_LIMIT",
    "QUIET",
    "Case",
    "ClientInfo",
    "Conditions",
    "Context",
    "DateOrMoment",
    "EventStream",
    "EventStreamRequest",
    "EventStreams",
    "HttpContext",
    "InvalidClient",
    "Line",
    "Moment",
    "NumberedPage",
    "NumberedPageRequest",
    "OAuthError",
    "OnBehalf",
    "OneLine",
    "Page",
    "PageNumbers",
    "ProblemRead",
    "Reads",
    "RequestClient",
    "Router",
    "Schema",
    "Socket",
    "StreamReader",
    "TimelineEventRead",
    "Work",
    "accepts_gzip",
    "add_batch_route",
    "bearer_token",
    "field_errors",
    "format_event",
    "inject",
    "numbered_list",
    "open_event_streams",
    "plain_description",
    "problem_document",
]
