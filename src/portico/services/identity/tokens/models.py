from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from portico.contracts.identity import SessionId
from portico.kit import UserId
from portico.kit.auth import SigningKey
from portico.kit.data import ExactText, LongText, Payload
from portico.kit.foundation import seconds_until
from portico.services.identity.models import Table
from portico.services.identity.tokens.domain import LOCKOUT_DURATION, KeyCipher, MailPurpose, failures_in_window
from portico.services.identity.users.domain import MAX_KEY_LENGTH


class StoredKey(Table):
    """A signing key. It signs from `signs_from` until the next key does, and verifies until its last token expires."""

    __tablename__ = "signing_keys"

    kid: Mapped[str] = mapped_column(ExactText(64), primary_key=True)
    algorithm: Mapped[str] = mapped_column(ExactText(16))
    public: Mapped[dict[str, Any]] = mapped_column(Payload)
    encrypted: Mapped[str] = mapped_column(LongText)
    signs_from: Mapped[datetime]
    created_at: Mapped[datetime]

    @classmethod
    def create(cls, key: SigningKey, cipher: KeyCipher, *, signs_from: datetime, now: datetime) -> "StoredKey":
        """Return the row for `key`, with its private part encrypted."""
        return cls(
            kid=key.kid,
            algorithm=key.algorithm,
            public=key.public_jwk(),
            encrypted=cipher.encrypt(key),
            signs_from=signs_from,
            created_at=now,
        )


class SignInThrottle(Table):
    """Failed sign-ins of one account or one client address.

    `key` is a digest of what was entered. Unknown accounts are throttled too, so a lock does not reveal an account.
    """

    __tablename__ = "sign_in_throttles"

    key: Mapped[str] = mapped_column(ExactText(64), primary_key=True)
    failures: Mapped[list[float]] = mapped_column(Payload)
    locked_until: Mapped[datetime | None]
    changed_at: Mapped[datetime] = mapped_column(index=True)

    def remaining_lock(self, now: datetime) -> timedelta | None:
        """Return how long sign-ins stay locked, or None if they are not."""
        if self.locked_until is None:
            return None
        remaining = seconds_until(self.locked_until, now, max_wait=LOCKOUT_DURATION)
        return timedelta(seconds=remaining) if remaining > 0 else None

    def record_failure(self, now: datetime, *, limit: int) -> bool:
        """Count a failure, unless locked. Return whether it reached `limit` and locked the sign-in."""
        if self.remaining_lock(now) is not None:
            return False
        failures = [*failures_in_window(self.failures, now), now.timestamp()]
        self.changed_at = now
        if len(failures) < limit:
            self.failures = failures
            return False
        self.failures = []
        self.locked_until = now + LOCKOUT_DURATION
        return True


class MailRequest(Table):
    """A request for a mail to an address, whether or not an account has it. It is removed when it is handled.

    The endpoint only inserts it, so that its response does not depend on the address in content or time.
    """

    __tablename__ = "mail_requests"

    purpose: Mapped[MailPurpose] = mapped_column(ExactText(24), primary_key=True)
    email_key: Mapped[str] = mapped_column(ExactText(MAX_KEY_LENGTH), primary_key=True)
    requested_at: Mapped[datetime]


class MailedToken(Table):
    """A one-time token that was mailed to a user for one purpose, stored by its digest. It proves the address."""

    __tablename__ = "mailed_tokens"

    digest: Mapped[str] = mapped_column(ExactText(64), primary_key=True)
    purpose: Mapped[MailPurpose] = mapped_column(ExactText(24))
    user_id: Mapped[UserId] = mapped_column(ForeignKey("users.user_id"), index=True)
    email_key: Mapped[str] = mapped_column(ExactText(MAX_KEY_LENGTH))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class Ticket(Table):
    """A one-time ticket, stored by its digest. Its token expires no later than the token it was requested with."""

    __tablename__ = "tickets"

    digest: Mapped[str] = mapped_column(ExactText(64), primary_key=True)
    session_id: Mapped[SessionId] = mapped_column(ForeignKey("sessions.session_id"))
    token_expires_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
