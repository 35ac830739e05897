"""The caller of a request: a user, or a service that calls in its own name."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from portico.kit.foundation.ids import Identifier
from portico.kit.foundation.problems import Forbidden

EVERYTHING = "*"
SERVICE_PREFIX = "service:"
ACT_AS_USER = "api"
"""The scope with which a registered OAuth client may use what needs no permission of its own, in the user's name."""

PrincipalKind = Literal["user", "service"]


class UserId(Identifier, prefix="user"):
    """Id of a user account."""


class PersonRequired(Forbidden):
    """A service called an endpoint that is only for users."""

    detail = "Only a signed-in user may call this; the caller is a service."


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. `permissions` are names such as `products:write`; `*` stands for all of them.

    `client_id` is the registered OAuth client that acts for the user; None for the system's own clients and services.
    """

    subject: str
    kind: PrincipalKind
    permissions: frozenset[str]
    roles: tuple[str, ...]
    token_id: str
    session_id: str | None
    issued_at: datetime
    expires_at: datetime
    email: str | None = None
    client_id: str | None = None

    def may(self, permission: str) -> bool:
        """Return whether the caller has `permission`."""
        return permission in self.permissions or EVERYTHING in self.permissions

    @property
    def user_id(self) -> UserId:
        """Id of the user. Raises PersonRequired for a service."""
        if self.kind != "user":
            raise PersonRequired
        return UserId(self.subject)

    @property
    def service(self) -> str | None:
        """Name of the calling service; None for a user."""
        return self.subject.removeprefix(SERVICE_PREFIX) if self.kind == "service" else None
