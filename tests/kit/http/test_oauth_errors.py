"""Errors of routes for standard OAuth clients (RFC 6749 section 5.2)."""

import pytest
from starlette.requests import Request
from tests.kit.http.conftest import Extended

from portico.kit.foundation.problems import (
    ContentTooLarge,
    InvalidCredentials,
    Problem,
    TooManyRequests,
    Unavailable,
    Unprocessable,
)
from portico.kit.http.boundary import Work
from portico.kit.http.oauth_errors import InvalidClient, OAuthError, oauth_error_response
from portico.kit.http.router import Router


class InvalidGrant(OAuthError):
    code = "invalid_grant"


def router() -> Router:
    router = Router(prefix="/token")

    @router.post("", oauth_errors=True, body_limit=16)
    async def issue(request: Request, work: Work) -> None:
        if await request.body() == b"crash":
            raise RuntimeError("the secret wish")
        raise InvalidGrant(reason='the code «x» is "used"')

    @router.get("", any_query=True)
    async def show() -> None: ...

    @router.post("/revoked", oauth_errors=True)
    async def revoke() -> None: ...

    return router


class TestOAuthErrors:
    @pytest.mark.parametrize(
        ("problem", "status", "code"),
        [
            (InvalidGrant(reason="x"), 400, "invalid_grant"),
            (InvalidClient(reason="x"), 401, "invalid_client"),
            (InvalidCredentials(reason="expired"), 401, "invalid_token"),
            (Unprocessable(), 422, "invalid_request"),
            (ContentTooLarge(limit=1), 413, "invalid_request"),
            (TooManyRequests(retry_after=3), 429, "slow_down"),
            (Unavailable(), 503, "temporarily_unavailable"),
            (Problem(), 500, "server_error"),
        ],
    )
    def test_each_problem_has_a_code_of_the_standard(self, problem: Problem, status: int, code: str) -> None:
        answer = oauth_error_response(problem)

        assert answer.status_code == status
        assert f'"error":"{code}"'.encode() in answer.body
        assert (answer.headers["cache-control"], answer.headers["content-type"]) == ("no-store", "application/json")
        assert ("www-authenticate" in answer.headers) == (status == 401)
        assert ("retry-after" in answer.headers) == (status in {429, 503})

    async def test_a_route_returns_its_errors_so(self, embedded_extended: Extended) -> None:
        async with embedded_extended(router()) as loans:
            refused = await loans.anonymous.post("/token")
            too_large = await loans.anonymous.post("/token", content=b"x" * 17)
            crashed = await loans.anonymous.post("/token", content=b"crash")
            wrong_method = await loans.anonymous.get("/token/revoked")

        assert (refused.status_code, refused.headers["cache-control"]) == (400, "no-store")
        assert refused.json() == {"error": "invalid_grant", "error_description": "the code ?x? is 'used'"}
        assert (too_large.status_code, too_large.json()["error"]) == (413, "invalid_request")
        assert (crashed.status_code, crashed.json()["error"]) == (500, "server_error")
        assert b"secret" not in crashed.content
        assert (wrong_method.status_code, wrong_method.json()["error"]) == (405, "invalid_request")
        assert wrong_method.headers["allow"] == "POST"

    async def test_are_in_the_document(self, embedded_extended: Extended) -> None:
        async with embedded_extended(router()) as loans:
            document = (await loans.anonymous.get("/openapi.json")).json()

        responses = document["paths"]["/token"]["post"]["responses"]
        assert responses["503"]["content"]["application/json"]["schema"] == {
            "$ref": "#/components/schemas/OAuthErrorRead"
        }
        assert set(document["components"]["schemas"]["OAuthErrorRead"]["properties"]) == {"error", "error_description"}

    async def test_a_route_may_ignore_unknown_query_parameters(self, embedded_extended: Extended) -> None:
        async with embedded_extended(router()) as loans:
            assert (await loans.anonymous.get("/token?unknown=1")).status_code == 200
