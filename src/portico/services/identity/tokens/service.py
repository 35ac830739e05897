from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from portico.contracts.identity import SessionId, UserId
from portico.kit import ClientInfo, Principal, ServiceContext, UnitOfWork
from portico.kit.auth import InvalidToken
from portico.services.identity.errors import InvalidScope, TicketNotFound
from portico.services.identity.models import RefreshToken, Session
from portico.services.identity.repository import Sessions, audit, find_refresh_token_owner, is_reused
from portico.services.identity.service import end_session, revoke
from portico.services.identity.settings import IdentitySettings, SessionLimits
from portico.services.identity.tokens.access_tokens import OwnVerifier, TokenIssuer
from portico.services.identity.tokens.domain import TICKET_LIFETIME, AccessToken, digest_of, new_secret
from portico.services.identity.tokens.models import Ticket
from portico.services.identity.tokens.repository import take_ticket
from portico.services.identity.users.models import User
from portico.services.identity.users.repository import Users


@dataclass(frozen=True, slots=True)
class Grant:
    """A pair of tokens and their user, as a sign-in or a refresh returns them."""

    access: AccessToken
    refresh_token: str
    user: User
    session: Session


async def open_session(
    work: UnitOfWork, user: User, issuer: TokenIssuer, settings: IdentitySettings, *, client: ClientInfo
) -> Grant:
    """Open a session for a locked user and return its first tokens."""
    return await issue_tokens(work, await start_session(work, user, settings, client=client), user, issuer)


async def start_session(
    work: UnitOfWork,
    user: User,
    settings: IdentitySettings,
    *,
    client: ClientInfo,
    limits: SessionLimits | None = None,
) -> Session:
    """Start a session of a locked user. Beyond `sessions_per_user`, the least recently used one ends.

    `limits` are how long it lasts, if not as long as the settings say.
    """
    for session in (await Sessions(work).lock_all(user.user_id))[settings.sessions_per_user - 1 :]:
        end_session(work, session, actor=user.user_id, client=client, reason="too_many")
    session = Session.start(user.user_id, client, limits=limits or settings.session_limits, now=work.now)
    work.add(session)
    await work.flush()
    return session


async def refresh_session(
    work: UnitOfWork,
    refresh_token: str,
    issuer: TokenIssuer,
    settings: IdentitySettings,
    *,
    client: ClientInfo,
    client_id: str | None,
) -> Grant | None:
    """Return a new pair of tokens, or None if the refresh token is not valid, or not one of the client's.

    If the token is used again after the leeway, or on a second branch of its family, two parties hold tokens of the
    session, so it ends (RFC 9700 section 4.14.2). Within the leeway a token is exchanged at most `MAX_SUCCESSORS` times. The caller
    must commit also when the result is None.
    """
    digest = digest_of(refresh_token)
    owner = await find_refresh_token_owner(work, digest)
    if owner is None:
        return None
    # The user is locked before the session, as in every transaction that ends sessions.
    user = await Users(work).find(owner.user_id, lock=True)
    session = await work.get(Session, owner.session_id, lock=True)
    token = await work.get(RefreshToken, digest, lock=True)
    if user is None or session is None or token is None or not session.is_open(work.now) or not user.may_sign_in:
        return None
    if session.client_id != client_id:
        return None
    leeway = timedelta(seconds=settings.refresh_token_leeway)
    if await is_reused(work, token, used_before=work.now - leeway):
        end_session(work, session, actor=user.user_id, client=client, reason="refresh_token_reused")
        audit(work, "refresh_token.reused", user_id=user.user_id, client=client, session_id=session.session_id)
        return None
    limits = settings.session_limits
    if not token.can_be_used or session.ends_at(limits) <= work.now:
        return None
    token.use(work.now)
    session.extend(limits, now=work.now)
    return await issue_tokens(work, session, user, issuer, generation=token.generation + 1)


async def refresh(
    context: ServiceContext,
    refresh_token: str,
    client: ClientInfo,
    *,
    client_id: str | None = None,
    scope: Collection[str] = (),
) -> Grant | None:
    """Refresh a session in a transaction of its own. Return None if the refresh token is not valid.

    It is committed although the response is an error: the session of a stolen token stays ended. `client_id` is the
    registered client that sent the token, if any.

    Raises:
        InvalidScope: the session does not have all of `scope`. The refresh token remains usable.
    """
    async with context.transaction() as work:
        issuer, settings = context.resource(TokenIssuer), context.settings_of(IdentitySettings)
        grant = await refresh_session(work, refresh_token, issuer, settings, client=client, client_id=client_id)
        if grant is not None:
            check_scope(grant, scope)
        return grant


def check_scope(grant: Grant, requested: Collection[str]) -> None:
    """Raise InvalidScope if the access token does not have all of the requested scope."""
    if set(requested) - set(grant.access.claims.scope):
        raise InvalidScope(reason="the user does not have all permissions in this scope")


async def revoke_token(work: UnitOfWork, token: str, verifier: OwnVerifier, *, client: ClientInfo) -> None:
    """Revoke an access token, or with a refresh token its session. An invalid token is ignored (RFC 7009 section 2.2)."""
    try:
        claims = (await verifier.validate(token)).claims
    except InvalidToken:
        await _revoke_refresh_token(work, token, client)
        return
    revoke(work, "token", claims.token_id, expires_at=claims.expires_at)
    user_id = claims.subject if claims.session_id else None
    audit(work, "token.revoked", actor=claims.subject, user_id=user_id, client=client, token_id=claims.token_id)


def issue_ticket(work: UnitOfWork, caller: Principal) -> str:
    """Return a one-time ticket for the caller's session."""
    secret = new_secret()
    work.add(
        Ticket(
            digest=digest_of(secret),
            session_id=SessionId(caller.session_id or ""),
            token_expires_at=caller.expires_at,
            expires_at=work.now + TICKET_LIFETIME,
        )
    )
    return secret


async def redeem_ticket(work: UnitOfWork, secret: str, issuer: TokenIssuer) -> AccessToken:
    """Return an access token for a ticket, once. Raises TicketNotFound."""
    ticket = await work.get(Ticket, digest_of(secret))
    if ticket is None or ticket.expires_at <= work.now:
        raise TicketNotFound
    session = await work.get(Session, ticket.session_id)
    if session is None:
        raise TicketNotFound
    user = await Users(work).find(session.user_id, lock=True)
    taken = await take_ticket(work, ticket)
    if not taken or user is None or not user.may_sign_in or not session.is_open(work.now):
        raise TicketNotFound
    return await issuer.issue_for_session(session, user, until=ticket.token_expires_at)


async def _revoke_refresh_token(work: UnitOfWork, token: str, client: ClientInfo) -> None:
    owner = await find_refresh_token_owner(work, digest_of(token))
    if owner is None:
        return
    session = await work.get(Session, owner.session_id, lock=True)
    if session is not None and session.is_open(work.now):
        end_session(work, session, actor=UserId(owner.user_id), client=client, reason="token_revoked")


async def issue_tokens(
    work: UnitOfWork, session: Session, user: User, issuer: TokenIssuer, *, generation: int = 0
) -> Grant:
    """Return a new access token and a new refresh token of a locked session and its locked user."""
    access = await issuer.issue_for_session(session, user)
    secret = new_secret()
    work.add(
        RefreshToken(
            digest=digest_of(secret),
            session_id=session.session_id,
            generation=generation,
            successors=0,
            issued_at=work.now,
            expires_at=session.expires_at,
        )
    )
    return Grant(access, secret, user, session)
