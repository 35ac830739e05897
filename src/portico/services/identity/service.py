from datetime import datetime

from portico.contracts.identity import SessionId, SessionRevoked, UserId
from portico.kit import ClientInfo, UnitOfWork
from portico.kit.auth import RevocationKind
from portico.services.identity.models import REVOCATION_FEED, REVOCATION_LEEWAY, Revocation, Session
from portico.services.identity.repository import Sessions, audit


def end_session(work: UnitOfWork, session: Session, *, actor: str, client: ClientInfo | None, reason: str) -> None:
    """End a locked session. Its access tokens are revoked by event and in the feed."""
    session.end(work.now)
    work.publish(
        SessionRevoked(
            session_id=session.session_id, user_id=session.user_id, tokens_expire_at=session.tokens_expire_at
        )
    )
    revoke(work, "session", session.session_id, expires_at=session.tokens_expire_at)
    audit(
        work,
        "session.revoked",
        actor=actor,
        user_id=session.user_id,
        client=client,
        session_id=session.session_id,
        reason=reason,
    )


async def end_sessions(
    work: UnitOfWork, user_id: UserId, *, actor: str, client: ClientInfo | None, keep: SessionId | None = None
) -> None:
    """End all sessions of a locked user except `keep`."""
    for session in await Sessions(work).lock_all(user_id):
        if session.session_id != keep:
            end_session(work, session, actor=actor, client=client, reason="all_ended")


async def revoke_tokens_of_user(work: UnitOfWork, user_id: UserId, *, issued_before: datetime) -> None:
    """Revoke the user's access tokens that were issued before a moment. The sessions stay open."""
    expires_at = await Sessions(work).last_token_expiry(user_id)
    if expires_at is not None:
        revoke(work, "user", user_id, expires_at=expires_at, issued_before=issued_before)


def revoke(
    work: UnitOfWork,
    kind: RevocationKind,
    subject: str,
    *,
    expires_at: datetime,
    issued_before: datetime | None = None,
) -> None:
    """Add a revocation to the feed, unless all its tokens have expired anyway.

    Args:
        work: the transaction.
        kind: what `subject` identifies: a session, a token or a user.
        subject: the identifier.
        expires_at: when the last of the revoked tokens expires.
        issued_before: of a user's tokens, only those issued before this moment are revoked.
    """
    if expires_at + REVOCATION_LEEWAY > work.now:
        work.add(Revocation(kind=kind, subject=subject, expires_at=expires_at, issued_before=issued_before))
        work.changes(REVOCATION_FEED)
