from typing import Annotated

from fastapi import Header, Request, Response
from fastapi.responses import JSONResponse

from portico.contracts.identity import SessionId
from portico.kit import Context, FromService, Reads, RequestClient, Router, SignedIn, Unauthorized, Work, provided
from portico.kit.auth import InvalidToken
from portico.kit.http import bearer_token
from portico.services.identity.errors import (
    HashingBusy,
    OAuthError,
    PasswordTooLong,
    RefreshRefused,
    SignInLocked,
    SignInRefused,
    TicketNotFound,
    WrongPassword,
)
from portico.services.identity.tokens import service
from portico.services.identity.tokens.access_tokens import OwnVerifier, TokenIssuer
from portico.services.identity.tokens.domain import TICKET_LIFETIME
from portico.services.identity.tokens.oauth_clients import OAuthClients
from portico.services.identity.tokens.oauth_form import (
    MAX_TOKEN_LENGTH,
    OAuthForm,
    error_responses,
    form_schema,
    handle_oauth_errors,
    no_store_response,
)
from portico.services.identity.tokens.oauth_grants import OAuthGrants, introspect, refresh
from portico.services.identity.tokens.schemas import (
    Introspection,
    InvalidTokenRead,
    OAuthTokens,
    PasswordChange,
    RedeemedRead,
    Refresh,
    SignedInRead,
    SignIn,
    TicketRead,
    TicketToRedeem,
    TokensRead,
    TokenToValidate,
    ValidTokenRead,
)
from portico.services.identity.tokens.sign_ins import SignInAttempt, SignIns
from portico.services.identity.users.passwords import PasswordHasher
from portico.services.identity.users.repository import Users
from portico.services.identity.users.service import change_password

accounts = Router(tags=["accounts"])
sign_ins = Router(tags=["sessions"])
tokens = Router(tags=["tokens"])
tickets = Router(prefix="/auth/tickets", tags=["tickets"])
oauth = Router(prefix="/oauth", tags=["oauth"])

SignInService = Annotated[SignIns, provided(SignIns)]
Hasher = Annotated[PasswordHasher, provided(PasswordHasher)]
Issuer = Annotated[TokenIssuer, provided(TokenIssuer)]
Verifier = Annotated[OwnVerifier, provided(OwnVerifier)]
Clients = Annotated[OAuthClients, provided(OAuthClients)]

_SIGN_IN_ERRORS = (SignInRefused, SignInLocked, HashingBusy)
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


@accounts.post(
    "/auth/me/password",
    status_code=204,
    rate="sign_in",
    stores_answer=False,
    errors=[WrongPassword, PasswordTooLong, SignInLocked, HashingBusy],
)
async def change_own_password(
    body: PasswordChange,
    caller: SignedIn,
    signing_in: SignInService,
    hasher: Hasher,
    reads: Reads,
    work: Work,
    client: RequestClient,
) -> None:
    """Change the caller's password. The caller's other sessions end."""
    user = await Users(reads).get_undeleted(caller.user_id)
    attempt = SignInAttempt(user.email or "", body.current_password, client)
    try:
        verified_hash = await signing_in.check_password(reads, user, attempt)
    except SignInRefused as refused:
        raise WrongPassword from refused
    password_hash = await hasher.hash(body.new_password)
    keep = SessionId(caller.session_id or "")
    await change_password(work, user.user_id, password_hash, verified_hash=verified_hash, keep=keep, client=client)


@sign_ins.post("/login", rate="sign_in", stores_answer=False, accepts_forms=True, errors=_SIGN_IN_ERRORS)
@sign_ins.post("/auth/login", rate="sign_in", stores_answer=False, accepts_forms=True, errors=_SIGN_IN_ERRORS)
async def sign_in(
    body: SignIn, signing_in: SignInService, reads: Reads, work: Work, client: RequestClient, response: Response
) -> SignedInRead:
    """Open a session with an email address and a password, sent as JSON or as a form."""
    response.headers["cache-control"] = "no-store"
    grant = await signing_in.sign_in(reads, work, SignInAttempt(body.account, body.password, client))
    return SignedInRead.from_grant(grant)


