from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from portico.contracts.identity import SessionId
from portico.kit import ClientInfo, UserId, identifier
from portico.kit.auth import tokens
from portico.kit.data import ExactText, Sequence
from portico.services.identity.models import Table

REVOCATION_LEEWAY: Final = timedelta(seconds=tokens.LEEWAY)
"""How long after its expiry a token may still be accepted by a verifier whose clock is slow."""


class Session(Table):
    """A sign-in on one device. The refresh tokens of a session are one family (RFC 9700 section 4.14.2)."""

    __tablename__ = "sessions"

    session_id: Mapped[SessionId] = identifier()
    user_id: Mapped[UserId] = mapped_column(ForeignKey("users.user_id"), index=True)
    device: Mapped[str] = mapped_column(String(255))
    address: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    tokens_expire_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    @classmethod
    def start(cls, user_id: UserId, client: ClientInfo, *, lifetime: timedelta, now: datetime) -> "Session":
        """Return a new session of the user on `client`."""
        return cls(
            user_id=user_id,
            device=client.name,
            address=client.address[:64],
            created_at=now,
            last_used_at=now,
            expires_at=now + lifetime,
            tokens_expire_at=now,
        )

    def is_open(self, now: datetime) -> bool:
        return self.ended_at is None and self.expires_at > now

    def extend(self, *, lifetime: timedelta, now: datetime) -> None:
        """Record a use: the session lasts for another `lifetime`."""
        self.last_used_at = now
        self.expires_at = now + lifetime

    def cover_token(self, expires_at: datetime) -> None:
        """Record that an access token of this session is valid until `expires_at`."""
        self.tokens_expire_at = max(self.tokens_expire_at, expires_at)

    def end(self, now: datetime) -> None:
        self.ended_at = now


class RefreshToken(Table):
    """A refresh token, stored by its digest. It works once, and again within a leeway in case the response was lost."""

    __tablename__ = "refresh_tokens"

    digest: Mapped[str] = mapped_column(ExactText(64), primary_key=True)
    session_id: Mapped[SessionId] = mapped_column(ForeignKey("sessions.session_id"), index=True)
    issued_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]

    def is_reused(self, now: datetime, *, leeway: timedelta) -> bool:
        """Whether presenting the token at `now` means that two parties hold it (RFC 9700 section 4.14.2)."""
        return self.used_at is not None and now > self.used_at + leeway

    def use(self, now: datetime) -> None:
        """Mark the token as used. Its first use counts."""
        if self.used_at is None:
            self.used_at = now


class Revocation(Table):
    """A revoked session or token, or the revocation of a user's tokens issued before a moment.

    `position` orders the feed. It is assigned when the feed is read: an entry that commits late would otherwise
    get a position before the cursor of a reader that has already passed it.
    """

    __tablename__ = "revocations"

    number: Mapped[int] = mapped_column(Sequence, primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(ExactText(16))
    subject: Mapped[str] = mapped_column(ExactText(48), index=True)
    issued_before: Mapped[datetime | None]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    position: Mapped[int | None] = mapped_column(Sequence, index=True)
