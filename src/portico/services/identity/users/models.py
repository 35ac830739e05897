from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from portico.kit import UserId, identifier, revision
from portico.kit.data import ExactText
from portico.services.identity.models import Table
from portico.services.identity.users.domain import LONGEST_KEY, Email, Names
from portico.services.identity.users.errors import UserDeleted


class User(Table):
    """An account. `email_key` is unique; a deleted account has none, nor anything else that tells a person."""

    __tablename__ = "users"

    user_id: Mapped[UserId] = identifier()
    email: Mapped[str | None] = mapped_column(String(LONGEST_KEY))
    email_key: Mapped[str | None] = mapped_column(ExactText(LONGEST_KEY), unique=True)
    password_hash: Mapped[str | None]
    name: Mapped[str | None] = mapped_column(String(2 * 255 + 1))  # joined of two
    first_name: Mapped[str | None]
    last_name: Mapped[str | None]
    phone: Mapped[str | None] = mapped_column(String(40))
    is_active: Mapped[bool]
    tokens_valid_from: Mapped[datetime]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    revision: Mapped[int] = revision()

    @classmethod
    def opened(cls, email: Email, names: Names, *, password_hash: str, now: datetime) -> "User":
        """A new account."""
        user = cls(
            email=email.address,
            email_key=email.key,
            password_hash=password_hash,
            is_active=True,
            tokens_valid_from=now.replace(microsecond=0),
            created_at=now,
            updated_at=now,
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
    def called(self) -> str:
        """What to call this person in a letter; empty where nothing is known."""
        return self.name or self.names.joined or ""

    @property
    def may_sign_in(self) -> bool:
        return self.is_active and self.deleted_at is None

    def change(self, names: Names, *, is_active: bool, now: datetime) -> None:
        """Change what a person is called and whether it may sign in. Raises UserDeleted."""
        if self.deleted_at is not None:
            raise UserDeleted
        self.names = names
        self.is_active = is_active
        self.updated_at = now

    def end_tokens_before(self, moment: datetime) -> None:
        """Access tokens issued before `moment`, a whole second, are worth nothing from now on."""
        self.tokens_valid_from = max(self.tokens_valid_from, moment)

    def delete(self, *, now: datetime) -> None:
        """Deactivate the account and forget who it was; that it was stays."""
        self.email = self.email_key = self.password_hash = None
        self.names = Names()
        self.is_active = False
        self.deleted_at = self.updated_at = now


class Membership(Table):
    """That a user has a role."""

    __tablename__ = "memberships"

    user_id: Mapped[UserId] = mapped_column(ForeignKey("users.user_id"), primary_key=True)
    role: Mapped[str] = mapped_column(ExactText(64), ForeignKey("roles.name"), primary_key=True, index=True)
