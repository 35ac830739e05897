"""Access to endpoints, declared in signatures: `caller: SignedIn`, `caller: Annotated[Principal, permitted("…")]`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends
from starlette.requests import HTTPConnection

from portico.kit._compat.fastapi import lookup
from portico.kit.auth.principal import ACT_AS_USER, Principal
from portico.kit.foundation.problems import Forbidden, PermissionMissing

AccessKind = Literal["public", "public_read", "optional", "known", "signed_in", "permission", "service"]
_STRICTNESS: dict[AccessKind, int] = {
    "public": 0,
    "public_read": 1,
    "optional": 2,
    "known": 3,
    "signed_in": 4,
    "permission": 5,
    "service": 6,
}
_IN_THE_USERS_NAME: frozenset[AccessKind] = frozenset(("optional", "known", "signed_in"))
"""Access that needs no permission, so that a registered client needs a scope of its own for it."""


class ServicesOnly(Forbidden):
    detail = "Only services may call this."


class UsersOnly(Forbidden):
    detail = "Only users may call this, with their own token."


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call a route.

    Kinds: `public` (everyone), `public_read` (everyone, or a known caller if `PUBLIC_READS` is false), `optional` (everyone; the caller is known if a token was sent), `known` (a user or
    service), `signed_in` (a user), `permission` (a caller with the permission, and any service with `or_service`),
    `service`.
    """

    kind: AccessKind
    permission: str | None = None
    or_service: bool = False

    @property
    def needs_caller(self) -> bool:
        """Whether the route requires an authenticated caller."""
        return self.kind not in {"public", "optional"}

    def resolved(self, *, public_reads: bool) -> "Access":
        """Return the access that `PUBLIC_READS` makes of this one."""
        if self.kind != "public_read":
            return self
        return Access("public" if public_reads else "known")

    def stricter(self, other: "Access") -> "Access":
        """Return the stricter of the two."""
        return other if _STRICTNESS[other.kind] > _STRICTNESS[self.kind] else self

    def check(self, caller: Principal) -> None:
        """Raise ServicesOnly, UsersOnly or PermissionMissing if `caller` may not call the route."""
        if self.kind == "service" and caller.kind != "service":
            raise ServicesOnly
        if self.kind == "signed_in" and caller.kind != "user":
            raise UsersOnly
        if caller.client_id is not None and self.kind in _IN_THE_USERS_NAME and not caller.may(ACT_AS_USER):
            raise PermissionMissing(permission=ACT_AS_USER)
        if self.or_service and caller.kind == "service":
            return
        if self.permission is not None and not caller.may(self.permission):
            raise PermissionMissing(permission=self.permission)


def access_of(dependency: Callable[..., Any]) -> Access:
    """Return the access that a dependency function declares; public if it declares none."""
    access = getattr(dependency, "access", None)
    return access if isinstance(access, Access) else Access("public")


def _caller_dependency(access: Access) -> Callable[..., Any]:
    """Return a dependency that provides the caller. The boundary has already checked the access."""

    @lookup
    async def caller(connection: HTTPConnection) -> Principal | None:
        found: Principal | None = connection.scope["portico.authentication"].principal
        return found

    caller.access = access  # type: ignore[attr-defined]
    return caller


def permitted(permission: str, *, or_service: bool = False) -> Any:
    """Require a caller (user or service) with `permission`. With `or_service`, every service is allowed.

    Used as `caller: Annotated[Principal, permitted("products:write")]`.
    """
    return Depends(_caller_dependency(Access("permission", permission, or_service)))


KnownCaller = Annotated[Principal, Depends(_caller_dependency(Access("known")))]
"""A user or a service with a valid token."""


SignedIn = Annotated[Principal, Depends(_caller_dependency(Access("signed_in")))]
"""A user with a valid token."""

PublicRead = Annotated[Principal | None, Depends(_caller_dependency(Access("public_read")))]
"""Everyone, who stays unknown. If `PUBLIC_READS` is false, a user or a service with a valid token."""

AnyCaller = Annotated[Principal | None, Depends(_caller_dependency(Access("optional")))]
"""The caller if a valid token was sent, else None."""

FromService = Annotated[Principal, Depends(_caller_dependency(Access("service")))]
"""Another service with its own token. The gateway does not route such endpoints."""
