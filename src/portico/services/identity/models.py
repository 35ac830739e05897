"""Tables of sessions, refresh tokens, revocations and the audit log, the base class of all tables, and singleton rows."""

from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import BigInteger, ForeignKey, Index, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from portico.contracts.identity import SessionId
from portico.kit import ClientInfo, Identifier, TableRules, UserId, identifier
from portico.kit.auth import tokens
from portico.kit.data import ExactText, Payload, Sequence
from portico.services.identity.settings import SessionLimits

ADMINISTRATORS: Final = "administrators"
REVOCATION_FEED: Final = "revocation-feed"
SIGNING_KEYS: Final = "signing-keys"
MAX_SUCCESSORS: Final = 2
"""How many refresh tokens one refresh token is exchanged for: one, and another if the response was lost."""
REVOCATION_LEEWAY: Final = timedelta(seconds=tokens.LEEWAY)
"""How long after its expiry a token may still be accepted by a verifier whose clock is slow."""

AuditAction = Literal[
    "user.registered",
    "user.created",
    "user.updated",
    "user.deleted",
    "user.roles_changed",
    "user.password_changed",
    "user.password_reset",
    "user.password_reset_issued",
    "user.email_verified",
    "role.created",
    "sign_in.succeeded",
    "sign_in.failed",
    "sign_in.locked",
    "session.revoked",
    "refresh_token.reused",
    "token.revoked",
    "client.refused",
    "client.registered",
    "client.changed",
    "client.secret_renewed",
    "client.deleted",
    "client.allowed",
    "client.denied",
    "client.signed_in",
    "authorization_code.reused",
    "keys.rotated",
]


class Table(TableRules, DeclarativeBase):
    """Base class of identity's tables."""


class SingletonRow(Table):
    """A row that exists once. Transactions lock it to run one after another.

    `number` is a counter for those that need one. The migration inserts the rows.
    """

    __tablename__ = "singletons"

    name: Mapped[str] = mapped_column(ExactText(40), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, default=0)


class AuditId(Identifier, prefix="audit"):
    """An entry of the audit log."""


class AuditEntry(Table):
    """A security-relevant action: who did what to which user, and from which address.

    `details` contain no secrets and no email addresses.
    """

    __tablename__ = "audit_log"

    audit_id: Mapped[AuditId] = identifier()
    at: Mapped[datetime]
    action: Mapped[str] = mapped_column(ExactText(48), index=True)
    actor: Mapped[str | None] = mapped_column(ExactText(80))
    user_id: Mapped[str | None] = mapped_column(ExactText(48), index=True)
    address: Mapped[str | None] = mapped_column(ExactText(64))
    details: Mapped[dict[str, Any]] = mapped_column(Payload)


class Session(Table):
    """A sign-in on one device. The refresh tokens of a session are one family (RFC 9700 section 4.14.2).

    A session that a registered OAuth client opened has the client, the scope that the user allowed, and the session of
    the browser that it was opened from. `authenticated_at` is when the user last proved who it is, if that was not
    when the session began.
    """

    __tablename__ = "sessions"

    session_id: Mapped[SessionId] = identifier()
    user_id: Mapped[UserId] = mapped_column(ForeignKey("users.user_id"))
    device: Mapped[str] = mapped_column(String(255))
    address: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    tokens_expire_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    client_id: Mapped[str | None] = mapped_column(ExactText(48), index=True)
    scope: Mapped[list[str] | None] = mapped_column(Payload)
    authenticated_at: Mapped[datetime | None]
    browser_session_id: Mapped[SessionId | None] = mapped_column(index=True)

    # A user has many more ended sessions than open ones.
    __table_args__ = (Index(None, "user_id", "ended_at", "session_id"), Index(None, "user_id", "tokens_expire_at"))

    @classmethod
    def start(cls, user_id: UserId, client: ClientInfo, *, limits: SessionLimits, now: datetime) -> "Session":
        """Return a new session of the user on `client`."""
        return cls(
            user_id=user_id,
            device=client.name,
            address=client.address[:64],
            created_at=now,
            last_used_at=now,
            expires_at=now + min(limits.unused, limits.total),
            tokens_expire_at=now,
        )

    def is_open(self, now: datetime) -> bool:
        return self.ended_at is None and self.expires_at > now

    def extend(self, limits: SessionLimits, *, now: datetime) -> None:
        """Record a use: the session lasts for another `limits.unused`, but at most `limits.total` altogether."""
        self.last_used_at = now
        self.expires_at = min(now + limits.unused, self.ends_at(limits))

    def ends_at(self, limits: SessionLimits) -> datetime:
        """Return when the session ends at the latest."""
        return self.created_at + limits.total

    @property
    def proved_at(self) -> datetime:
        """When the user last proved who it is."""
        return self.authenticated_at or self.created_at

    def authenticate(self, *, lifetime: timedelta, now: datetime) -> None:
        """Record that the user has just proved who it is: the session lasts for another `lifetime`."""
        self.authenticated_at = self.last_used_at = now
        self.expires_at = now + lifetime

    def authorize_client(
        self, client_id: str, *, scope: list[str], authenticated_at: datetime, browser_session_id: SessionId
    ) -> None:
        """Give the session to a registered client: its tokens have no more than `scope`."""
        self.client_id = client_id
        self.scope = scope
        self.authenticated_at = authenticated_at
        self.browser_session_id = browser_session_id

    def cover_token(self, expires_at: datetime) -> None:
        """Record that an access token of this session is valid until `expires_at`."""
        self.tokens_expire_at = max(self.tokens_expire_at, expires_at)

    def end(self, now: datetime) -> None:
        self.ended_at = now


class RefreshToken(Table):
    """A refresh token, stored by its digest. It works once, and once more within a leeway in case the response was lost.

    A second use creates a second branch of the family, of which only one may go on. `generation` is the number of
    refreshes since the sign-in: each branch has one token of a generation, and using it outdates the other branch.
    """

    __tablename__ = "refresh_tokens"

    digest: Mapped[str] = mapped_column(ExactText(64), primary_key=True)
    session_id: Mapped[SessionId] = mapped_column(ForeignKey("sessions.session_id"), index=True)
    generation: Mapped[int]
    successors: Mapped[int]
    issued_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]

    @property
    def can_be_used(self) -> bool:
        return self.successors < MAX_SUCCESSORS

    def use(self, now: datetime) -> None:
        """Count a use. The leeway begins with the first one."""
        self.successors += 1
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
