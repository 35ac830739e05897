"""JSON of the OAuth endpoints. The members of the standards are spelled alike in every system."""

from collections.abc import Iterable
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from portico.kit import Moment, OneLine, Schema
from portico.kit.auth import ACT_AS_USER
from portico.services.identity.oauth.domain import (
    MAX_ADDRESS_LENGTH,
    MAX_ADDRESSES,
    OIDC_SCOPES,
    check_redirect_address,
)
from portico.services.identity.oauth.models import ClientId, OAuthClient
from portico.services.identity.users.models import User

_PERMISSION = r"[a-z][a-z0-9_-]{0,63}:[a-z][a-z0-9_-]{0,63}"
_SCOPE = rf"^({'|'.join((*OIDC_SCOPES, ACT_AS_USER))}|{_PERMISSION})$"

ClientName = Annotated[str, OneLine(80)]
Address = Annotated[
    str, StringConstraints(pattern=r"^[!-~]+$", max_length=MAX_ADDRESS_LENGTH), AfterValidator(check_redirect_address)
]
Scope = Annotated[str, StringConstraints(pattern=_SCOPE)]
DEFAULT_SCOPE = ("openid", "profile", "email", ACT_AS_USER)


class OAuthTokens(BaseModel):
    """A token response (RFC 6749 section 5.1)."""

    access_token: str = Field(examples=["eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ1c2VyXzAxIn0.c2lnbmF0dXJl"])
    token_type: str = Field(examples=["Bearer"])
    expires_in: int = Field(examples=[900])
    refresh_token: str | None = None
    id_token: str | None = None
    scope: str = Field(examples=["products:write"])


class Introspection(BaseModel):
    """The claims of a token (RFC 7662 section 2.2). For an inactive token only `active` is sent."""

    active: bool
    scope: str | None = None
    client_id: str | None = None
    username: str | None = None
    token_type: str | None = None
    exp: int | None = None
    iat: int | None = None
    sub: str | None = None
    aud: str | None = None
    iss: str | None = None
    jti: str | None = None


class ClientUpdate(Schema):
    """The fields to change."""

    name: ClientName | None = None
    redirect_uris: Annotated[list[Address], Field(min_length=1, max_length=MAX_ADDRESSES)] | None = None
    post_logout_redirect_uris: Annotated[list[Address], Field(max_length=MAX_ADDRESSES)] | None = None
    scope: Annotated[list[Scope], Field(min_length=1, max_length=100)] | None = None

    def given(self) -> dict[str, Any]:
        """Return the fields that were sent with a value."""
        return self.model_dump(exclude_none=True)


class ClientCreate(Schema):
    name: ClientName
    confidential: bool = Field(False, description="Whether the client can keep a secret, as a server can")
    redirect_uris: Annotated[list[Address], Field(min_length=1, max_length=MAX_ADDRESSES)]
    post_logout_redirect_uris: Annotated[list[Address], Field(max_length=MAX_ADDRESSES, default_factory=list)]
    scope: Annotated[list[Scope], Field(min_length=1, max_length=100, default_factory=lambda: list(DEFAULT_SCOPE))]


class ClientRead(Schema):
    client_id: ClientId
    name: str
    confidential: bool
    redirect_uris: list[str]
    post_logout_redirect_uris: list[str]
    scope: list[str]
    created_at: Moment
    updated_at: Moment


class RegisteredClientRead(ClientRead):
    """A new client. The secret of a confidential one is returned only once."""

    client_secret: str | None = None

    @classmethod
    def with_secret(cls, client: OAuthClient, secret: str | None) -> Self:
        return cls.of(client).model_copy(update={"client_secret": secret})


class ClientSecretRead(Schema):
    client_secret: str


class UserInfo(BaseModel):
    """Claims about the user (OpenID Connect Core 1.0 section 5.1)."""

    sub: str
    name: str | None = None
    given_name: str | None = None
    family_name: str | None = None
    email: str | None = None
    email_verified: bool | None = None

    @classmethod
    def of(cls, user: User, scope: Iterable[str]) -> Self:
        """Return the claims that these scopes allow."""
        claims: dict[str, Any] = {"sub": user.user_id}
        if "profile" in scope:
            claims |= {"name": user.name, "given_name": user.first_name, "family_name": user.last_name}
        if "email" in scope:
            claims |= {"email": user.email, "email_verified": user.email_verified}
        return cls(**claims)
