"""Tables of identity as a whole: the base class, singleton rows and the audit log."""

from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import BigInteger
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from portico.kit import Identifier, TableRules, identifier
from portico.kit.data import ExactText, Payload

ADMINISTRATORS: Final = "administrators"
REVOCATION_FEED: Final = "revocation-feed"
SIGNING_KEYS: Final = "signing-keys"

AuditAction = Literal[
    "user.registered",
    "user.created",
    "user.updated",
    "user.deleted",
    "user.roles_changed",
    "user.password_changed",
    "role.created",
    "sign_in.succeeded",
    "sign_in.failed",
    "sign_in.locked",
    "session.revoked",
    "refresh_token.reused",
    "token.revoked",
    "client.refused",
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
