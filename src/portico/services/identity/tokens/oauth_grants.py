"""OAuth grants (RFC 6749) and token introspection (RFC 7662), on top of sign-in and refresh."""

from portico.kit import ClientInfo, Reader, ServiceContext, UnitOfWork
from portico.kit.auth import InvalidToken
from portico.services.identity.errors import HashingBusy, OAuthError, SignInLocked, SignInRefused
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.tokens.access_tokens import OwnVerifier, TokenIssuer
from portico.services.identity.tokens.domain import AccessToken, digest_of
from portico.services.identity.tokens.oauth_clients import OAuthClients
from portico.services.identity.tokens.oauth_form import OAuthForm
from portico.services.identity.tokens.repository import find_refresh_token
from portico.services.identity.tokens.schemas import Introspection, OAuthTokens
from portico.services.identity.tokens.service import Grant, refresh_session
from portico.services.identity.tokens.sign_ins import SignInAttempt, SignIns


class OAuthGrants:
    """Issue tokens for a password, a refresh token or a client's own credentials."""

    def __init__(self, context: ServiceContext, client: ClientInfo) -> None:
        self._context = context
        self._client = client

    async def issue(self, form: OAuthForm, reads: Reader, work: UnitOfWork) -> OAuthTokens:
        """Return the tokens for the grant that the form names. Raises OAuthError."""
        grant_type = form.required("grant_type")
        if grant_type == "password":
            return _session_tokens(await self._sign_in(form, reads, work), form)
        if grant_type == "refresh_token":
            return _session_tokens(await self._refresh(form), form)
        if grant_type == "client_credentials":
            return await self._service_token(form)
        raise OAuthError("unsupported_grant_type", "use password, refresh_token or client_credentials")

    async def _sign_in(self, form: OAuthForm, reads: Reader, work: UnitOfWork) -> Grant:
        attempt = SignInAttempt(form.required("username"), form.required("password"), self._client)
        try:
            return await self._context.resource(SignIns).sign_in(reads, work, attempt)
        except SignInRefused as refused:
            raise OAuthError("invalid_grant", refused.sentence()) from refused
        except SignInLocked as locked:
            raise OAuthError("slow_down", locked.sentence(), retry_after=locked.retry_after) from locked
        except HashingBusy as busy:
            raise OAuthError("temporarily_unavailable", busy.sentence(), retry_after=busy.retry_after) from busy

    async def _refresh(self, form: OAuthForm) -> Grant:
        token = form.required("refresh_token")
        grant = await refresh(self._context, token, self._client)
        if grant is None:
            raise OAuthError("invalid_grant", "the refresh token is not valid")
        return grant

    async def _service_token(self, form: OAuthForm) -> OAuthTokens:
        name = await self._context.resource(OAuthClients).authenticate(form.credentials, self._client)
        if form.scope:
            raise OAuthError("invalid_scope", "a service's own token has no scope")
        return _tokens(await self._context.resource(TokenIssuer).issue_for_service(name), None)


async def refresh(context: ServiceContext, refresh_token: str, client: ClientInfo) -> Grant | None:
    """Refresh a session in a transaction of its own. Return None if the refresh token is not valid.

    It is committed although the response is an error: the session of a stolen token stays ended.
    """
    async with context.transaction() as work:
        return await refresh_session(
            work, refresh_token, context.resource(TokenIssuer), context.settings_of(IdentitySettings), client=client
        )


async def introspect(context: ServiceContext, reads: Reader, token: str) -> Introspection:
    """Return the claims of an access or refresh token, or only that it is inactive."""
    try:
        valid = await context.resource(OwnVerifier).validate(token)
    except InvalidToken:
        return await _introspect_refresh_token(context, reads, token)
    claims = valid.claims
    return Introspection(
        active=True,
        scope=" ".join(claims.scope),
        client_id=context.system.name if claims.session_id else claims.subject.partition(":")[2],
        username=valid.email,
        token_type="Bearer",  # noqa: S106  the scheme's name
        exp=int(claims.expires_at.timestamp()),
        iat=int(claims.issued_at.timestamp()),
        sub=claims.subject,
        aud=context.system.name,
        iss=context.settings_of(IdentitySettings).issuer_of(context.system),
        jti=claims.token_id,
    )


async def _introspect_refresh_token(context: ServiceContext, reads: Reader, token: str) -> Introspection:
    found = await find_refresh_token(reads, digest_of(token))
    if found is None:
        return Introspection(active=False)
    refresh_token, session, user = found
    if refresh_token.used_at is not None or not session.is_open(reads.now) or not user.may_sign_in:
        return Introspection(active=False)
    return Introspection(
        active=True,
        username=user.email,
        exp=int(refresh_token.expires_at.timestamp()),
        iat=int(refresh_token.issued_at.timestamp()),
        sub=user.user_id,
        iss=context.settings_of(IdentitySettings).issuer_of(context.system),
    )


def _session_tokens(grant: Grant, form: OAuthForm) -> OAuthTokens:
    """Return the pair with its full scope, also to a client that requested less (RFC 6749 section 3.3)."""
    if form.scope - set(grant.access.claims.scope):
        raise OAuthError("invalid_scope", "the user does not have all permissions in this scope")
    return _tokens(grant.access, grant.refresh_token)


def _tokens(access: AccessToken, refresh_token: str | None) -> OAuthTokens:
    return OAuthTokens(
        access_token=access.text,
        token_type="Bearer",  # noqa: S106  the scheme's name
        expires_in=access.expires_in,
        refresh_token=refresh_token,
        scope=" ".join(access.claims.scope),
    )
