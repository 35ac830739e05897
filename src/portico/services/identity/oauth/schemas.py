"""JSON of the OAuth endpoints. Its members are spelled as in the standards in every system."""

from pydantic import BaseModel, Field


class OAuthTokens(BaseModel):
    """A token response (RFC 6749 section 5.1)."""

    access_token: str = Field(examples=["eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ1c2VyXzAxIn0.c2lnbmF0dXJl"])
    token_type: str = Field(examples=["Bearer"])
    expires_in: int = Field(examples=[900])
    refresh_token: str | None = None
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
