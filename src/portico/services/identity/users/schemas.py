from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints

from portico.contracts.identity import UserId
from portico.kit import Moment, Schema, Text
from portico.services.identity.passwords.domain import LONGEST, SHORTEST
from portico.services.identity.users.domain import LONGEST_EMAIL, Names
from portico.services.identity.users.models import User

EmailText = Annotated[
    str,
    StringConstraints(min_length=3, max_length=LONGEST_EMAIL, pattern=r"^[^@\s]+@[^@\s]+$"),
    Field(json_schema_extra={"format": "email"}),
]
Phone = Annotated[str, StringConstraints(pattern=r"^\+?[0-9 ()./-]{3,40}$")]
NewPassword = Annotated[str, StringConstraints(min_length=SHORTEST, max_length=LONGEST)]


class PersonNames(Schema):
    """What a person is called; each may be left out."""

    name: Text | None = None
    first_name: Text | None = None
    last_name: Text | None = None
    phone: Phone | None = None

    def given_names(self) -> dict[str, Any]:
        """The names that were sent, null where one is to be cleared."""
        return self.model_dump(include={"name", "first_name", "last_name", "phone"}, exclude_unset=True)


class UserCreate(PersonNames):
    email: EmailText
    password: NewPassword

    @property
    def names(self) -> Names:
        return Names(self.name, self.first_name, self.last_name, self.phone).completed()


class MeUpdate(PersonNames):
    pass


class UserUpdate(PersonNames):
    is_active: bool | None = Field(None, description="Whether the user may sign in; for administrators")


class PasswordChange(Schema):
    current_password: Annotated[str, StringConstraints(max_length=1024)]
    new_password: NewPassword


class UserRead(Schema):
    user_id: UserId
    email: str | None
    name: str | None
    first_name: str | None
    last_name: str | None
    phone: str | None
    roles: list[str]
    is_active: bool
    created_at: Moment

    @classmethod
    def with_roles(cls, user: User, roles: Sequence[str]) -> Self:
        """The user with the names of its roles."""
        return cls(
            user_id=user.user_id,
            email=user.email,
            name=user.name,
            first_name=user.first_name,
            last_name=user.last_name,
            phone=user.phone,
            roles=list(roles),
            is_active=user.is_active,
            created_at=user.created_at,
        )


class RoleAssignment(Schema):
    roles: Annotated[list[Annotated[str, StringConstraints(max_length=64)]], Field(max_length=50)]
