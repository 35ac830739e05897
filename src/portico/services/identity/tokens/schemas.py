from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from portico.kit import Moment, Schema
from portico.kit.auth import Reason
from portico.services.identity.tokens.service import Grant
from portico.services.identity.users.schemas import NewPassword, UserRead

AnyEmail = Annotated[str, StringConstraints(max_length=320)]
MailedTokenText = Annotated[
    str, StringConstraints(min_length=1, max_length=128), Field(examples=["Zm9yLWV4YW1wbGUtb25seQ"])
]
AnyPassword = Annotated[str, StringConstraints(max_length=1024), Field(examples=["correct horse battery"])]


class SignIn(Schema):
    """An email address, also accepted as `username`, and a password."""

    email: AnyEmail | None = Field(None, examples=["ada@example.com"])
    username: AnyEmail | None = None
    password: AnyPassword

    @model_validator(mode="after")
    def _require_one_name(self) -> Self:
        if (self.email is None) == (self.username is None):
            raise ValueError("give either email or username")
        return self

    @property
    def account(self) -> str:
        return self.email or self.username or ""


class PasswordChange(Schema):
    current_password: AnyPassword
    new_password: NewPassword


class PasswordForgotten(Schema):
    email: AnyEmail = Field(examples=["ada@example.com"])


class PasswordReset(Schema):
    token: MailedTokenText
    password: NewPassword


class EmailProof(Schema):
    token: MailedTokenText


class MailAccepted(Schema):
    detail: str = Field(examples=["A mail with a token is on its way."])


class Refresh(Schema):
    refresh_token: Annotated[str, StringConstraints(min_length=1, max_length=512)] = Field(
        examples=["Zm9yLWV4YW1wbGUtb25seQ"]
    )


class TokensRead(Schema):
    access_token: str = Field(examples=["eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ1c2VyXzAxIn0.c2lnbmF0dXJl"])
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  the name of the scheme (RFC 6750)
    expires_in: int = Field(examples=[900])
    refresh_token: str = Field(examples=["Zm9yLWV4YW1wbGUtb25seQ"])

    @classmethod
    def from_grant(cls, grant: Grant) -> Self:
        return cls(
            access_token=grant.access.text, expires_in=grant.access.expires_in, refresh_token=grant.refresh_token
        )


class SignedInRead(TokensRead):
    user: UserRead

    @classmethod
    def from_grant(cls, grant: Grant) -> Self:
        return cls(
            access_token=grant.access.text,
            expires_in=grant.access.expires_in,
            refresh_token=grant.refresh_token,
            user=UserRead.of(grant.user),
        )


class TokenToValidate(Schema):
    token: str = Field(examples=["eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ1c2VyXzAxIn0.c2lnbmF0dXJl"])


class ValidTokenRead(Schema):
    """The claims of a valid token. `user_id` is `service:<name>` for a service's own token."""

    valid: Literal[True] = True
    user_id: str
    email: str | None = Field(examples=["ada@example.com"])
    roles: list[str] = Field(examples=[["customer"]])
    permissions: list[str] = Field(examples=[["products:write"]])
    expires_at: Moment


class InvalidTokenRead(Schema):
    valid: Literal[False] = False
    reason: Reason


class TicketRead(Schema):
    ticket: str = Field(examples=["Zm9yLWV4YW1wbGUtb25seQ"])
    expires_in: int = Field(examples=[30])


class TicketToRedeem(Schema):
    ticket: Annotated[str, StringConstraints(min_length=1, max_length=128)]


class RedeemedRead(Schema):
    """The access token that the ticket was exchanged for."""

    access_token: str
    expires_in: int
