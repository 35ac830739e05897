from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from portico.kit import UserId, identifier, revision
from portico.kit.auth import EVERYTHING
from portico.kit.data import ExactText, Payload
from portico.services.identity.errors import UserDeleted
from portico.services.identity.models import Table
from portico.services.identity.users.domain import MAX_KEY_LENGTH, Email, Names

ADMINISTRATOR = "administrator"
"""The role that grants every permission, in every system."""


class Role(Table):
    """A named set of permissions. Roles with `declared` come from the system and are updated at each start."""

    __tablename__ = "roles"

    name: Mapped[str] = mapped_column(ExactText(64), primary_key=True)
    permissions: Mapped[list[str]] = mapped_column(Payload)
    declared: Mapped[bool]
    created_at: Mapped[datetime]

    @property
    def grants_everything(self) -> bool:
        return EVERYTHING in self.permissions


class Membership(Table):
    """Assignment of a role to a user."""

    __tablename__ = "memberships"

    user_id: Mapped[UserId] = mapped_column(ForeignKey("users.user_id"), primary_key=True)
    role: Mapped[str] = mapped_column(ExactText(64), ForeignKey("roles.name"), primary_key=True, index=True)


class User(Table):
    """An account. `email_key` is unique. A deleted account keeps no personal data."""

    __tablename__ = "users"

    user_id: Mapped[UserId] = identifier()
    email: Mapped[str | None] = mapped_column(String(MAX_KEY_LENGTH))
    email_key: Mapped[str | None] = mapped_column(ExactText(MAX_KEY_LENGTH), unique=True)
    password_hash: Mapped[str | None]
    name: Mapped[str | None] = mapped_column(String(2 * 255 + 1))  # first and last name joined
    first_name: Mapped[str | None]
    last_name: Mapped[str | None]
    phone: Mapped[str | None] = mapped_column(String(40))
    is_active: Mapped[bool]
    tokens_valid_from: Mapped[datetime]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    email_verified_at: Mapped[datetime | None]
    revision: Mapped[int] = revision()
    assigned_roles: Mapped[list[Role]] = relationship(secondary="memberships", order_by=Role.name, lazy="raise")

    @classmethod
    def create(cls, email: Email, names: Names, *, password_hash: str, roles: list[Role], now: datetime) -> "User":
        """Return a new active account."""
        user = cls(
            email=email.address,
            email_key=email.key,
            password_hash=password_hash,
            is_active=True,
            tokens_valid_from=now.replace(microsecond=0),
            created_at=now,
            updated_at=now,
            assigned_roles=roles,
        )
        user.names = names
        return user

    @property
    def names(self) -> Names:
        return Names(self.name, self.first_name, self.last_name, self.phone)

    @names.setter
    def names(self, names: Names) -> None:
        self.name, self.first_name, self.last_name, self.phone = (
            names.name,
            names.first_name,
            names.last_name,
            names.phone,
        )

    @property
    def display_name(self) -> str:
        """The name to use in messages, or an empty string if none is known."""
        return self.name or self.names.joined or ""

    @property
    def roles(self) -> list[str]:
        """The names of the user's roles, in order."""
        return [role.name for role in self.assigned_roles]

    @property
    def permissions(self) -> list[str]:
        """The permissions that the user's roles grant, in order."""
        return permissions_of(self.assigned_roles)

    @property
    def is_administrator(self) -> bool:
        """Whether the user is active and holds every permission."""
        return self.is_active and any(role.grants_everything for role in self.assigned_roles)

    @property
    def email_verified(self) -> bool:
        """Whether the user proved to read the mails to the address."""
        return self.email_verified_at is not None

    @property
    def may_sign_in(self) -> bool:
        return self.is_active and self.deleted_at is None

    def change(self, names: Names, *, is_active: bool, now: datetime) -> None:
        """Change the user's names and whether the account is active. Raises UserDeleted."""
        if self.deleted_at is not None:
            raise UserDeleted
        self.names = names
        self.is_active = is_active
        self.updated_at = now

    def change_password(self, password_hash: str, *, now: datetime) -> None:
        self.password_hash = password_hash
        self.updated_at = now

    def verify_email(self, *, now: datetime) -> None:
        """Record that the user reads the mails to the address."""
        if self.email_verified_at is None:
            self.email_verified_at = self.updated_at = now

    def assign_roles(self, roles: list[Role], *, now: datetime) -> None:
        """Replace the user's roles."""
        self.assigned_roles = roles
        self.updated_at = now

    def revoke_tokens_before(self, moment: datetime) -> None:
        """Invalidate access tokens that were issued before `moment`, a whole second."""
        self.tokens_valid_from = max(self.tokens_valid_from, moment)

    def anonymize(self, *, now: datetime) -> None:
        """Delete the account: erase personal data and roles. The row stays."""
        self.email = self.email_key = self.password_hash = self.email_verified_at = None
        self.names = Names()
        self.is_active = False
        self.assigned_roles = []
        self.deleted_at = self.updated_at = now


def permissions_of(roles: list[Role]) -> list[str]:
    """Return all permissions that `roles` grant, in order."""
    return sorted({permission for role in roles for permission in role.permissions})
