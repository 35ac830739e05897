from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select, update

from portico.contracts.identity import SessionId, SessionRevoked, UserId
from portico.kit import ClientInfo, UnitOfWork
from portico.services.identity.audit.commands import record
from portico.services.identity.revocations.commands import revoke
from portico.services.identity.roles.repository import Roles
from portico.services.identity.sessions.models import RefreshToken, Session
from portico.services.identity.sessions.repository import Sessions
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.tokens.domain import AccessToken, digest_of, new_secret
from portico.services.identity.tokens.resources import TokenIssuer
from portico.services.identity.users.models import User


@dataclass(frozen=True, slots=True)
class Grant:
    """What a sign-in or a refresh gives: a pair of tokens, and whose they are."""

    access: AccessToken
    refresh_token: str
    user: User

    @property
    def roles(self) -> tuple[str, ...]:
        return self.access.claims.roles


async def open_session(
    work: UnitOfWork, user: User, issuer: TokenIssuer, settings: IdentitySettings, *, device: ClientInfo
) -> Grant:
    """Sign a locked `user` in on `device`. Beyond the sessions one may have, the longest unused one ends."""
    for session in (await Sessions(work).all_of(user.user_id))[settings.sessions_per_user - 1 :]:
        end_session(work, session, actor=user.user_id, device=device, reason="too_many")
    session = Session.opened(user.user_id, device, lasting=_lasting(settings), now=work.now)
    work.add(session)
    await work.flush()
    return await _grant(work, session, user, issuer)


async def refresh_session(
    work: UnitOfWork, refresh_token: str, issuer: TokenIssuer, settings: IdentitySettings, *, device: ClientInfo
) -> Grant | None:
    """A new pair of tokens for a refresh token; None where it is of no use.

    A token that was used before, longer ago than the leeway, is held by two: its whole family ends (RFC 9700 section
    4.14.2). The caller must commit that also where it gets None.
    """
    digest = digest_of(refresh_token)
    held_by = (
        await work.execute(
            select(Session.session_id, Session.user_id)
            .join(RefreshToken, RefreshToken.session_id == Session.session_id)
            .where(RefreshToken.digest == digest)
        )
    ).first()
    if held_by is None:
        return None
    # The user first, then the session, as whoever ends sessions locks them.
    user = await work.get(User, held_by.user_id, lock=True)
    session = await work.get(Session, held_by.session_id, lock=True)
    token = await work.get(RefreshToken, digest, lock=True)
    if user is None or session is None or token is None or not session.is_open(work.now) or not user.may_sign_in:
        return None
    if token.was_stolen(work.now, leeway=timedelta(seconds=settings.refresh_token_leeway)):
        end_session(work, session, actor=user.user_id, device=device, reason="refresh_token_reused")
        record(work, "refresh_token.reused", user_id=user.user_id, device=device, session_id=session.session_id)
        return None
    token.use(work.now)
    session.use(lasting=_lasting(settings), now=work.now)
    return await _grant(work, session, user, issuer)


def end_session(work: UnitOfWork, session: Session, *, actor: str, device: ClientInfo | None, reason: str) -> None:
    """End a locked `session`; verifiers hear of it by the event and by the feed, everybody else by the event."""
    session.end(work.now)
    work.publish(
        SessionRevoked(
            session_id=session.session_id, user_id=session.user_id, tokens_expire_at=session.tokens_expire_at
        )
    )
    revoke(work, "session", session.session_id, expires_at=session.tokens_expire_at)
    record(
        work,
        "session.revoked",
        actor=actor,
        user_id=session.user_id,
        device=device,
        session_id=session.session_id,
        reason=reason,
    )


async def end_sessions(
    work: UnitOfWork, user_id: UserId, *, actor: str, device: ClientInfo | None, keep: SessionId | None = None
) -> None:
    """End all of a locked user's sessions, but for the one to `keep`."""
    for session in await Sessions(work).all_of(user_id):
        if session.session_id != keep:
            end_session(work, session, actor=actor, device=device, reason="all_ended")


async def forget_devices(work: UnitOfWork, user_id: UserId) -> None:
    """Forget from where the user signed in."""
    await work.flush()
    await work.execute(update(Session).where(Session.user_id == user_id).values(device="", address=""))


async def end_tokens(work: UnitOfWork, user: User) -> None:
    """End the access tokens that a locked `user` has, but no session: a refresh gives one that says what is so now."""
    # By the clock and not by the unit's beginning: the lock on the user may have been long in coming, and a token that
    # was issued meanwhile still says what was so.
    moment = work.clock.now().replace(microsecond=0) + timedelta(seconds=1)
    user.end_tokens_before(moment)
    expires_at = await Sessions(work).tokens_expire_at(user.user_id)
    if expires_at is not None:
        revoke(work, "user", user.user_id, expires_at=expires_at, issued_before=moment)


async def _grant(work: UnitOfWork, session: Session, user: User, issuer: TokenIssuer) -> Grant:
    access = await issuer.for_session(session, user, await Roles(work).of_user(user.user_id))
    secret = new_secret()
    work.add(
        RefreshToken(
            digest=digest_of(secret), session_id=session.session_id, issued_at=work.now, expires_at=session.expires_at
        )
    )
    return Grant(access, secret, user)


def _lasting(settings: IdentitySettings) -> timedelta:
    return timedelta(days=settings.refresh_token_expire_days)
