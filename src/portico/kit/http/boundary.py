"""The boundary: the route class in which a request's transaction begins, commits and is tried again.

FastAPI has built the answer when its handler returns, and sends it after us: the commit lies between. A `yield`
dependency would commit answers of 409 too, and costs 180 µs where it is not used.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from sqlalchemy.orm.exc import StaleDataError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from portico.kit.calls.errors import CallFailed, Refused
from portico.kit.calls.problems import problem_of
from portico.kit.data.failures import is_unavailable, lost_a_race
from portico.kit.data.work import Reader, UnitOfWork
from portico.kit.http.authentication import Authentication
from portico.kit.http.conditional import Conditional, is_known
from portico.kit.http.idempotency import Claim
from portico.kit.http.kept import kept_answer
from portico.kit.http.problems import field_errors, problem_response
from portico.kit.http.request import FORM, BoundedRequest
from portico.kit.http.router import Route
from portico.kit.problems import (
    BadRequest,
    Conflict,
    GatewayTimeout,
    PreconditionFailed,
    Problem,
    Unavailable,
    Unprocessable,
    UnsupportedMediaType,
)
from portico.kit.telemetry.logs import get_logger

if TYPE_CHECKING:
    from portico.kit.running import Running

logger = get_logger(__name__)

_TRIES = 3
_REFUSALS = 400
_NOT_MODIFIED = 304


class OutcomeUnknown(Unavailable):
    code = "outcome_unknown"
    detail = "The connection was lost while the change was being committed. Look whether it happened, or repeat it with the same Idempotency-Key."


class DatabaseUnavailable(Unavailable):
    code = "database_unavailable"
    detail = "The database can't be reached right now. Come again in {retry_after:.0f} s."


class EditedMeanwhile(Conflict):
    code = "edited_meanwhile"
    detail = "Somebody else changed this at the same moment. Read it again and repeat the change."


class BoundaryRoute(APIRoute):
    """A FastAPI route between whose handler and whose answer the commit lies."""

    def __init__(self, declared: Route, running: "Running", path: str, **options: Any) -> None:
        self._declared = declared
        self._running = running
        self._queries: frozenset[str] = frozenset()
        self._kept = declared.kept
        super().__init__(path, declared.endpoint, methods=[declared.method], **options)
        self._takes_json = self.body_field is not None and not self._is_form()

    def allow_queries(self, names: frozenset[str]) -> None:
        """State the query parameters there are; others are refused, since a filter misspelt does not filter."""
        self._queries = names

    def _is_form(self) -> bool:
        return type(getattr(self.body_field, "field_info", None)).__name__ in {"Form", "File"}

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        limit = self._declared.body_limit or self._running.settings.body_limit

        async def answer(request: Request) -> Response:
            bounded = BoundedRequest(request.scope, request.receive, request._send, limit=limit)  # noqa: SLF001  no public way
            try:
                return await self._answer(bounded, handle)
            except Problem as problem:
                return self._refusal(request, problem)
            except RequestValidationError as error:
                return self._invalid(request, error)
            except (CallFailed, Refused) as error:
                return self._refusal(request, problem_of(error))
            except HTTPException:
                return self._refusal(request, BadRequest(reason="the body could not be read"))
            except Exception:
                logger.exception(
                    "endpoint failed", service=self._running.name, request_id=request.scope["portico.request_id"]
                )
                return self._refusal(request, Problem())

        return answer

    async def _answer(
        self, request: BoundedRequest, handle: Callable[[Request], Coroutine[Any, Any, Response]]
    ) -> Response:
        authentication: Authentication = request.scope["portico.authentication"]
        if self._declared.access.kind != "public":
            await authentication.admit(self._declared.access)
        if self._kept is None:
            response = await self._checked(request, handle)
        else:
            group = self._running.kept(self._kept)
            response = await kept_answer(group, request, lambda: self._checked(request, handle), self._kept.seconds)
        if self._declared.method == "GET" and is_known(request.headers.get("if-none-match"), response):
            return Response(status_code=_NOT_MODIFIED, headers={"etag": response.headers["etag"]})
        return response

    async def _checked(
        self, request: BoundedRequest, handle: Callable[[Request], Coroutine[Any, Any, Response]]
    ) -> Response:
        if request.scope["query_string"]:
            self._check_queries(request)
        if self._takes_json:
            await self._check_body(request)
        return await self._try_again(request, handle)

    async def _try_again(
        self, request: BoundedRequest, handle: Callable[[Request], Coroutine[Any, Any, Response]]
    ) -> Response:
        """Run it, and again where it lost a race or found its connection dead before anything was committed."""
        for attempt in range(1, _TRIES + 1):
            work = self._running.unit_of_work()
            try:
                return await self._once(request, handle, work)
            except Problem:
                raise
            except StaleDataError as error:
                raise (PreconditionFailed if "if-match" in request.headers else EditedMeanwhile) from error
            except Exception as error:
                if not (is_unavailable(error) or lost_a_race(error)):
                    raise
                if work.committing and not lost_a_race(error):
                    raise OutcomeUnknown from error
                if attempt == _TRIES:
                    raise DatabaseUnavailable from error
            await asyncio.sleep(random.random() * 0.02 * attempt)  # noqa: S311  so that two who collided do not again
        raise DatabaseUnavailable

    async def _once(
        self, request: BoundedRequest, handle: Callable[[Request], Coroutine[Any, Any, Response]], work: UnitOfWork
    ) -> Response:
        scope = request.scope
        key = request.headers.get("idempotency-key") if self._keeps_answers else None
        async with work, Reader(self._running.database, self._running.clock) as reader:
            scope["portico.work"], scope["portico.reader"] = work, reader
            limit = asyncio.timeout_at(scope["portico.deadline"])
            try:
                async with limit:
                    response = await (handle(request) if key is None else self._with_key(request, handle, work, key))
            except TimeoutError as error:
                if limit.expired():
                    raise GatewayTimeout from error
                raise
            if response.status_code < _REFUSALS:
                await work.commit()
        return _tagged(scope.get("portico.conditional"), response)

    @property
    def _keeps_answers(self) -> bool:
        return self._declared.method == "POST" and self._declared.stores_answer

    async def _with_key(
        self,
        request: BoundedRequest,
        handle: Callable[[Request], Coroutine[Any, Any, Response]],
        work: UnitOfWork,
        key: str,
    ) -> Response:
        authentication: Authentication = request.scope["portico.authentication"]
        await authentication.resolve()
        caller = authentication.principal.subject if authentication.principal else "-"
        ttl = timedelta(seconds=self._running.settings.idempotency_ttl)
        with Claim(request, key, caller=caller, in_flight=self._running.keys_in_flight, ttl=ttl) as claim:
            if (earlier := await claim.earlier_answer(work)) is not None:
                return earlier
            response = await handle(request)
            if response.status_code < _REFUSALS:
                await claim.keep(work, response)
            return response

    def _check_queries(self, request: Request) -> None:
        query = request.scope["query_string"]
        if b"%00" in query or b"\0" in query:
            raise BadRequest(reason="the query must not hold the character U+0000")
        for name in request.query_params:
            if name not in self._queries:
                raise RequestValidationError(
                    [{"loc": ("query", name), "msg": "There is no such query parameter", "type": "extra_forbidden"}]
                )

    async def _check_body(self, request: BoundedRequest) -> None:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == FORM and self._declared.accepts_forms:
            await request.read_form_as_json()
        elif (kind or await request.body()) and kind != "application/json" and not kind.endswith("+json"):
            raise UnsupportedMediaType(expected="application/json")
        await request.read_json()

    def _refusal(self, request: Request, problem: Problem, errors: list[dict[str, Any]] | None = None) -> Response:
        return problem_response(
            problem,
            instance=request.url.path,
            request_id=request.scope["portico.request_id"],
            case=self._running.case,
            errors=errors,
        )

    def _invalid(self, request: Request, error: RequestValidationError) -> Response:
        sent = {"body": error.body, "query": dict(request.query_params), "path": request.path_params}
        return self._refusal(request, Unprocessable(), field_errors(error.errors(), sent, self._running.case))


def _tagged(conditional: Conditional | None, response: Response) -> Response:
    if conditional is not None and conditional.etag is not None and response.status_code < _REFUSALS:
        response.headers["etag"] = conditional.etag
    return response


async def _work(request: Request) -> UnitOfWork:
    work: UnitOfWork = request.scope["portico.work"]
    return work


async def _reads(request: Request) -> Reader:
    reader: Reader = request.scope["portico.reader"]
    return reader


Work = Annotated[UnitOfWork, Depends(_work)]
"""The request's unit of work: begun by its first statement, committed by the boundary where the answer is below 400."""

Reads = Annotated[Reader, Depends(_reads)]
"""What queries read with."""
