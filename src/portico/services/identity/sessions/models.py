from datetime import datetime, timedelta

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from portico.contracts.identity import SessionId
from portico.kit import ClientInfo, UserId, identifier
from portico.kit.data import ExactText
from portico.services.identity.models import Table


class Session(Table):
    """A sign-in on one device. Its refresh tokens are one family: each descends from the one before."""

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
    def opened(cls, user_id: UserId, device: ClientInfo, *, lasting: timedelta, now: datetime) -> "Session":
        return cls(
            user_id=user_id,
            device=device.name,
            address=device.address[:64],
            created_at=now,
            last_used_at=now,
            expires_at=now + lasting,
            tokens_expire_at=now,
        )

    def is_open(self, now: datetime) -> bool:
        return self.ended_at is None and self.expires_at > now

    def use(self, *, lasting: timedelta, now: datetime) -> None:
        """Go on for another `lasting` from now."""
        self.last_used_at = now
        self.expires_at = now + lasting

    def end(self, now: datetime) -> None:
        self.ended_at = now


class RefreshToken(Table):
    """A refresh token, by its digest. Used once it is no longer good, but for the leeway in which an answer may be lost."""

    __tablename__ = "refresh_tokens"

    digest: Mapped[str] = mapped_column(ExactText(64), primary_key=True)
    session_id: Mapped[SessionId] = mapped_column(ForeignKey("sessions.session_id"), index=True)
    issued_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]

    def was_stolen(self, now: datetime, *, leeway: timedelta) -> bool:
        """Whether presenting it again means that two hold it (RFC 9700 section 4.14.2)."""
        return self.used_at is not None and now > self.used_at + leeway

    def use(self, now: datetime) -> None:
        """Mark it used; its first use counts."""
        if self.used_at is None:
            self.used_at = now
