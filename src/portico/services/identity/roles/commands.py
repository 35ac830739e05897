from collections.abc import Iterable, Mapping

from sqlalchemy import select

from portico.kit import ClientInfo, Principal, UnitOfWork
from portico.kit.auth import EVERYTHING
from portico.services.identity.audit.commands import record
from portico.services.identity.roles.errors import RoleTaken
from portico.services.identity.roles.models import ADMINISTRATOR, Role
from portico.services.identity.users.errors import BeyondOwnRights


async def create_role(
    work: UnitOfWork, name: str, permissions: Iterable[str], *, caller: Principal, device: ClientInfo
) -> Role:
    """Name a set of permissions. Raises RoleTaken, and BeyondOwnRights for one that the caller does not hold."""
    granted = sorted(set(permissions))
    for permission in granted:
        if not caller.may(permission):
            raise BeyondOwnRights(permission=permission)
    role = Role(name=name, permissions=granted, declared=False, created_at=work.now)
    await work.insert(role, taken=RoleTaken(name=name))
    record(work, "role.created", actor=caller.subject, device=device, role=name, permissions=granted)
    return role


async def declare_roles(work: UnitOfWork, declared: Mapping[str, Iterable[str]]) -> None:
    """Have the system's roles as it declares them, and an administrator's. The caller holds the latch."""
    wanted = {ADMINISTRATOR: [EVERYTHING]} | {name: sorted(set(given)) for name, given in declared.items()}
    known = {role.name: role for role in await work.all(select(Role).where(Role.name.in_(wanted)))}
    for name, permissions in wanted.items():
        role = known.get(name)
        if role is None:
            work.add(Role(name=name, permissions=permissions, declared=True, created_at=work.now))
        elif role.permissions != permissions:
            role.permissions = permissions
            role.declared = True
    await work.flush()
