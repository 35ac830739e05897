"""Service context and dependencies for endpoints."""

from typing import Annotated, Any, Protocol

from fastapi import Depends
from starlette.requests import HTTPConnection

from portico.kit._compat.fastapi import lookup
from portico.kit.auth.verification import TokenVerifier
from portico.kit.calls.client import Calls, Identity
from portico.kit.data.grouped_work import GroupedUnitOfWork
from portico.kit.foundation.shares import Shares
from portico.kit.http.request_body import BodyLimits
from portico.kit.service_context import ServiceContext
from portico.kit.telemetry.logs import RequestLog
from portico.kit.telemetry.trace_context import TraceContext


class HttpContext(ServiceContext, Protocol):
    """The part of a service's context that the middleware and the routes need.

    Attributes:
        keys_in_flight: idempotency keys of requests in progress in this process.
        request_log: writes one line per request; None writes nothing.
        verifier: verifies access tokens.
        sockets: the open WebSockets of this process, by caller.
        bodies: limits of the request bodies that this process is receiving.
    """

    bodies: BodyLimits
    keys_in_flight: set[str]
    request_log: RequestLog | None

    @property
    def verifier(self) -> TokenVerifier: ...

    def grouped_unit_of_work(self) -> GroupedUnitOfWork:
        """Return a unit of work that is committed together with those of other requests."""
        ...

    @property
    def sockets(self) -> Shares: ...

    def calls_on_behalf(
        self, identity: Identity, *, request_id: str, trace: TraceContext, deadline: float | None
    ) -> Calls:
        """Return calls to other services, authenticated as `identity`."""
        ...


@lookup
async def _context(connection: HTTPConnection) -> HttpContext:
    context: HttpContext = connection.scope["portico.context"]
    return context


Context = Annotated[ServiceContext, Depends(_context)]
"""Context of the service in an endpoint: settings, resources, transactions and calls with its own identity."""


@lookup
async def _calls(connection: HTTPConnection) -> Calls:
    scope = connection.scope
    context: HttpContext = scope["portico.context"]
    authorization = connection.headers.get("authorization", "")
    return context.calls_on_behalf(
        scope["portico.authentication"].token or authorization.partition(" ")[2] or None,
        request_id=scope["portico.request_id"],
        trace=scope["portico.span"].context,
        deadline=scope["portico.deadline"],
    )


OnBehalf = Annotated[Calls, Depends(_calls)]
"""Calls to other services on behalf of the caller: with the caller's token, within the request's deadline."""


def inject(kind: type[Any]) -> Any:
    """Return the dependency that passes a resource of the service to an endpoint.

    Used as `hasher: Annotated[PasswordHasher, inject(PasswordHasher)]`.
    """

    @lookup
    async def resource(connection: HTTPConnection) -> Any:
        return connection.scope["portico.context"].resource(kind)

    return Depends(resource)
