"""Endpoints of OAuth 2.0."""

from typing import Annotated

from fastapi import Request
from fastapi.responses import JSONResponse

from portico.kit import Context, Reads, RequestClient, Router, Unauthorized, Work, provided
from portico.kit.auth import InvalidToken
from portico.kit.foundation import InvalidCredentials
from portico.kit.http import QUIET, InvalidClient, OAuthError, bearer_token
from portico.services.identity.errors import (
    HashingBusy,
    InvalidGrant,
    InvalidScope,
    SignInLocked,
    UnsupportedGrantType,
)
from portico.services.identity.oauth.client_authentication import OAuthClients
from portico.services.identity.oauth.form import MAX_TOKEN_LENGTH, OAuthForm, form_schema, no_store_response
from portico.services.identity.oauth.grants import OAuthGrants, introspect
from portico.services.identity.oauth.schemas import Introspection, OAuthTokens
from portico.services.identity.tokens.access_tokens import OwnVerifier
from portico.services.identity.tokens.service import revoke_token as revoke

oauth = Router(prefix="/oauth", tags=["oauth"], description="OAuth 2 for standard clients", supplementary=True)

Clients = Annotated[OAuthClients, provided(OAuthClients)]
Verifier = Annotated[OwnVerifier, provided(OwnVerifier)]

_TOKEN_FORM = form_schema(
    "grant_type",
    grant_type=["password", "refresh_token", "client_credentials"],
    username="The email address, for the grant password",
    password="The password, for the grant password",  # noqa: S106  a description
    refresh_token="The refresh token, for the grant refresh_token",  # noqa: S106  a description
    scope="The requested permissions; the response names those that were granted",
    client_id="The client, if it does not use HTTP Basic",
    client_secret="The client's secret",  # noqa: S106  a description
)
_ONE_TOKEN = form_schema("token", token="The token", token_type_hint="access_token or refresh_token")  # noqa: S106  a description


@oauth.post(
    "/token",
    rate="token",
    stores_answer=False,
    oauth_errors=True,
    any_origin=True,
    errors=[OAuthError, InvalidGrant, InvalidScope, UnsupportedGrantType, InvalidClient, SignInLocked, HashingBusy],
    framework={"responses": {200: {"model": OAuthTokens}}, "openapi_extra": _TOKEN_FORM},
)
async def issue_tokens(
    request: Request, context: Context, reads: Reads, work: Work, client: RequestClient
) -> JSONResponse:
    """Issue tokens for a password, a refresh token or a client's own credentials (RFC 6749)."""
    form = await OAuthForm.read(request)
    if form.required("grant_type") == "client_credentials":
        request.scope[QUIET] = True  # each process of the system requests its token when it starts
    return no_store_response(await OAuthGrants(context, client).issue(form, reads, work))


@oauth.post(
    "/introspect",
    stores_answer=False,
    oauth_errors=True,
    errors=[OAuthError, InvalidClient, InvalidCredentials, SignInLocked],
    framework={"responses": {200: {"model": Introspection}}, "openapi_extra": _ONE_TOKEN},
)
async def introspect_token(
    request: Request, context: Context, reads: Reads, clients: Clients, verifier: Verifier, client: RequestClient
) -> JSONResponse:
    """Return the claims of a token (RFC 7662); for services, by HTTP Basic or by a service's own token."""
    form = await OAuthForm.read(request)
    if not await _has_service_token(form, verifier):
        await clients.authenticate(form.credentials, client)
    return no_store_response(await introspect(context, reads, form.required("token", max_length=MAX_TOKEN_LENGTH)))


@oauth.post(
    "/revoke",
    stores_answer=False,
    oauth_errors=True,
    any_origin=True,
    errors=[OAuthError],
    framework={"openapi_extra": _ONE_TOKEN},
)
async def revoke_token(request: Request, work: Work, verifier: Verifier, client: RequestClient) -> JSONResponse:
    """Revoke a token (RFC 7009), or with a refresh token its session. The holder of a token may revoke it."""
    form = await OAuthForm.read(request)
    token = form.required("token", max_length=MAX_TOKEN_LENGTH)
    await revoke(work, token, verifier, client=client)
    return no_store_response()


async def _has_service_token(form: OAuthForm, verifier: OwnVerifier) -> bool:
    try:
        token = bearer_token(form.authorization.encode("latin-1"))
        return (await verifier.verify(token)).kind == "service"
    except Unauthorized:
        return False
    except InvalidToken as error:
        raise InvalidCredentials(reason=error.reason) from error
