"""Boundary: the route class that runs an endpoint in a transaction, commits it and retries it.

When FastAPI's handler returns, the response is built but not sent. The commit takes place between the two. A `yield`
dependency would also commit for 409 responses, and costs 180 µs even for endpoints without a database.
"""

import asyncio
import functools
import re
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Depends
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.exc import StaleDataError
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from portico.kit._compat.fastapi import (
    MAX_SPARSE_HANDLERS,
    AnalyzedRoute,
    Dependant,
    SparseHandlers,
    functions_of,
    handler_of,
    lookup,
    takes_json,
    without_lookups,
)
from portico.kit._compat.fastapi_direct import is_direct
from portico.kit.data.failures import is_retryable_conflict, is_storage_full, is_unavailable
from portico.kit.data.group_commit import CommitInDoubt
from portico.kit.data.grouped_work import GroupedUnitOfWork
from portico.kit.data.reader import Reader
from portico.kit.data.retry import RetryPolicy, is_conflict_or_disconnect, is_transient, retry_transaction
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.foundation.problems import (
    GatewayTimeout,
    PreconditionFailed,
    Problem,
    UnsupportedMediaType,
)
from portico.kit.http.authentication import TICKET, Authentication
from portico.kit.http.client_info import client_key
from portico.kit.http.conditional import CONDITIONAL, Conditional, conditional_response, conditions
from portico.kit.http.context import HttpContext
from portico.kit.http.error_handling import (
    DatabaseUnavailable,
    EditedMeanwhile,
    ErrorResponder,
    OAuthErrorResponder,
    OutcomeUnknown,
    StorageFull,
)
from portico.kit.http.idempotency import AnsweredConcurrently, Claim, KeyTaken, anonymous_caller
from portico.kit.http.query_parameters import Queries
from portico.kit.http.request import FORM, BoundedRequest, combined_field
from portico.kit.http.request_body import BodyReceiver
from portico.kit.http.response_cache import cached_response
from portico.kit.http.router import Route
from portico.kit.http.rows import rendering_rows, set_etag
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

