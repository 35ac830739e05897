from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select

from portico.contracts.identity import UserId
from portico.kit import ClientInfo, Reader, ServiceContext, UnitOfWork
from portico.kit.auth import InvalidToken
from portico.services.identity.audit.commands import record
from portico.services.identity.lockout.errors import SignInLocked
from portico.services.identity.oauth.domain import Client
from portico.services.identity.oauth.errors import OAuthRefusal
from portico.services.identity.oauth.resources import Clients
from portico.services.identity.oauth.schemas import OAuthTokens, required
from portico.services.identity.passwords.errors import HashingBusy
from portico.services.identity.revocations.commands import revoke
from portico.services.identity.sessions.commands import Grant, end_session, refresh_session
from portico.services.identity.sessions.models import RefreshToken, Session
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.sign_ins.commands import Attempt, SignIns
from portico.services.identity.sign_ins.errors import SignInRefused
from portico.services.identity.tokens.domain import AccessToken, digest_of
from portico.services.identity.tokens.resources import OwnVerifier, TokenIssuer


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What came to the token endpoint, and from where."""

    fields: Mapping[str, str]
    client: Client | None
    device: ClientInfo


class Grants:
    """Gives tokens for what a client holds: a password, a refresh token, or its own credentials."""

    def __init__(self, context: ServiceContext, reads: Reader, work: UnitOfWork) -> None:
        self._context = context
        self._reads = reads
        self._work = work

    async def give(self, asked: TokenRequest) -> OAuthTokens:
        """The tokens that are asked for. Raises OAuthRefusal."""
        kind = required(asked.fields, "grant_type")
        if kind == "password":
            return await self._by_password(asked)
        if kind == "refresh_token":
            return await self._by_refresh_token(asked)
        if kind == "client_credentials":
            return await self._by_credentials(asked)
        raise OAuthRefusal("unsupported_grant_type", "use password, refresh_token or client_credentials")

    async def _by_password(self, asked: TokenRequest) -> OAuthTokens:
        attempt = Attempt(required(asked.fields, "username"), required(asked.fields, "password"), asked.device)
        try:
            grant = await self._context.resource(SignIns).sign_in(self._reads, self._work, attempt)
        except SignInRefused as refused:
            raise OAuthRefusal("invalid_grant", refused.sentence()) from refused
        except SignInLocked as locked:
            raise OAuthRefusal("slow_down", locked.sentence(), retry_after=locked.retry_after) from locked
        except HashingBusy as busy:
            raise OAuthRefusal("temporarily_unavailable", busy.sentence(), retry_after=busy.retry_after) from busy
        return _session_tokens(grant, asked.fields)

    async def _by_refresh_token(self, asked: TokenRequest) -> OAuthTokens:
        issuer = self._context.resource(TokenIssuer)
        settings = self._context.settings_of(IdentitySettings)
        async with self._context.transaction() as work:
            token = required(asked.fields, "refresh_token")
            grant = await refresh_session(work, token, issuer, settings, device=asked.device)
        if grant is None:
            raise OAuthRefusal("invalid_grant", "this refresh token is of no use any more")
        return _session_tokens(grant, asked.fields)

    async def _by_credentials(self, asked: TokenRequest) -> OAuthTokens:
        name = await self._context.resource(Clients).ensure_service(asked.client, asked.device)
        if asked.fields.get("scope"):
            raise OAuthRefusal("invalid_scope", "a service's own token carries no scope")
        access = await self._context.resource(TokenIssuer).for_service(name)
        return _tokens(access, None)


def _session_tokens(grant: Grant, fields: Mapping[str, str]) -> OAuthTokens:
    """The pair, with the scope that it has: a client that asks for less gets all, and is told (RFC 6749 section 3.3)."""
    beyond = set(fields.get("scope", "").split()) - set(grant.access.claims.scope)
    if beyond:
        raise OAuthRefusal("invalid_scope", "the user does not hold all of this scope")
    return _tokens(grant.access, grant.refresh_token)


def _tokens(access: AccessToken, refresh_token: str | None) -> OAuthTokens:
    return OAuthTokens(
        access_token=access.text,
        token_type="Bearer",  # noqa: S106  the scheme's name
        expires_in=access.expires_in,
        refresh_token=refresh_token,
        scope=" ".join(access.claims.scope),
    )


async def revoke_token(context: ServiceContext, work: UnitOfWork, token: str, device: ClientInfo) -> None:
    """End an access token, or with a refresh token its session. One that is of no use already is no error."""
    try:
        claims, _ = await context.resource(OwnVerifier).validated(token)
    except InvalidToken:
        await _revoke_refresh_token(work, token, device)
        return
    revoke(work, "token", claims.token_id, expires_at=claims.expires_at)
    user_id = claims.subject if claims.session_id else None
    record(work, "token.revoked", actor=claims.subject, user_id=user_id, device=device, token_id=claims.token_id)


async def _revoke_refresh_token(work: UnitOfWork, token: str, device: ClientInfo) -> None:
    held_by = (
        await work.execute(
            select(Session.session_id, Session.user_id)
            .join(RefreshToken, RefreshToken.session_id == Session.session_id)
            .where(RefreshToken.digest == digest_of(token))
        )
    ).first()
    if held_by is None:
        return
    session = await work.get(Session, held_by.session_id, lock=True)
    if session is not None and session.is_open(work.now):
        end_session(work, session, actor=UserId(held_by.user_id), device=device, reason="token_revoked")
