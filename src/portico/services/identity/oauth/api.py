"""Endpoints of OAuth 2.0 and OpenID Connect that programs call. Pages for people are in `browser`."""

from typing import Annotated, Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from portico.kit import (
    Conditions,
    Context,
    NotFound,
    Page,
    Principal,
    Reads,
    RequestClient,
    Router,
    Slice,
    Unauthorized,
    Work,
    inject,
    permitted,
)
from portico.kit.auth import ACT_AS_USER, EVERYTHING, InvalidToken
from portico.kit.foundation import InvalidCredentials
from portico.kit.http import QUIET, InvalidClient, OAuthError, bearer_token
from portico.services.identity.errors import (
    ClientNotFound,
    HashingBusy,
    InvalidGrant,
    InvalidScope,
    SignInLocked,
    UnauthorizedClient,
    UnsupportedGrantType,
)
from portico.services.identity.oauth import clients as registry
from portico.services.identity.oauth.client_authentication import OAuthClients
from portico.services.identity.oauth.domain import OIDC_SCOPES
from portico.services.identity.oauth.form import MAX_TOKEN_LENGTH, OAuthForm, form_schema, no_store_response
from portico.services.identity.oauth.grants import GRANT_TYPES, OAuthGrants, introspect
from portico.services.identity.oauth.models import ClientId, OAuthClient
from portico.services.identity.oauth.repository import Clients
from portico.services.identity.oauth.schemas import (
    ClientCreate,
    ClientRead,
    ClientSecretRead,
    ClientUpdate,
    Introspection,
    OAuthTokens,
    RegisteredClientRead,
    UserInfo,
)
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.tokens.access_tokens import OwnVerifier
from portico.services.identity.tokens.service import revoke_token as revoke
from portico.services.identity.users.repository import Users

oauth = Router(prefix="/oauth", tags=["oauth"], description="OAuth 2 for standard clients", supplementary=True)
clients = Router(
    prefix="/oauth/clients",
    tags=["oauth clients"],
    description="Applications that users sign in to",
    supplementary=True,
)
discovery = Router(tags=["discovery"], prefixed=False)

ClientReader = Annotated[Principal, permitted("clients:read")]
ClientEditor = Annotated[Principal, permitted("clients:write")]
OpenIdClient = Annotated[Principal, permitted("openid")]

ClientAuthentication = Annotated[OAuthClients, inject(OAuthClients)]
Verifier = Annotated[OwnVerifier, inject(OwnVerifier)]

_TOKEN_FORM = form_schema(
    "grant_type",
    grant_type=[*GRANT_TYPES],
    code="The authorization code",
    redirect_uri="The redirect address of the authorization request",
    code_verifier="The PKCE verifier of the authorization request",
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
    stores_response=False,
    oauth_errors=True,
    any_origin=True,
    errors=[
        OAuthError,
        InvalidGrant,
        InvalidScope,
        UnauthorizedClient,
        UnsupportedGrantType,
        InvalidClient,
        SignInLocked,
        HashingBusy,
    ],
    framework={"responses": {200: {"model": OAuthTokens}}, "openapi_extra": _TOKEN_FORM},
)
async def issue_tokens(
    request: Request, context: Context, reads: Reads, work: Work, client: RequestClient
) -> JSONResponse:
    """Issue tokens for an authorization code, a refresh token, a service's own credentials or a password (RFC 6749)."""
    form = await OAuthForm.read(request)
    if form.required("grant_type") == "client_credentials":
        request.scope[QUIET] = True  # each process of the system requests its token when it starts
    return no_store_response(await OAuthGrants(context, client).issue(form, reads, work))


@oauth.post(
    "/introspect",
    stores_response=False,
    oauth_errors=True,
    errors=[OAuthError, InvalidClient, InvalidCredentials, SignInLocked],
    framework={"responses": {200: {"model": Introspection}}, "openapi_extra": _ONE_TOKEN},
)
async def introspect_token(
    request: Request,
    context: Context,
    reads: Reads,
    clients: ClientAuthentication,
    verifier: Verifier,
    client: RequestClient,
) -> JSONResponse:
    """Return the claims of a token (RFC 7662); for services, by HTTP Basic or by a service's own token."""
    form = await OAuthForm.read(request)
    if not await _has_service_token(form, verifier):
        await clients.authenticate(form.credentials, client)
    return no_store_response(await introspect(context, reads, form.required("token", max_length=MAX_TOKEN_LENGTH)))


@oauth.post(
    "/revoke",
    stores_response=False,
    oauth_errors=True,
    any_origin=True,
    errors=[OAuthError, InvalidClient, SignInLocked],
    framework={"openapi_extra": _ONE_TOKEN},
)
async def revoke_token(
    request: Request, work: Work, clients: ClientAuthentication, verifier: Verifier, client: RequestClient
) -> JSONResponse:
    """Revoke a token (RFC 7009), or with a refresh token its session. The holder of a token may revoke it."""
    form = await OAuthForm.read(request)
    await clients.identify(form, client)
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


