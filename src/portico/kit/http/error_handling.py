"""Mapping of exceptions to problem responses."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, TypeGuard, get_type_hints

from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response

from portico.kit.calls.errors import CallFailed, Refused
from portico.kit.calls.problems import problem_of
from portico.kit.data.failures import is_duplicate, is_retryable_conflict, is_storage_full, is_unavailable
from portico.kit.foundation.ids import MAX_LENGTH, IntegerIdentifier
from portico.kit.foundation.problems import BadRequest, Conflict, NotFound, Problem, Unavailable, Unprocessable
from portico.kit.http.oauth_errors import oauth_error_response
from portico.kit.http.problems import field_errors, problem_response
from portico.kit.http.schema import Case
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

_CLIENT_CLOSED_REQUEST = 499  # recorded in the log and the metrics only


class OutcomeUnknown(Unavailable):
    detail = (
        "The connection was lost while the change was being committed. "
        "Check whether it was made, or repeat the request with the same Idempotency-Key."
    )


class StorageFull(Unavailable):
    """The database had no space for the change (SQLite SQLITE_FULL, PostgreSQL 53100, MariaDB 1021 and 1114)."""

    detail = "The database has no space left, so nothing was stored. Retry in {retry_after:.0f} seconds."

    retry_after: float = 30.0


class DatabaseUnavailable(Unavailable):
    detail = "The database is temporarily unavailable. Retry in {retry_after:.0f} seconds."


class EditedMeanwhile(Conflict):
    detail = "Another request changed this resource at the same time. Read it again and repeat the change."


class AlreadyThere(Conflict):
    detail = "A resource with this value already exists."


class ErrorResponder:
    """Builds the problem responses of one service, in the system's case.

    Args:
        name: name of the service.
        case: case of the system's JSON.
        declared: the problems that the route declares.
    """

    def __init__(self, name: str, case: Case, declared: Sequence[type[Problem]] = ()) -> None:
        self._name = name
        self._case = case
        self._declared = declared

    def answer(self, request: Request, problem: Problem, errors: list[dict[str, Any]] | None = None) -> Response:
        """Return the response for `problem`, with the field errors in `errors`."""
        return problem_response(
            problem,
            instance=request.url.path,
            request_id=request.scope["portico.request_id"],
            case=self._case,
            errors=errors,
        )

    def response_for(self, request: Request, error: Exception) -> Response:
        """Return the response for a request that ended with `error`."""
        if isinstance(error, ClientDisconnect):
            return Response(status_code=_CLIENT_CLOSED_REQUEST)
        return self.answer(request, *self.problem_of(request, error))

    def problem_of(self, connection: HTTPConnection, error: Exception) -> tuple[Problem, list[dict[str, Any]] | None]:
        """Return the problem for `error`, and the field errors if it has any."""
        if isinstance(error, RequestValidationError):
            for fault in error.errors():
                if fault["loc"][0] == "path":
                    return self._missing(fault["loc"][1], connection.path_params), None
            sent = {"body": error.body, "query": dict(connection.query_params)}
            return Unprocessable(), field_errors(error.errors(), sent, self._case)
        return self._problem(connection, error), None

    def _missing(self, name: str, path: Mapping[str, str]) -> NotFound:
        """Return the problem for a malformed identifier in the path: the same as for an unknown one."""
        text = path[name] if len(path[name]) <= MAX_LENGTH else f"{path[name][:MAX_LENGTH]}…"
        own = self._not_found.get((name,))
        return NotFound() if own is None else own(**{name: text})

    @cached_property
    def _not_found(self) -> dict[tuple[str, ...], type[NotFound]]:
        return {each.field_names(): each for each in reversed(self._declared) if _names_an_identifier(each)}

    def _problem(self, request: HTTPConnection, error: Exception) -> Problem:
        if isinstance(error, Problem):
            if isinstance(error, Unavailable) and error.__cause__ is not None:
                self._warn(request, error.__cause__)
            return error
        if isinstance(error, CallFailed | Refused):
            return problem_of(error)
        if isinstance(error, HTTPException):
            return BadRequest(reason="the body could not be read")
        if isinstance(error, IntegrityError) and is_duplicate(error):
            return AlreadyThere()
        if is_unavailable(error) or is_retryable_conflict(error):
            self._warn(request, error)
            return _unavailable(error)
        request_id = request.scope["portico.request_id"]
        logger.error("endpoint_failed", service=self._name, request_id=request_id, exc_info=error)
        return Problem()

    def _warn(self, request: HTTPConnection, error: BaseException) -> None:
        request_id = request.scope["portico.request_id"]
        logger.warning("unavailable", service=self._name, request_id=request_id, error=type(error).__name__)


class OAuthErrorResponder(ErrorResponder):
    """Builds OAuth error responses (RFC 6749 section 5.2) instead of problem documents."""

    def answer(
        self,
        request: Request,  # noqa: ARG002  an OAuth error names no request
        problem: Problem,
        errors: list[dict[str, Any]] | None = None,  # noqa: ARG002  and no fields
    ) -> Response:
        """Return the error response for `problem`."""
        return oauth_error_response(problem)


def _unavailable(error: Exception) -> Problem:
    if is_storage_full(error):
        return StorageFull()
    return DatabaseUnavailable() if isinstance(error, SQLAlchemyError) else Unavailable()


def _names_an_identifier(kind: type[Problem]) -> TypeGuard[type[NotFound]]:
    """Return whether `kind` is the problem for a missing resource and has the identifier as its only field."""
    hints = get_type_hints(kind)
    kinds = [hints[name] for name in kind.field_names()]
    return (
        issubclass(kind, NotFound)
        and len(kinds) == 1
        and isinstance(kinds[0], type)
        and issubclass(kinds[0], str | IntegerIdentifier)
    )
