"""OAuth grants (RFC 6749) and token introspection (RFC 7662), on top of sign-in and refresh."""

from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from portico.kit import ClientInfo, Clock, Reader, ServiceContext, TooManyRequests, UnitOfWork
from portico.kit.auth import InvalidToken
from portico.kit.http import InvalidClient
from portico.kit.settings import Rate
from portico.services.identity.errors import (
    InvalidGrant,
    InvalidScope,
    SignInRefused,
    UnauthorizedClient,
    UnsupportedGrantType,
)
from portico.services.identity.oauth.client_authentication import OAuthClients
from portico.services.identity.oauth.domain import OPENID, CodeOffer
from portico.services.identity.oauth.form import OAuthForm
from portico.services.identity.oauth.models import OAuthClient
from portico.services.identity.oauth.schemas import Introspection, OAuthTokens
from portico.services.identity.oauth.service import redeem_code
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.tokens.access_tokens import OwnVerifier, TokenIssuer
from portico.services.identity.tokens.domain import AccessToken, digest_of
from portico.services.identity.tokens.repository import find_refresh_token
from portico.services.identity.tokens.service import Grant, check_scope, issue_tokens, refresh
from portico.services.identity.tokens.sign_ins import SignInAttempt, SignIns

GRANT_TYPES: Final = ("authorization_code", "refresh_token", "client_credentials", "password")
_MAX_ADDRESSES: Final = 10_000


class PasswordGrantRate:
    """Limits sign-ins by password grant per client address, in this process.

    The gateway limits sign-ins by path. The token endpoint has a higher limit, because the other grants use it too.
    """

    def __init__(self, rate: Rate, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._recent: OrderedDict[str, deque[float]] = OrderedDict()

    def take(self, key: str) -> None:
        """Count a sign-in of the client address `key`. Raises TooManyRequests beyond the rate."""
        now = self._clock.monotonic()
        recent = self._recent.setdefault(key, deque(maxlen=self._rate.limit))
        self._recent.move_to_end(key)
        if len(self._recent) > _MAX_ADDRESSES:
            self._recent.popitem(last=False)
        if len(recent) == self._rate.limit and now - recent[0] < self._rate.window:
            raise TooManyRequests(retry_after=recent[0] + self._rate.window - now)
        recent.append(now)


@asynccontextmanager
async def open_password_grant_rate(context: ServiceContext) -> AsyncIterator[PasswordGrantRate]:
    """Provide the rate limit of the password grant."""
    yield PasswordGrantRate(context.settings.rate_limit_sign_in, context.clock)


class OAuthGrants:
    """Issue tokens for an authorization code, a refresh token, a service's own credentials or a password."""

    def __init__(self, context: ServiceContext, client: ClientInfo) -> None:
        self._context = context
        self._client = client
        self._issuer = context.resource(TokenIssuer)

    async def issue(self, form: OAuthForm, reads: Reader, work: UnitOfWork) -> OAuthTokens:
        """Return the tokens for the grant that the form names. Raises OAuthError."""
        grant_type = form.required("grant_type")
        if grant_type == "authorization_code":
            return await self._redeem(form)
        if grant_type == "refresh_token":
            return await self._refresh(form)
        if grant_type == "client_credentials":
            return await self._service_token(form)
        if grant_type == "password":
            grant = await self._sign_in(form, reads, work)
            check_scope(grant, form.scope)
            return _tokens(grant.access, grant.refresh_token)
        raise UnsupportedGrantType(reason=" or ".join(GRANT_TYPES))

    async def _redeem(self, form: OAuthForm) -> OAuthTokens:
        client = await self._registered_client(form)
        if client is None:
            raise InvalidClient(reason="client_id is not that of a registered client")
        offer = CodeOffer(form.required("code"), form.required("redirect_uri"), form.required("code_verifier"))
        settings = self._context.settings_of(IdentitySettings)
        async with self._context.transaction() as work:  # committed also if the code was used before
            redeemed = await redeem_code(work, offer, client, settings=settings, client_info=self._client)
            if redeemed is not None:
                grant = await issue_tokens(work, redeemed.session, redeemed.user, self._issuer)
                return _tokens(grant.access, grant.refresh_token, await self._id_token(grant, redeemed.nonce))
        raise InvalidGrant(reason="the code is not valid, has expired or was used, or belongs to another request")

    async def _id_token(self, grant: Grant, nonce: str | None = None) -> str | None:
        """Return the ID token of a registered client's session, if the user allowed the client to know who it is."""
        if OPENID not in (grant.session.scope or ()):
            return None
        return await self._issuer.issue_id_token(grant.session, grant.access, nonce=nonce)

    async def _sign_in(self, form: OAuthForm, reads: Reader, work: UnitOfWork) -> Grant:
        if await self._registered_client(form) is not None:
            raise UnauthorizedClient(reason="a registered client uses the authorization code flow")
        self._context.resource(PasswordGrantRate).take(self._client.rate_limit_key)
        attempt = SignInAttempt(form.required("username"), form.required("password"), self._client)
        try:
            return await self._context.resource(SignIns).sign_in(reads, work, attempt)
        except SignInRefused as refused:
            raise InvalidGrant(reason=refused.sentence()) from refused

    async def _refresh(self, form: OAuthForm) -> OAuthTokens:
        client = await self._registered_client(form)
        token = form.required("refresh_token")
        client_id = None if client is None else client.client_id
        grant = await refresh(self._context, token, self._client, client_id=client_id, scope=form.scope)
        if grant is None:
            raise InvalidGrant(reason="the refresh token is not valid")
        return _tokens(grant.access, grant.refresh_token, await self._id_token(grant))

    async def _registered_client(self, form: OAuthForm) -> OAuthClient | None:
        return await self._context.resource(OAuthClients).identify(form, self._client)

    async def _service_token(self, form: OAuthForm) -> OAuthTokens:
        name = await self._context.resource(OAuthClients).authenticate(form.credentials, self._client)
        if form.scope:
            raise InvalidScope(reason="a service's own token has no scope")
        return _tokens(await self._issuer.issue_for_service(name))


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
        client_id=claims.client_id or (context.system.name if claims.session_id else claims.subject.partition(":")[2]),
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
        client_id=session.client_id,
        username=user.email,
        exp=int(refresh_token.expires_at.timestamp()),
        iat=int(refresh_token.issued_at.timestamp()),
        sub=user.user_id,
        iss=context.settings_of(IdentitySettings).issuer_of(context.system),
    )


def _tokens(access: AccessToken, refresh_token: str | None = None, id_token: str | None = None) -> OAuthTokens:
    """Return tokens with their full scope, also to a client that requested less (RFC 6749 section 3.3)."""
    return OAuthTokens(
        access_token=access.text,
        token_type="Bearer",  # noqa: S106  the scheme's name
        expires_in=access.expires_in,
        refresh_token=refresh_token,
        id_token=id_token,
        scope=" ".join(access.claims.scope),
    )