_RETRIES = RetryPolicy(is_retryable=is_conflict_or_disconnect)
_ERRORS = 400
_CLIENT_CLOSED_REQUEST = 499  # only in the log and the metrics
_MAX_ERRORS = 100
_JSON = re.compile(r"application/([\w.\-]+\+)?json")

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class BoundaryRoute(AnalyzedRoute):
    """A FastAPI route that commits between its handler and its response."""

    def __init__(self, declared: Route, context: HttpContext, path: str, **options: Any) -> None:
        self._declared = declared
        self._context = context
        self._cache_tag = declared.cache
        self.quiet = declared.quiet
        self.oauth_errors = declared.oauth_errors
        responder = OAuthErrorResponder if declared.oauth_errors else ErrorResponder
        self._errors = responder(context.name, context.system.case, declared.errors)
        self._limit = declared.body_limit or context.settings.body_limit
        self._seconds = declared.timeout or context.settings.request_timeout
        endpoint = declared.endpoint if declared.response_model is None else rendering_rows(declared.endpoint)
        super().__init__(path, endpoint, analyses=declared.analyses, methods=[declared.method], **options)
        self._handlers = SparseHandlers(self.dependant, self._handler_of, limit=MAX_SPARSE_HANDLERS)
        self._queries = Queries(self.dependant, context.system.case, also=TICKET if declared.streams else None)
        self._takes_json = takes_json(self)
        requested = set(functions_of(self.dependant))
        self._uses_database = not requested.isdisjoint({_work, _reads})
        self._is_read = declared.method == "GET"
        self.is_direct = not declared.streams and is_direct(self, without_lookups(self.dependant))
        self._rejects_conditions = not self._is_read and conditions not in requested

    def get_route_handler(self) -> Handler:
        return self._respond

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request that bypasses FastAPI's layers. Only for a route that `is_direct`."""
        response = await self._respond(Request(scope, receive, send))
        await response(scope, receive, send)

    async def _respond(self, given: Request) -> Response:
        """Return the response to a request, even after an error. FastAPI calls this as the handler of the route."""
        scope = given.scope
        receive = BodyReceiver(given.receive, self._context.bodies, lambda: client_key(given, self._context))
        request = BoundedRequest(scope, receive, limit=self._limit)
        scope["portico.deadline"] = deadline = scope["portico.started_at"] + min(
            scope["portico.time_limit"], self._seconds
        )
        within = asyncio.timeout_at(deadline)
        try:
            async with within:
                return await self._answer(request, self._handlers.for_request(request), within)
        except Exception as error:  # noqa: BLE001  # every error becomes a response; unexpected ones are logged
            unexpected = within.expired() and not isinstance(error, Problem)
            return self._errors.response_for(request, GatewayTimeout() if unexpected else error)

    def _handler_of(self, dependant: Dependant) -> Handler:
        return handler_of(self, dependant, super().get_route_handler)

    async def _answer(self, request: BoundedRequest, handle: Handler, within: asyncio.Timeout) -> Response:
        if self._declared.streams:
            request.scope["portico.access"] = self._declared.access  # event streams check it again
        if self._declared.access.kind != "public":
            authentication: Authentication = request.scope["portico.authentication"]
            if self._declared.streams and (ticket := request.query_params.get(TICKET)) is not None:
                authentication.use_ticket(ticket)
            await authentication.authorize(self._declared.access)
        if self._cache_tag is None:
            response = await self._checked(request, handle, within)
        else:
            group = self._context.response_cache(self._cache_tag)
            make = functools.partial(self._checked, request, handle, within)
            response = await cached_response(group, request, make, self._cache_tag.seconds)
        return conditional_response(request, response) if self._is_read else response

    async def _checked(self, request: BoundedRequest, handle: Handler, within: asyncio.Timeout) -> Response:
        if (raw := request.scope["query_string"]) and not self._declared.any_query:
            self._queries.check(raw, request.query_params)
        if self._rejects_conditions:
            (await conditions(request)).reject_unevaluated()
        if self._takes_json:
            await self._check_body(request)
        key = combined_field(request.headers, "idempotency-key") if self._declared.supports_idempotency_key else None
        if key is None and not self._uses_database:
            return _tagged(request, await handle(request))
        return await self._transact(request, handle, key, within)

    async def _transact(
        self, request: BoundedRequest, handle: Handler, key: str | None, within: asyncio.Timeout
    ) -> Response:
        """Run the handler in a transaction. Retry it after a conflict or a connection lost before the commit."""

        def resume_deadline(_: Exception | None = None) -> None:
            within.reschedule(request.scope["portico.deadline"])

        async def attempt() -> Response:
            context = self._context
            work = context.grouped_unit_of_work() if self._declared.grouped else context.unit_of_work()
            try:
                return await self._once(request, handle, key, work, within)
            except KeyTaken:
                resume_deadline()
                return await self._once(request, handle, key, context.unit_of_work(), within)
            except Exception as error:
                if (problem := _final_problem(request, work, error)) is not None:
                    raise problem from error
                raise

        try:
            return await retry_transaction(attempt, _RETRIES, on_retry=resume_deadline)
        except Exception as error:
            if is_transient(error):
                raise DatabaseUnavailable from error
            raise

    async def _once(
        self, request: BoundedRequest, handle: Handler, key: str | None, work: UnitOfWork, within: asyncio.Timeout
    ) -> Response:
        scope = request.scope
        async with work, self._context.reader() as reader:
            scope["portico.work"], scope["portico.reader"] = work, reader
            try:
                response = await (handle(request) if key is None else self._with_key(request, handle, work, key))
            except AnsweredConcurrently as other:
                return other.answer
            if response.status_code < _ERRORS:
                conditional: Conditional | None = scope.get(CONDITIONAL)
                if conditional is not None and not self._is_read:
                    conditional.reject_unevaluated()
                if within.expired():
                    await asyncio.sleep(0)  # the deadline has just passed; let its cancellation arrive
                within.reschedule(None)  # the deadline must not interrupt the commit
                await work.commit()
        return _tagged(request, response)

    async def _with_key(self, request: BoundedRequest, handle: Handler, work: UnitOfWork, key: str) -> Response:
        authentication: Authentication = request.scope["portico.authentication"]
        await authentication.resolve()
        principal, body = authentication.principal, await request.body()
        caller = anonymous_caller(request, self._context, body) if principal is None else principal.subject
        ttl = timedelta(seconds=self._context.settings.idempotency_ttl)
        with Claim(request, key, body, caller=caller, in_flight=self._context.keys_in_flight, ttl=ttl) as claim:
            if self._declared.calls_services or self._declared.grouped:
                return await self._claim_last(request, handle, work, claim)
            if (earlier := await claim.earlier_answer(work)) is not None:
                return earlier
            response = await handle(request)
            if response.status_code < _ERRORS:
                await work.flush()  # the stored ETag must be that of the committed row
                await claim.keep(work, _tagged(request, response))
            return response

    async def _claim_last(self, request: BoundedRequest, handle: Handler, work: UnitOfWork, claim: Claim) -> Response:
        reader: Reader = request.scope["portico.reader"]
        if (earlier := await claim.stored_answer(reader)) is not None:
            return earlier
        try:
            response = await handle(request)
            if response.status_code < _ERRORS:
                await self._store_answer(request, response, work, claim)
        except (Problem, IntegrityError):
            # A rule may have rejected it because a concurrent copy of the request has already taken effect.
            if (earlier := await claim.stored_answer(reader)) is not None:
                raise AnsweredConcurrently(earlier) from None
            raise
        return response

    async def _store_answer(self, request: BoundedRequest, response: Response, work: UnitOfWork, claim: Claim) -> None:
        if isinstance(work, GroupedUnitOfWork):
            await work.flush()
            if work.is_grouped:
                await claim.claim_with_answer(work, _tagged(request, response))
                return
        await claim.claim_last(work)
        await work.flush()
        await claim.keep(work, _tagged(request, response))

    async def _check_body(self, request: BoundedRequest) -> None:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == FORM and self._declared.accepts_forms:
            await request.read_form_as_json()
        elif (kind or await request.body()) and not _JSON.fullmatch(kind):
            raise UnsupportedMediaType(expected="application/json")
        await request.read_json()


