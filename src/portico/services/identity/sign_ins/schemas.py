from typing import Annotated, Self

from pydantic import StringConstraints, model_validator

from portico.kit import Schema

AnyEmail = Annotated[str, StringConstraints(max_length=320)]
AnyPassword = Annotated[str, StringConstraints(max_length=1024)]


class SignIn(Schema):
    """An email address, also under the name `username`, and its password."""

    email: AnyEmail | None = None
    username: AnyEmail | None = None
    password: AnyPassword

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.email is None) == (self.username is None):
            raise ValueError("give either email or username")
        return self

    @property
    def who(self) -> str:
        return self.email or self.username or ""
