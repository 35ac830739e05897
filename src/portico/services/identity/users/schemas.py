from typing import Annotated, Any

from pydantic import Field, StringConstraints

from portico.contracts.identity import UserId
from portico.kit import Line, Moment, OneLine, Schema
from portico.services.identity.users.domain import MAX_EMAIL_LENGTH, MAX_PASSWORD_LENGTH, MIN_PASSWORD_LENGTH, Names

_EMAIL_PART = r"[^@\s\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]+"  # as in a Line, without white space

EmailText = Annotated[
    str,
    StringConstraints(min_length=3, max_length=MAX_EMAIL_LENGTH, pattern=f"^{_EMAIL_PART}@{_EMAIL_PART}$"),
    Field(json_schema_extra={"format": "email"}, examples=["ada@example.com"]),
]
Phone = Annotated[str, StringConstraints(pattern=r"^\+?[0-9 ()./-]{3,40}$")]
NewPassword = Annotated[
    str,
    StringConstraints(min_length=MIN_PASSWORD_LENGTH, max_length=MAX_PASSWORD_LENGTH),
    Field(examples=["correct horse battery"]),
]
RoleName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
Permission = Annotated[str, StringConstraints(pattern=r"^(\*|[a-z][a-z0-9_-]{0,63}:[a-z][a-z0-9_-]{0,63})$")]


class PersonNames(Schema):
    """A person's names and phone number, all optional."""

    name: Line | None = Field(None, examples=["Ada Lovelace"])
    first_name: Line | None = None
    last_name: Line | None = None
    phone: Phone | None = None

    def given_names(self) -> dict[str, Any]:
        """Return the fields that were sent. Null clears a field."""
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


class UserRead(Schema):
    user_id: UserId
    email: str | None = Field(examples=["ada@example.com"])
    email_verified: bool
    name: str | None = Field(examples=["Ada Lovelace"])
    first_name: str | None = Field(examples=["Ada"])
    last_name: str | None = Field(examples=["Lovelace"])
    phone: str | None
    roles: list[str] = Field(examples=[["customer"]])
    is_active: bool
    created_at: Moment


class RoleAssignment(Schema):
    roles: Annotated[list[Annotated[str, OneLine(64)]], Field(max_length=50)] = Field(examples=[["staff"]])


class RoleCreate(Schema):
    name: RoleName = Field(examples=["buyer"])
    permissions: Annotated[list[Permission], Field(max_length=50)] = Field(examples=[["products:write"]])


class RoleRead(Schema):
    name: str = Field(examples=["buyer"])
    permissions: list[str] = Field(examples=[["products:write"]])
