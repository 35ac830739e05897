"""Error responses of OAuth endpoints (RFC 6749 section 5.2), for routes declared with `oauth_errors`."""

from typing import Final

import orjson
from pydantic import BaseModel
from starlette.responses import Response

from portico.kit.foundation.problems import InvalidCredentials, Problem

OAUTH_MEDIA_TYPE: Final = "application/json"
_NO_STORE: Final = {"cache-control": "no-store", "pragma": "no-cache"}  # RFC 6749 section 5.1
_BY_STATUS: Final = {
    401: "invalid_client",
    403: "unauthorized_client",
    429: "slow_down",
    500: "server_error",
    502: "temporarily_unavailable",
    503: "temporarily_unavailable",
    504: "temporarily_unavailable",
}


class OAuthError(Problem):
    """Error whose `code` is an OAuth error code. The reason is a sentence for the client's developer."""

    status = 400
    code = "invalid_request"
    detail = "{reason}"

    reason: str


class InvalidClient(OAuthError):
    """Client authentication failed. The status 401 requires a challenge (RFC 9110 section 15.5.2)."""

    status = 401
    code = "invalid_client"

    @property
    def headers(self) -> dict[str, str]:
        return {"www-authenticate": 'Basic realm="portico"'}


class OAuthErrorRead(BaseModel):
    """An error response (RFC 6749 section 5.2)."""

    error: str
    error_description: str


def oauth_error_code(problem: Problem | type[Problem]) -> str:
    """Return the OAuth error code of any problem."""
    kind = problem if isinstance(problem, type) else type(problem)
    if issubclass(kind, OAuthError | InvalidCredentials):
        return kind.code
    return _BY_STATUS.get(problem.status, "invalid_request")


def oauth_error_bytes(problem: Problem) -> bytes:
    """Return the error response's JSON. The description has only the characters that RFC 6749 section 5.2 allows."""
    return orjson.dumps({"error": oauth_error_code(problem), "error_description": plain_description(problem)})


def oauth_error_headers(problem: Problem) -> dict[str, str]:
    """Return the error response's headers besides the media type."""
    return {**_NO_STORE, **problem.headers}


def oauth_error_response(problem: Problem) -> Response:
    """Return the problem as the error response that standard OAuth clients understand."""
    return Response(
        oauth_error_bytes(problem),
        problem.status,
        headers=oauth_error_headers(problem),
        media_type=OAUTH_MEDIA_TYPE,
    )


def plain_description(problem: Problem) -> str:
    """Return the problem's sentence in printable ASCII without quotation marks and backslashes."""
    sentence = problem.sentence().replace('"', "'").replace("\\", "/")
    return "".join(letter if " " <= letter <= "~" else "?" for letter in sentence)