def _final_problem(request: Request, work: UnitOfWork, error: Exception) -> Problem | None:
    """Return the problem for an error if the endpoint is not run again; None if another attempt may succeed."""
    if isinstance(error, StaleDataError):
        return PreconditionFailed() if "if-match" in request.headers else EditedMeanwhile()
    if is_storage_full(error):
        return StorageFull()
    is_lost = work.committing and not is_retryable_conflict(error) and is_unavailable(error)
    if is_lost or isinstance(error, CommitInDoubt):
        return OutcomeUnknown()
    has_been_repeated = isinstance(work, GroupedUnitOfWork) and work.has_joined
    return DatabaseUnavailable() if has_been_repeated and is_transient(error) else None


def _tagged(request: Request, response: Response) -> Response:
    if response.status_code < _ERRORS:
        set_etag(request, response)
    return response


@lookup
async def _work(request: Request) -> UnitOfWork:
    work: UnitOfWork = request.scope["portico.work"]
    return work


@lookup
async def _reads(connection: HTTPConnection) -> Reader:
    reader: Reader = connection.scope["portico.reader"]
    return reader


Work = Annotated[UnitOfWork, Depends(_work)]
"""The request's unit of work. Its first statement begins the transaction; the boundary commits it if the status is
below 400.
"""

Reads = Annotated[Reader, Depends(_reads)]
"""The request's reader, for queries."""