@sign_ins.post("/auth/refresh", stores_answer=False, errors=[RefreshRefused])
async def refresh_tokens(body: Refresh, context: Context, client: RequestClient, response: Response) -> TokensRead:
    """Return a new pair of tokens. A refresh token works once; a second use after the leeway ends the session."""
    response.headers["cache-control"] = "no-store"
    grant = await refresh(context, body.refresh_token, client)
    if grant is None:
        raise RefreshRefused
    return TokensRead.from_grant(grant)


@tokens.post("/validate-token", stores_answer=False)
async def validate_token(
    verifier: Verifier,
    body: TokenToValidate | None = None,
    authorization: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> ValidTokenRead | InvalidTokenRead:
    """Check an access token: the one in the body, or else the one in the Authorization header."""
    try:
        token = body.token if body is not None else bearer_token((authorization or "").encode("latin-1", "replace"))
        valid = await verifier.validate(token)
    except InvalidToken as error:
        return InvalidTokenRead(reason=error.reason)
    except Unauthorized:
        return InvalidTokenRead(reason="malformed")
    return ValidTokenRead(
        user_id=valid.claims.subject,
        email=valid.email,
        roles=list(valid.claims.roles),
        permissions=list(valid.claims.scope),
        expires_at=valid.claims.expires_at,
    )


@tickets.post("", status_code=201, stores_answer=False)
async def create_ticket(caller: SignedIn, work: Work, response: Response) -> TicketRead:
    """Return a ticket to pass as `?ticket=` where a header cannot be set. It works once, within 30 seconds."""
    response.headers["cache-control"] = "no-store"
    return TicketRead(ticket=service.issue_ticket(work, caller), expires_in=int(TICKET_LIFETIME.total_seconds()))


@tickets.post("/redeem", stores_answer=False, errors=[TicketNotFound])
async def redeem_ticket(body: TicketToRedeem, _caller: FromService, work: Work, issuer: Issuer) -> RedeemedRead:
    """Exchange a ticket for an access token, once; for services."""
    access = await service.redeem_ticket(work, body.ticket, issuer)
    return RedeemedRead(access_token=access.text, expires_in=access.expires_in)


@oauth.post(
    "/token",
    rate="sign_in",
    stores_answer=False,
    framework={
        "responses": {200: {"model": OAuthTokens}, **error_responses(400, 401, 429, 503)},
        "openapi_extra": _TOKEN_FORM,
    },
)
@handle_oauth_errors
async def issue_tokens(
    request: Request, context: Context, reads: Reads, work: Work, client: RequestClient
) -> JSONResponse:
    """Issue tokens for a password, a refresh token or a client's own credentials (RFC 6749)."""
    form = await OAuthForm.read(request)
    return no_store_response(await OAuthGrants(context, client).issue(form, reads, work))


@oauth.post(
    "/introspect",
    stores_answer=False,
    framework={
        "responses": {200: {"model": Introspection}, **error_responses(400, 401, 429)},
        "openapi_extra": _ONE_TOKEN,
    },
)
@handle_oauth_errors
async def introspect_token(
    request: Request, context: Context, reads: Reads, clients: Clients, verifier: Verifier, client: RequestClient
) -> JSONResponse:
    """Return the claims of a token (RFC 7662); for services, by HTTP Basic or by a service's own token."""
    form = await OAuthForm.read(request)
    if not await _has_service_token(form, verifier):
        await clients.authenticate(form.credentials, client)
    return no_store_response(await introspect(context, reads, form.required("token", max_length=MAX_TOKEN_LENGTH)))


@oauth.post("/revoke", stores_answer=False, framework={"responses": error_responses(400), "openapi_extra": _ONE_TOKEN})
@handle_oauth_errors
async def revoke_token(request: Request, work: Work, verifier: Verifier, client: RequestClient) -> JSONResponse:
    """Revoke a token (RFC 7009), or with a refresh token its session. The holder of a token may revoke it."""
    form = await OAuthForm.read(request)
    token = form.required("token", max_length=MAX_TOKEN_LENGTH)
    await service.revoke_token(work, token, verifier, client=client)
    return no_store_response()


async def _has_service_token(form: OAuthForm, verifier: OwnVerifier) -> bool:
    try:
        token = bearer_token(form.authorization.encode("latin-1"))
        return (await verifier.verify(token)).kind == "service"
    except Unauthorized:
        return False
    except InvalidToken as error:
        raise OAuthError("invalid_client", "the service's token is not valid") from error
