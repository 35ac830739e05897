from typing import Annotated

from fastapi import Request
from fastapi.responses import JSONResponse

from portico.kit import Context, Reads, RequestClient, Router, Unauthorized, Work, provided
from portico.kit.auth import InvalidToken
from portico.kit.http import bearer_token
from portico.services.identity.oauth.commands import Grants, TokenRequest, revoke_token
from portico.services.identity.oauth.errors import OAuthRefusal
from portico.services.identity.oauth.queries import introspect
from portico.services.identity.oauth.resources import Clients
from portico.services.identity.oauth.schemas import (
    LONGEST_TOKEN_FIELD,
    NEVER_STORED,
    Introspection,
    OAuthTokens,
    answer,
    client_of,
    form_of,
    read_form,
    refusals,
    refused_properly,
    required,
)
from portico.services.identity.tokens.resources import OwnVerifier

router = Router(prefix="/oauth", tags=["oauth"])

KnownClients = Annotated[Clients, provided(Clients)]
Verifier = Annotated[OwnVerifier, provided(OwnVerifier)]

_TOKEN_FORM = form_of(
    "grant_type",
    grant_type=["password", "refresh_token", "client_credentials"],
    username="The email address, for grant password",
    password="The password, for grant password",  # noqa: S106  words, no secret
    refresh_token="The refresh token, for grant refresh_token",  # noqa: S106  words, no secret
    scope="The permissions that are asked for; the answer names those that were given",
    client_id="The client, where it does not use HTTP Basic",
    client_secret="Its secret",  # noqa: S106  words, no secret
)
_ONE_TOKEN = form_of("token", token="The token", token_type_hint="access_token or refresh_token")  # noqa: S106  words, no secret


@router.post(
    "/token",
    rate="sign_in",
    stores_answer=False,
    framework={
        "responses": {200: {"model": OAuthTokens}, **refusals(400, 401, 429, 503)},
        "openapi_extra": _TOKEN_FORM,
    },
)
@refused_properly
async def give_tokens(
    request: Request, context: Context, reads: Reads, work: Work, device: RequestClient
) -> JSONResponse:
    """Tokens for a password, a refresh token or a client's own credentials (RFC 6749)."""
    fields = await read_form(request)
    return answer(await Grants(context, reads, work).give(TokenRequest(fields, client_of(request, fields), device)))


@router.post(
    "/introspect",
    stores_answer=False,
    framework={
        "responses": {200: {"model": Introspection}, **refusals(400, 401, 429)},
        "openapi_extra": _ONE_TOKEN,
    },
)
@refused_properly
async def introspect_token(
    request: Request, context: Context, reads: Reads, clients: KnownClients, verifier: Verifier, device: RequestClient
) -> JSONResponse:
    """What is known of a token (RFC 7662), for services: by HTTP Basic, or by a service's own token."""
    fields = await read_form(request)
    if not await _bears_service_token(request, verifier):
        await clients.ensure_service(client_of(request, fields), device)
    return answer(await introspect(context, reads, required(fields, "token", longest=LONGEST_TOKEN_FIELD)))


@router.post("/revoke", stores_answer=False, framework={"responses": refusals(400), "openapi_extra": _ONE_TOKEN})
@refused_properly
async def revoke(request: Request, context: Context, work: Work, device: RequestClient) -> JSONResponse:
    """End a token (RFC 7009): with a refresh token its whole session. Who holds it may end it."""
    fields = await read_form(request)
    await revoke_token(context, work, required(fields, "token", longest=LONGEST_TOKEN_FIELD), device)
    return JSONResponse({}, headers=NEVER_STORED)


async def _bears_service_token(request: Request, verifier: OwnVerifier) -> bool:
    try:
        token = bearer_token(request.headers.get("authorization", "").encode("latin-1"))
        return (await verifier.verify(token)).kind == "service"
    except Unauthorized:
        return False
    except InvalidToken as error:
        raise OAuthRefusal("invalid_client", "the service's token is of no use") from error
