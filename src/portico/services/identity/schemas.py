from typing import Any, Self

from portico.contracts.identity import SessionId
from portico.kit import Moment, Schema
from portico.kit.auth import RevocationKind
from portico.services.identity.models import AuditId, Session
from portico.services.identity.repository import FeedPage
from portico.services.identity.settings import SessionLimits


class AuditEntryRead(Schema):
    audit_id: AuditId
    at: Moment
    action: str
    actor: str | None
    user_id: str | None
    address: str | None
    details: dict[str, Any]


class KeySetRead(Schema):
    """A JWK set. The members of a key are spelled as in RFC 7517 in every system."""

    keys: list[dict[str, Any]]


class SessionRead(Schema):
    """A session: its device, its address, and whether it is the caller's current one.

    It expires at `expires_at` unless it is refreshed, and at `ends_at` in any case.
    `client_id` is the registered OAuth client that opened it, if any.
    """

    session_id: SessionId
    device: str
    address: str
    created_at: Moment
    last_used_at: Moment
    expires_at: Moment
    ends_at: Moment
    current: bool
    client_id: str | None

    @classmethod
    def from_session(cls, session: Session, limits: SessionLimits, *, current: str | None) -> Self:
        """Return the session as seen by a caller whose own session is `current`."""
        return cls(
            session_id=session.session_id,
            device=session.device,
            address=session.address,
            created_at=session.created_at,
            last_used_at=session.last_used_at,
            expires_at=session.expires_at,
            ends_at=session.ends_at(limits),
            current=session.session_id == current,
            client_id=session.client_id,
        )


class RevocationRead(Schema):
    """A revocation. `issued_before` is set for kind `user`: only tokens issued before it are revoked."""

    kind: RevocationKind
    subject: str
    expires_at: Moment
    issued_before: Moment | None


class RevocationsRead(Schema):
    """A page of the feed. Pass `cursor` as `since` in the next request; send it at once if `more` is true."""

    revocations: list[RevocationRead]
    cursor: str
    more: bool

    @classmethod
    def from_page(cls, page: FeedPage) -> Self:
        """Return a page of the feed as verifiers read it."""
        entries = [RevocationRead.of(entry) for entry in page.entries]
        return cls(revocations=entries, cursor=str(page.position), more=page.more)