@oauth.get("/userinfo", any_origin=True, framework={"responses": {200: {"model": UserInfo}}})
async def read_user_info(caller: OpenIdClient, reads: Reads) -> JSONResponse:
    """Return claims about the user to a client with the scope `openid` (OpenID Connect Core 1.0 section 5.3)."""
    return no_store_response(UserInfo.of(await Users(reads).get(caller.user_id), caller.permissions))


@oauth.post("/userinfo", stores_response=False, any_origin=True, framework={"responses": {200: {"model": UserInfo}}})
async def post_user_info(caller: OpenIdClient, reads: Reads) -> JSONResponse:
    """Return the same as a GET."""
    return await read_user_info(caller, reads)


@clients.get("", response_model=list[ClientRead])
async def list_clients(_caller: ClientReader, reads: Reads, page: Page) -> Slice[OAuthClient]:
    """List the registered clients, newest first."""
    return await Clients(reads).page_active(page)


@clients.post("", status_code=201, stores_response=False)
async def register_client(
    body: ClientCreate, caller: ClientEditor, work: Work, client: RequestClient, response: Response
) -> RegisteredClientRead:
    """Register a client. The response has the secret of a confidential client, which cannot be read again."""
    response.headers["cache-control"] = "no-store"
    values = body.model_dump(exclude={"confidential"})
    registered, secret = await registry.register_client(
        work, values, confidential=body.confidential, actor=caller.subject, client_info=client
    )
    return RegisteredClientRead.with_secret(registered, secret)


@clients.get("/{client_id}", response_model=ClientRead, errors=[ClientNotFound])
async def read_client(client_id: ClientId, _caller: ClientReader, reads: Reads, _conditions: Conditions) -> OAuthClient:
    """Return a registered client."""
    return await Clients(reads).get_active(client_id)


@clients.patch("/{client_id}", response_model=ClientRead, errors=[ClientNotFound])
async def change_client(
    client_id: ClientId,
    body: ClientUpdate,
    caller: ClientEditor,
    work: Work,
    conditions: Conditions,
    client: RequestClient,
) -> OAuthClient:
    """Change a client's name, addresses or scope. Sessions keep the scope that their users allowed."""
    found = await Clients(work).get_active(client_id, lock=True)
    conditions.require(found)
    registry.change_client(work, found, body.given(), actor=caller.subject, client_info=client)
    return found


@clients.post("/{client_id}/secret", stores_response=False, errors=[ClientNotFound])
async def renew_client_secret(
    client_id: ClientId, caller: ClientEditor, work: Work, client: RequestClient, response: Response
) -> ClientSecretRead:
    """Replace the secret of a confidential client. The former secret is no longer accepted."""
    response.headers["cache-control"] = "no-store"
    found = await Clients(work).get_active(client_id, lock=True)
    secret = registry.renew_client_secret(work, found, actor=caller.subject, client_info=client)
    return ClientSecretRead(client_secret=secret)


@clients.delete("/{client_id}", status_code=204, errors=[ClientNotFound])
async def delete_client(client_id: ClientId, caller: ClientEditor, work: Work, client: RequestClient) -> None:
    """Delete a client. Its sessions end."""
    await registry.delete_client(work, client_id, actor=caller.subject, client_info=client)


@discovery.get("/.well-known/oauth-authorization-server", any_origin=True)
async def read_metadata(context: Context) -> dict[str, Any]:
    """Return identity's endpoints and capabilities for standard clients (RFC 8414)."""
    return _metadata(context)


@discovery.get("/.well-known/openid-configuration", any_origin=True, errors=[NotFound])
async def read_openid_configuration(context: Context) -> dict[str, Any]:
    """Return the same for clients of OpenID Connect (Discovery 1.0). There is none with a shared secret (HS256)."""
    if not context.settings_of(IdentitySettings).has_openid:
        raise NotFound
    return _metadata(context)


def _metadata(context: Context) -> dict[str, Any]:
    settings = context.settings_of(IdentitySettings)
    issuer = settings.issuer_of(context.system)
    paths = f"{issuer}{context.system.prefix}/oauth"
    permissions = {each for granted in context.system.roles.values() for each in granted} - {EVERYTHING}
    document = {
        "issuer": issuer,
        "authorization_endpoint": f"{paths}/authorize",
        "token_endpoint": f"{paths}/token",
        "introspection_endpoint": f"{paths}/introspect",
        "revocation_endpoint": f"{paths}/revoke",
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "scopes_supported": [ACT_AS_USER, "offline_access", *sorted(permissions)],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": [*GRANT_TYPES],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "revocation_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
    }
    if settings.has_openid:
        document |= {
            "scopes_supported": [ACT_AS_USER, *OIDC_SCOPES, *sorted(permissions)],
            "userinfo_endpoint": f"{paths}/userinfo",
            "end_session_endpoint": f"{paths}/logout",
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [settings.jwt_algorithm],
            "claims_supported": [
                "sub",
                "auth_time",
                "sid",
                "name",
                "given_name",
                "family_name",
                "email",
                "email_verified",
            ],
            "prompt_values_supported": ["none", "login", "consent", "select_account"],
            "claims_parameter_supported": False,
            "request_parameter_supported": False,
            "request_uri_parameter_supported": False,
        }
    return document
