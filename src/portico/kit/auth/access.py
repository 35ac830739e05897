"""Who may call an endpoint, said in its signature: `caller: SignedIn`, `caller: Annotated[Principal, permitted("…")]`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends
from starlette.requests import HTTPConnection

from portico.kit._compat.fastapi import lookup
from portico.kit.auth.principal import Principal
from portico.kit.foundation.problems import Forbidden, PermissionMissing

AccessKind = Literal["public", "optional", "known", "signed_in", "permission", "service"]
_STRICTNESS: dict[AccessKind, int] = {
    "public": 0,
    "optional": 1,
    "known": 2,
    "signed_in": 3,
    "permission": 4,
    "service": 5,
}


class ServicesOnly(Forbidden):
    detail = "This is for services, not for users."


class UsersOnly(Forbidden):
    detail = "This is for users; a service's own token does not do."


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call a route.

    Everyone; everyone and told who; whoever is known, user or service; who is signed in; who holds a permission, and
    with `or_service` any service besides; or services alone.
    """

    kind: AccessKind
    permission: str | None = None
    or_service: bool = False

    @property
    def needs_caller(self) -> bool:
        """Whether nothing can be answered before the caller is known."""
        return self.kind not in {"public", "optional"}

    def narrowed(self, other: "Access") -> "Access":
        """The stricter of two."""
        return other if _STRICTNESS[other.kind] > _STRICTNESS[self.kind] else self

    def admit(self, caller: Principal) -> None:
        """Raises ServicesOnly, UsersOnly or PermissionMissing where `caller` may not."""
        if self.kind == "service" and caller.kind != "service":
            raise ServicesOnly
        if self.kind == "signed_in" and caller.kind != "user":
            raise UsersOnly
        if self.or_service and caller.kind == "service":
            return
        if self.permission is not None and not caller.may(self.permission):
            raise PermissionMissing(permission=self.permission)


def access_of(dependency: Callable[..., Any]) -> Access:
    """The access that a dependency function asks for; public where it asks for none."""
    access = getattr(dependency, "access", None)
    return access if isinstance(access, Access) else Access("public")


def _asks(access: Access) -> Callable[..., Any]:
    """A dependency that hands over the caller; that it is allowed was decided before, by the boundary."""

    @lookup
    async def caller(connection: HTTPConnection) -> Principal | None:
        found: Principal | None = connection.scope["portico.authentication"].principal
        return found

    caller.access = access  # type: ignore[attr-defined]
    return caller


def permitted(permission: str, *, or_service: bool = False) -> Any:
    """Ask for a caller, user or service, that holds `permission`; a service's own token does too with `or_service`.

    Used as `caller: Annotated[Principal, permitted("products:write")]`.
    """
    return Depends(_asks(Access("permission", permission, or_service)))


KnownCaller = Annotated[Principal, Depends(_asks(Access("known")))]
"""A user or a service, with a token that holds."""


SignedIn = Annotated[Principal, Depends(_asks(Access("signed_in")))]
"""A user with a token that holds."""

AnyCaller = Annotated[Principal | None, Depends(_asks(Access("optional")))]
"""The caller where a token that holds was sent, else None."""

FromService = Annotated[Principal, Depends(_asks(Access("service")))]
"""Another service, by its own token. Such a route is not routed by the gateway."""
