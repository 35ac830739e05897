"""Who calls: a person who signed in, or a service that calls for itself."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from portico.kit.foundation.ids import Identifier
from portico.kit.foundation.problems import Forbidden

EVERYTHING = "*"
SERVICE_PREFIX = "service:"

PrincipalKind = Literal["user", "service"]


class UserId(Identifier, prefix="user"):
    """An account at identity."""


class PersonRequired(Forbidden):
    """A service called where only a person can be meant."""

    detail = "This is for a person who signed in; a service called."


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller whose token was verified. `permissions` are words such as `products:write`; `*` stands for all of them."""

    subject: str
    kind: PrincipalKind
    permissions: frozenset[str]
    roles: tuple[str, ...]
    token_id: str
    session_id: str | None
    issued_at: datetime
    expires_at: datetime
    email: str | None = None

    def may(self, permission: str) -> bool:
        """Whether the caller holds `permission`."""
        return permission in self.permissions or EVERYTHING in self.permissions

    @property
    def user_id(self) -> UserId:
        """The person's account. Raises PersonRequired for a service."""
        if self.kind != "user":
            raise PersonRequired
        return UserId(self.subject)

    @property
    def service(self) -> str | None:
        """The name of the service that calls for itself; None for a person."""
        return self.subject.removeprefix(SERVICE_PREFIX) if self.kind == "service" else None
