from dataclasses import dataclass

from sqlalchemy import and_, exists, select

from portico.kit import Reader
from portico.kit.auth import AccessClaims, InvalidToken
from portico.services.identity.revocations.models import RevocationEntry
from portico.services.identity.sessions.models import Session
from portico.services.identity.users.models import User


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand with the bearer of a token, right now."""

    email: str | None = None


async def standing_of(reader: Reader, claims: AccessClaims) -> Standing:
    """Whether a token whose signature holds is still good, by one statement. Raises InvalidToken."""
    revoked = exists().where(RevocationEntry.kind == "token", RevocationEntry.subject == claims.token_id)
    if claims.session_id is None:
        if (await reader.execute(select(revoked))).scalar():
            raise InvalidToken("revoked", "the token was revoked")
        return Standing()
    found = (
        await reader.execute(
            select(
                User.email,
                User.is_active,
                User.tokens_valid_from,
                Session.ended_at,
                Session.expires_at,
                revoked.label("revoked"),
            )
            .join(Session, and_(Session.user_id == User.user_id, Session.session_id == claims.session_id))
            .where(User.user_id == claims.subject)
        )
    ).first()
    if found is not None and not found.is_active:
        raise InvalidToken("user_inactive", "the account is not active")
    if found is None or found.revoked or found.ended_at is not None or found.expires_at <= reader.now:
        raise InvalidToken("revoked", "the session or the token was ended")
    if claims.issued_at < found.tokens_valid_from:
        raise InvalidToken("revoked", "the token was issued before the account changed")
    return Standing(found.email)
