from typing import Annotated, Literal, Self

from pydantic import StringConstraints

from portico.contracts.identity import SessionId
from portico.kit import Moment, Schema
from portico.services.identity.sessions.commands import Grant
from portico.services.identity.sessions.models import Session
from portico.services.identity.users.schemas import UserRead

OpaqueToken = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class Refresh(Schema):
    refresh_token: OpaqueToken


class TokensRead(Schema):
    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  the name of the scheme (RFC 6750)
    expires_in: int
    refresh_token: str

    @classmethod
    def of_grant(cls, grant: Grant) -> Self:
        return cls(
            access_token=grant.access.text, expires_in=grant.access.expires_in, refresh_token=grant.refresh_token
        )


class SignedInRead(TokensRead):
    user: UserRead

    @classmethod
    def of_grant(cls, grant: Grant) -> Self:
        return cls(
            access_token=grant.access.text,
            expires_in=grant.access.expires_in,
            refresh_token=grant.refresh_token,
            user=UserRead.with_roles(grant.user, grant.roles),
        )


class SessionRead(Schema):
    """A sign-in: on which program, from which address, and whether the caller is using it."""

    session_id: SessionId
    device: str
    address: str
    created_at: Moment
    last_used_at: Moment
    expires_at: Moment
    current: bool

    @classmethod
    def seen_from(cls, session: Session, current: str | None) -> Self:
        """The session as the one called `current` sees it."""
        return cls(
            session_id=session.session_id,
            device=session.device,
            address=session.address,
            created_at=session.created_at,
            last_used_at=session.last_used_at,
            expires_at=session.expires_at,
            current=session.session_id == current,
        )
